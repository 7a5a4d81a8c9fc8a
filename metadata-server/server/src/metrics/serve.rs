//! The operator's side: metrics, health, ports and drops, over a unix socket and, if wanted, TCP
//! in the host's namespace. Guests reach neither: their frames only ever reach the metadata
//! namespace.
//!
//! | Path | Answer |
//! |---|---|
//! | `/metrics` | OpenMetrics text |
//! | `/healthz`, `/healthz/live` | 200 while the process runs |
//! | `/healthz/ready` | 200 while guests are served, 503 else |
//! | `/ports` | what is attached, JSON |
//! | `/events` | dropped frames as they happen, one JSON object a line, without end |

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    header::{ALLOW, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    sync::broadcast,
};

use super::drops::DropFeed;
use crate::{
    identity::Standing,
    listener::{Serving, Stage, pause_after},
};

/// Why the operator's side can't be served.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The unix socket can't be opened.
    #[error("{path}: opening the metrics socket failed")]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The address can't be listened on.
    #[error("{address}: listening for metrics failed; choose another --metrics address")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What is asked.
#[derive(Clone)]
pub struct Operator {
    /// The guests' side.
    pub serving: Arc<Serving>,
    /// Dropped frames.
    pub drops: DropFeed,
}

/// The listeners; their tasks end with this.
#[derive(Debug)]
pub struct MetricsServer {
    tasks: Vec<tokio::task::AbortHandle>,
    /// The address that is listened on, if any.
    pub address: Option<SocketAddr>,
}

impl MetricsServer {
    /// Opens both listeners. A predecessor's socket at the same path is replaced without a gap;
    /// the TCP port is shared with it until it ends.
    pub fn open(
        operator: &Operator,
        path: &Path,
        address: Option<SocketAddr>,
    ) -> Result<Self, MetricsError> {
        let unix = crate::unix::listen(path)
            .map_err(|source| MetricsError::Socket { path: path.into(), source })?;
        let mut tasks = vec![accept(operator.clone(), unix)];
        let mut bound = None;
        if let Some(address) = address {
            let failed = |source| MetricsError::Listen { address, source };
            let tcp = bind_tcp(address).map_err(failed)?;
            bound = Some(tcp.local_addr().map_err(failed)?);
            tasks.push(accept(operator.clone(), tcp));
        }
        Ok(Self { tasks, address: bound })
    }
}

impl Drop for MetricsServer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

/// Serves each connection until it is aborted.
fn accept<L>(operator: Operator, mut listener: L) -> tokio::task::AbortHandle
where
    L: Listen + Send + 'static,
{
    let accepting = async move {
        loop {
            match listener.accept().await {
                Ok(stream) => {
                    tokio::spawn(serve(operator.clone(), TokioIo::new(stream)));
                }
                Err(error) => pause_after(&error).await,
            }
        }
    };
    tokio::spawn(accepting).abort_handle()
}

/// What operators connect to.
trait Listen {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listen for UnixListener {
    type Stream = UnixStream;

    async fn accept(&mut self) -> io::Result<UnixStream> {
        Ok(Self::accept(self).await?.0)
    }
}

impl Listen for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<TcpStream> {
        Ok(Self::accept(self).await?.0)
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4(),
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(64)
}

async fn serve<S>(operator: Operator, io: TokioIo<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request| {
        let reply = answer(&operator, &request);
        async move { Ok::<_, Infallible>(reply) }
    });
    // An operator's broken connection is the operator's.
    let _ = http1::Builder::new().serve_connection(io, service).await;
}

/// The metrics as they are now: what is counted elsewhere is read first.
fn scraped(operator: &Operator) -> Result<String, std::fmt::Error> {
    let waiting = i64::try_from(operator.serving.outbox.len()).unwrap_or(i64::MAX);
    operator.serving.metrics.outbox.set(waiting);
    operator.serving.metrics.text()
}

type Reply = Response<BoxBody<Bytes, Infallible>>;

fn answer(operator: &Operator, request: &Request<Incoming>) -> Reply {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut reply = text(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET, please\n");
        reply.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return reply;
    }
    match request.uri().path() {
        "/metrics" => match scraped(operator) {
            Ok(metrics) => text(
                StatusCode::OK,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                metrics,
            ),
            Err(std::fmt::Error) => {
                text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", "not encodable\n")
            }
        },
        "/healthz" | "/healthz/live" => json(StatusCode::OK, &Health::of(operator)),
        "/healthz/ready" => {
            let health = Health::of(operator);
            let status =
                if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            json(status, &health)
        }
        "/ports" => json(StatusCode::OK, &ports(operator)),
        "/events" => events(operator),
        _ => text(StatusCode::NOT_FOUND, "text/plain", "no such page\n"),
    }
}

#[derive(Serialize)]
struct Health {
    ready: bool,
    generation: i64,
    ledger_generation: i64,
    control_plane: bool,
    ports: usize,
    pid: u32,
    version: &'static str,
}

impl Health {
    fn of(operator: &Operator) -> Self {
        let metrics = &operator.serving.metrics;
        Self {
            ready: operator.serving.stage() == Stage::Open,
            generation: metrics.generation.get(),
            ledger_generation: metrics.ledger_generation.get(),
            control_plane: metrics.control_plane.get() == 1,
            ports: operator.serving.identities.count(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

#[derive(Serialize)]
struct AttachedPort {
    port: String,
    instance: Option<String>,
    device: String,
    ifindex: u32,
    slot: u32,
    record: &'static str,
    generation: Option<u64>,
    connections: usize,
    watches: u32,
}

fn ports(operator: &Operator) -> Vec<AttachedPort> {
    let mut ports: Vec<AttachedPort> = operator
        .serving
        .identities
        .all()
        .iter()
        .map(|one| {
            let (record, generation) = match one.standing() {
                Standing::Waiting => ("waiting", None),
                Standing::Serving(record) => ("served", Some(record.generation.0)),
                Standing::Over => ("over", None),
            };
            AttachedPort {
                port: one.port.to_string(),
                instance: one.instance.as_ref().map(ToString::to_string),
                device: one.device.to_string(),
                ifindex: one.ifindex,
                slot: one.slot.number(),
                record,
                generation,
                connections: one.connections(),
                watches: one.watches.now(),
            }
        })
        .collect();
    ports.sort_by(|a, b| a.port.cmp(&b.port));
    ports
}

fn events(operator: &Operator) -> Reply {
    let lines = stream::unfold(operator.drops.subscribe(), |mut lines| async move {
        let line = match lines.recv().await {
            Ok(line) => line,
            // A reader that is too slow is told how much it missed.
            Err(broadcast::error::RecvError::Lagged(missed)) => {
                Bytes::from(format!("{{\"missed\":{missed}}}\n"))
            }
            Err(broadcast::error::RecvError::Closed) => return None,
        };
        Some((Ok(Frame::data(line)), lines))
    });
    let mut reply = Response::new(BodyExt::boxed(StreamBody::new(lines)));
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    reply
}

fn json(status: StatusCode, value: &impl Serialize) -> Reply {
    // These are plain structs of numbers and texts.
    let mut body = serde_json::to_vec_pretty(value).unwrap_or_default();
    body.push(b'\n');
    text(status, "application/json", body)
}

fn text(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()).boxed());
    *reply.status_mut() = status;
    reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    reply
}
