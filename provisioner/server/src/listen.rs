//! Connections of operators: a unix socket and a TLS listener, never plain TCP.
//!
//! One task a connection, HTTP/1.1 by hyper, slow senders cut off. At the end the listeners stop,
//! requests under way are finished, and what lasts longer than a while is cut.

pub(crate) mod tls;
pub(crate) mod unix;

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{Request, Response, body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
    task::JoinSet,
};

use crate::access::{Caller, tokens::Tokens};

/// How long a request's header may take.
const HEADER_TIME: Duration = Duration::from_secs(15);
/// How long requests under way may take once the end has come.
const LAST_TIME: Duration = Duration::from_secs(5);
/// How long accepting rests after an error that passes.
const PAUSE: Duration = Duration::from_millis(100);
/// Most connections at once, a listener. Operators are few; a leak in a client must not take all
/// descriptors.
const MOST_CONNECTIONS: usize = 1024;

/// Connections under way.
pub(crate) struct Connections {
    tasks: JoinSet<()>,
    ending: watch::Receiver<bool>,
}

impl Connections {
    /// None yet; they end when `ending` says so.
    pub(crate) fn new(ending: watch::Receiver<bool>) -> Self {
        Self { tasks: JoinSet::new(), ending }
    }

    /// The next connection that `accept` gives, once there is room for it; none once the end has
    /// come. Fails where the listener is broken for good.
    pub(crate) async fn next<T, F>(&mut self, accept: impl Fn() -> F) -> io::Result<Option<T>>
    where
        F: Future<Output = io::Result<T>>,
    {
        let mut ending = self.ending.clone();
        loop {
            let accepted = tokio::select! {
                accepted = async {
                    self.room().await;
                    accept().await
                } => accepted,
                _ = ending.wait_for(|ending| *ending) => return Ok(None),
            };
            match accepted {
                Ok(stream) => return Ok(Some(stream)),
                Err(error) if is_passing(&error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn room(&mut self) {
        while self.tasks.try_join_next().is_some() {}
        while self.tasks.len() >= MOST_CONNECTIONS {
            self.tasks.join_next().await;
        }
    }

    /// Serves one connection whose caller is found out by `open`.
    pub(crate) fn serve<S, F>(&mut self, router: Router, open: F)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Option<(S, CallerOf)>> + Send + 'static,
    {
        let ending = self.ending.clone();
        self.tasks.spawn(async move {
            if let Some((stream, caller)) = open.await {
                talk(stream, router, caller, ending).await;
            }
        });
    }

    /// Waits for the connections to end, and cuts those that don't.
    pub(crate) async fn finish(mut self) {
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(LAST_TIME, all).await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}

/// Whether accepting may go on after an error. Descriptors run out for a moment; a listener that
/// is broken stays so.
fn is_passing(error: &io::Error) -> bool {
    use nix::libc::{ECONNABORTED, ECONNRESET, EINTR, EMFILE, ENFILE, ENOBUFS, ENOMEM, EPROTO};
    matches!(
        error.raw_os_error(),
        Some(ECONNABORTED | ECONNRESET | EINTR | EMFILE | ENFILE | ENOBUFS | ENOMEM | EPROTO)
    )
}

/// How the caller of a request is known.
pub(crate) enum CallerOf {
    /// The same for the whole connection.
    Connection(Caller),
    /// By the bearer token of each request; the address is for the log.
    Token(Arc<Tokens>, SocketAddr),
}

impl CallerOf {
    fn of<B>(&self, request: &Request<B>) -> Option<Caller> {
        match self {
            Self::Connection(caller) => Some(caller.clone()),
            Self::Token(tokens, peer) => {
                let caller = bearer(request).and_then(|token| tokens.caller(token));
                if caller.is_none() {
                    tracing::warn!(%peer, "refused: no good token");
                }
                caller
            }
        }
    }
}

/// The token of a request (RFC 6750, section 2.1).
fn bearer<B>(request: &Request<B>) -> Option<&str> {
    let value = request.headers().get(hyper::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    // RFC 9110, section 11.1: the scheme's case does not matter.
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

async fn talk<S>(stream: S, router: Router, caller: CallerOf, mut ending: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let inner = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        if let Some(caller) = caller.of(&request) {
            request.extensions_mut().insert(caller);
        }
        let answer = hyper::service::Service::call(&inner, request);
        async move {
            let answer: Result<Response<Body>, Infallible> = answer.await;
            answer
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(64 << 10)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let mut told = *ending.borrow_and_update();
    if told {
        connection.as_mut().graceful_shutdown();
    }
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection broke");
                }
                return;
            }
            changed = ending.changed(), if !told => {
                told = true;
                if changed.is_ok() {
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }
}
