//! One HTTP/1.1 connection, over a unix socket or TLS, made when it is first needed.
//!
//! It is kept for the next request. A request that found the kept connection closed before a byte
//! of it was sent is sent again on a new one; any other failure is the caller's, since the server
//! may have acted.

use std::{io, path::PathBuf, sync::Arc};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http1::{self, SendRequest},
    header::HeaderValue,
};
use hyper_util::rt::TokioIo;
use mezame_model::SecretString;
use rustls::pki_types::ServerName;
use tokio::{
    net::{TcpStream, UnixStream},
    sync::Mutex,
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;

use super::{ClientSettings, address::ServerAddress, error::ClientError};

/// What a request carries: some bytes, or a file as it is read.
pub(super) type RequestBody = UnsyncBoxBody<Bytes, io::Error>;

type Sender = SendRequest<RequestBody>;

/// The way to one server.
#[derive(Debug)]
pub(super) struct Connection {
    address: ServerAddress,
    route: Route,
    idle: Mutex<Option<Live>>,
}

/// What is needed to get there.
#[derive(Debug)]
enum Route {
    Unix(PathBuf),
    Tls {
        name: ServerName<'static>,
        port: u16,
        config: Arc<rustls::ClientConfig>,
        token: Option<SecretString>,
    },
}

/// A connection and the task that moves its bytes; it ends with this value.
#[derive(Debug)]
pub(super) struct Live {
    sender: Sender,
    task: JoinHandle<()>,
}

impl Drop for Live {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    pub(super) fn new(settings: ClientSettings) -> Result<Self, ClientError> {
        let ClientSettings { address, token, trust, .. } = settings;
        let route = match &address {
            ServerAddress::Unix(path) => Route::Unix(path.clone()),
            ServerAddress::Https { name, port } => Route::Tls {
                name: name.clone(),
                port: *port,
                config: trust.client_config()?,
                token,
            },
        };
        Ok(Self { address, route, idle: Mutex::new(None) })
    }

    pub(super) fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// The value of the Authorization header. A socket asks for none, so none is sent there.
    pub(super) fn authorization(&self) -> Result<Option<HeaderValue>, ClientError> {
        let Route::Tls { token: Some(token), .. } = &self.route else { return Ok(None) };
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose()))
            .map_err(|_| ClientError::TokenForm)?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// Sends on the kept connection.
    pub(super) async fn send(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut idle = self.idle.lock().await;
        if let Some(mut live) = idle.take()
            && live.sender.ready().await.is_ok()
        {
            match live.sender.try_send_request(request).await {
                Ok(answer) => {
                    *idle = Some(live);
                    return Ok(answer);
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(self.broken(error.into_error())),
                },
            }
        }
        let mut live = self.connect().await?;
        let answer = live.sender.send_request(request).await.map_err(|e| self.broken(e))?;
        *idle = Some(live);
        Ok(answer)
    }

    /// Sends on a connection that lasts as long as the answer is read.
    pub(super) async fn send_alone(
        &self,
        request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Live), ClientError> {
        let mut live = self.connect().await?;
        let answer = live.sender.send_request(request).await.map_err(|e| self.broken(e))?;
        Ok((answer, live))
    }

    fn broken(&self, source: hyper::Error) -> ClientError {
        ClientError::Broken { address: self.address.clone(), source }
    }

    async fn connect(&self) -> Result<Live, ClientError> {
        let unreachable =
            |source| ClientError::Unreachable { address: self.address.clone(), source };
        match &self.route {
            Route::Unix(path) => {
                let stream = UnixStream::connect(path).await.map_err(unreachable)?;
                self.handshake(TokioIo::new(stream)).await
            }
            Route::Tls { name, port, config, .. } => {
                let host = name.to_str();
                let stream = TcpStream::connect((&*host, *port)).await.map_err(unreachable)?;
                stream.set_nodelay(true).map_err(unreachable)?;
                let stream = TlsConnector::from(Arc::clone(config))
                    .connect(name.clone(), stream)
                    .await
                    .map_err(|source| ClientError::Tls { address: self.address.clone(), source })?;
                self.handshake(TokioIo::new(stream)).await
            }
        }
    }

    async fn handshake<S>(&self, stream: TokioIo<S>) -> Result<Live, ClientError>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, driver) = http1::handshake(stream).await.map_err(|e| self.broken(e))?;
        let task = tokio::spawn(async {
            // What goes wrong here is told to the request that waits.
            let _ = driver.await;
        });
        Ok(Live { sender, task })
    }
}
