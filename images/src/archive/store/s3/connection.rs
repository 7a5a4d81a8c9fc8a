//! HTTP/1.1 connections to one server, kept for the next request; calls block.
//!
//! An archive calls from threads of its own, so each connection has a runtime of its own that runs
//! while somebody waits for an answer, and no thread. What matters to a caller about a failure is
//! whether the server may have acted: a connection that was not made, or a kept one that was found
//! closed before a byte was sent, is told apart from one that broke later. It follows no
//! redirects and knows no proxies.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Body, Incoming},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{net::TcpStream, runtime::Runtime};
use tokio_rustls::TlsConnector;

use super::{address::Address, error::S3Error};

/// A server that is there answers within this.
const CONNECT: Duration = Duration::from_secs(10);
/// Servers close idle connections, most after a minute or so.
const KEPT: Duration = Duration::from_secs(15);
/// More than an archive has threads.
const MOST_KEPT: usize = 32;

/// What a server says about a failure is short.
const LONGEST_REFUSAL: u64 = 64 * 1024;

/// Whose certificates are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Those of the authorities that this machine believes.
    System,
    /// Those of the authorities in a PEM file, and no others.
    File(PathBuf),
}

/// What a server answered, all of it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Lost {
    /// The server has seen nothing of the request.
    Unsent(S3Error),
    /// It may have done it.
    Unsure(S3Error),
}

/// What became of a request that was not answered.
struct Failed {
    /// Itself, where nothing of it was sent.
    unsent: Option<Box<Request<Full<Bytes>>>>,
    /// None where time was up.
    error: Option<S3Error>,
}

/// Connections to one server.
pub(super) struct Pool {
    host: String,
    port: u16,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    idle: Mutex<Vec<Live>>,
}

struct Live {
    /// None only while it is dropped.
    runtime: Option<Runtime>,
    sender: SendRequest<Full<Bytes>>,
    used: Instant,
}

impl Drop for Live {
    fn drop(&mut self) {
        // Without waiting: a resolver may hang in a thread of it.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Pool {
    pub(super) fn new(address: &Address, trust: &Trust) -> Result<Self, S3Error> {
        let tls = if address.is_tls {
            let name = ServerName::try_from(address.host.clone())
                .map_err(|_| S3Error::Address("a certificate can't name this host"))?;
            Some((client_config(trust).map_err(S3Error::Trust)?, name))
        } else {
            None
        };
        let (host, port) = (address.host.clone(), address.port);
        Ok(Self { host, port, tls, idle: Mutex::default() })
    }

    /// Sends a request; the answer's body has at most `limit` bytes. All of it within `time`.
    pub(super) fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        limit: u64,
        time: Duration,
    ) -> Result<Answer, Lost> {
        let end = Instant::now() + time;
        let silent = || S3Error::Silent(time);
        if let Some(live) = self.kept() {
            match self.exchange(live, request, limit, end) {
                Ok(answer) => return Ok(answer),
                Err(Failed { unsent: Some(unsent), .. }) => request = *unsent,
                Err(Failed { error, .. }) => {
                    return Err(Lost::Unsure(error.unwrap_or_else(silent)));
                }
            }
        }
        let live = self.connect(end).map_err(|e| Lost::Unsent(e.unwrap_or_else(silent)))?;
        self.exchange(live, request, limit, end).map_err(|failed| {
            let error = failed.error.unwrap_or_else(silent);
            if failed.unsent.is_some() { Lost::Unsent(error) } else { Lost::Unsure(error) }
        })
    }

