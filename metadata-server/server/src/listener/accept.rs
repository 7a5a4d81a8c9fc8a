//! One worker's accepting: from a connection to the tenancy that it is let in by.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use mezame_protocol::Gate;
use tokio::net::{TcpListener, TcpStream};

use super::{
    Serving, Stage, Taker,
    connection::Connection,
    fairness,
    request::answer,
    stream::{GuestStream, reset_on_close},
};
use crate::metrics::refusal::Reason;

/// Accepts until the listener drains, then waits for the connections to end.
pub(super) async fn run(
    serving: Arc<Serving>,
    listeners: Vec<(Gate, std::net::TcpListener)>,
    taker: Taker,
) {
    let accepting = listeners.into_iter().map(|(gate, listener)| accept(&serving, gate, listener));
    futures_util::future::join_all(accepting).await;
    drop(taker);
    let mut stage = serving.stage.subscribe();
    // The connections' tasks live in this runtime; they end with it.
    let _ = stage.wait_for(|stage| *stage == Stage::Closed).await;
}

/// Accepts from one listener until it drains.
async fn accept(serving: &Arc<Serving>, gate: Gate, listener: std::net::TcpListener) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "a worker can't use a listener");
            return;
        }
    };
    let mut stage = serving.stage.subscribe();
    let over = stage.wait_for(|stage| *stage > Stage::Open);
    tokio::pin!(over);
    loop {
        tokio::select! {
            biased;
            _ = &mut over => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, peer)) => admit(serving, gate, socket, peer),
                Err(error) => pause_after(&error).await,
            },
        }
    }
}

/// Out of descriptors or memory: give the open connections time to end.
pub(crate) async fn pause_after(error: &io::Error) {
    if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) {
        return;
    }
    tracing::warn!(%error, "accepting failed");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Lets the connection in, or resets it.
fn admit(serving: &Arc<Serving>, gate: Gate, socket: TcpStream, peer: SocketAddr) {
    let Some(attachment) = serving.identities.of_peer(peer.ip()) else {
        return refuse(serving, &socket, Reason::UnknownPort);
    };
    if serving.open.raise(serving.limits.connections).is_err() {
        if !fairness::make_room(serving, &attachment) {
            return refuse(serving, &socket, Reason::ConnectionsInAll);
        }
        // The evicted connection's place is taken over at once; its own count goes down when its
        // task ends, so for a moment there may be one more than the ceiling.
        serving.open.force();
    }
    let now = serving.clock.now();
    let number = serving.next_number();
    let connection = Arc::new(Connection::new(number, gate, peer, Arc::clone(&attachment), now));
    if !attachment.admit(&connection, serving.limits.connections_per_port) {
        serving.open.lower();
        return refuse(serving, &socket, Reason::ConnectionsOfPort);
    }
    serving.metrics.accepted.inc();
    serving.metrics.connections.inc();
    let guard = Admitted { serving: Arc::clone(serving), connection: Arc::clone(&connection) };
    let stream = GuestStream::new(socket, Arc::clone(&connection), Arc::clone(&serving.clock));
    let task = tokio::spawn(serve(guard, stream));
    connection.runs_in(task.abort_handle());
}

/// Counts a connection out, however its task ends.
struct Admitted {
    serving: Arc<Serving>,
    connection: Arc<Connection>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.connection.attachment().dismiss(self.connection.number());
        self.serving.open.lower();
        self.serving.metrics.connections.dec();
    }
}

async fn serve(guard: Admitted, stream: GuestStream) {
    let (serving, connection) = (&guard.serving, &guard.connection);
    let service = service_fn(|request| answer(serving, connection, request));
    let served = http1::Builder::new()
        .keep_alive(true)
        // A guest that shuts its side behind its request awaits the answer: `printf … | nc`.
        .half_close(true)
        .max_headers(serving.limits.headers)
        .max_buf_size(serving.limits.head_bytes.max(8192))
        .serve_connection(stream, service)
        .await;
    if let Err(error) = served {
        // A guest may break its requests as it likes; nobody is to be paged for it.
        tracing::debug!(port = %connection.attachment().port, %error, "a connection failed");
        if error.is_parse() {
            serving.metrics.refused(Reason::Malformed);
        }
    }
}

fn refuse(serving: &Serving, socket: &TcpStream, reason: Reason) {
    serving.metrics.refused(reason);
    reset_on_close(socket);
}