    fn kept(&self) -> Option<Live> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|live| live.used.elapsed() < KEPT);
        idle.pop()
    }

    fn keep(&self, mut live: Live) {
        if !live.sender.is_closed() {
            live.used = Instant::now();
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < MOST_KEPT {
                idle.push(live);
            }
        }
    }

    fn exchange(
        &self,
        mut live: Live,
        request: Request<Full<Bytes>>,
        limit: u64,
        end: Instant,
    ) -> Result<Answer, Failed> {
        let unsent = |request, error| Failed { unsent: Some(Box::new(request)), error };
        let sent = |error| Failed { unsent: None, error };
        let Some(runtime) = &live.runtime else { return Err(unsent(request, None)) };
        let sender = &mut live.sender;
        let talk = async {
            if let Err(error) = sender.ready().await {
                return Err(unsent(request, Some(broken(error))));
            }
            let response =
                sender.try_send_request(request).await.map_err(|mut error| {
                    match error.take_message() {
                        Some(request) => unsent(request, Some(broken(error.into_error()))),
                        None => sent(Some(broken(error.into_error()))),
                    }
                })?;
            collect(response, limit).await.map_err(|error| sent(Some(error)))
        };
        let answer = runtime.block_on(async {
            let until = tokio::time::Instant::from_std(end);
            tokio::time::timeout_at(until, talk).await.unwrap_or_else(|_| Err(sent(None)))
        })?;
        self.keep(live);
        Ok(answer)
    }

    fn connect(&self, end: Instant) -> Result<Live, Option<S3Error>> {
        let failed = |error| Some(S3Error::Connection(error));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let until = tokio::time::Instant::from_std(end.min(Instant::now() + CONNECT));
        let made = runtime
            .block_on(async { tokio::time::timeout_at(until, self.connection(&runtime)).await });
        let Ok(made) = made else {
            runtime.shutdown_background();
            return Err(failed(io::ErrorKind::TimedOut.into()));
        };
        Ok(Live { sender: made.map_err(Some)?, runtime: Some(runtime), used: Instant::now() })
    }

    async fn connection(&self, runtime: &Runtime) -> Result<SendRequest<Full<Bytes>>, S3Error> {
        let stream = TcpStream::connect((&*self.host, self.port)).await;
        let stream = stream.map_err(S3Error::Connection)?;
        stream.set_nodelay(true).map_err(S3Error::Connection)?;
        let Some((config, name)) = &self.tls else { return drive(stream, runtime).await };
        let connector = TlsConnector::from(config.clone());
        let stream = connector.connect(name.clone(), stream).await.map_err(S3Error::Connection)?;
        drive(stream, runtime).await
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Pool").field("host", &self.host).finish_non_exhaustive()
    }
}

async fn drive<S>(stream: S, runtime: &Runtime) -> Result<SendRequest<Full<Bytes>>, S3Error>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
{
    let (sender, driver) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    runtime.spawn(async {
        // What goes wrong here is told to the request that waits.
        let _ = driver.await;
    });
    Ok(sender)
}

async fn collect(response: Response<Incoming>, limit: u64) -> Result<Answer, S3Error> {
    let (head, mut incoming) = response.into_parts();
    let limit = if head.status.is_success() { limit } else { limit.max(LONGEST_REFUSAL) };
    let told = incoming.size_hint().exact().unwrap_or(0);
    if told > limit {
        return Err(S3Error::TooLong(limit));
    }
    let mut body = Vec::with_capacity(usize::try_from(told).unwrap_or(0));
    while let Some(frame) = incoming.frame().await {
        if let Ok(data) = frame.map_err(broken)?.into_data() {
            if (body.len() + data.len()) as u64 > limit {
                return Err(S3Error::TooLong(limit));
            }
            body.extend_from_slice(&data);
        }
    }
    Ok(Answer { status: head.status, headers: head.headers, body })
}

fn broken(error: hyper::Error) -> S3Error {
    S3Error::Connection(io::Error::other(error))
}

fn client_config(trust: &Trust) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    match trust {
        Trust::System => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Trust::File(path) => {
            for certificate in CertificateDer::pem_file_iter(path).map_err(io::Error::other)? {
                let certificate = certificate.map_err(io::Error::other)?;
                roots.add(certificate).map_err(io::Error::other)?;
            }
        }
    }
    if roots.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "there is no certificate authority"));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
