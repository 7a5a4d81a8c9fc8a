//! DNS for guests, over UDP and TCP (RFC 7766): the decisions are the pure crate's, the sockets
//! are here.

use std::{io, sync::Arc, time::Duration};

use mezame_link_local::dns::{Asker, Decision, Forwarding, Transport, decide};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    asker::Asking,
    datagrams::Way,
    share::Shared,
    streams::{End, Peer},
    upstream,
};
use crate::{
    listener::Stage,
    metrics::link_local::{Outcome, Service},
};

/// How long a client may leave a reply untaken.
const WRITE_TIME: Duration = Duration::from_secs(10);

/// For how long an ending process still takes queries on a connection that lies idle: one may be
/// on its way, as on a connection that was let in a moment ago.
const GRACE: Duration = Duration::from_secs(1);

fn decided(shared: &Shared, asking: &Asking, message: &[u8], transport: Transport) -> Decision {
    let names = shared.serving.directory.names();
    let guest = &asking.record.guest;
    decide(message, &Asker { guest, port: asking.port(), names: &names }, transport)
}

/// Answers one datagram, or starts waiting for a resolver that does.
pub(super) fn answer(way: Way, asking: &Asking, datagram: &[u8]) {
    match decided(&way.shared, asking, datagram, Transport::Datagram) {
        Decision::Answer(bytes) => way.reply(&bytes, Outcome::Answered),
        Decision::Refuse(bytes) => way.reply(&bytes, Outcome::Refused),
        Decision::Silence => way.count(Outcome::Malformed),
        Decision::Forward(forwarding) => match way.shared.wait(&way.attachment) {
            Ok(waiting) => {
                tokio::spawn(async move {
                    let (bytes, outcome) = resolved(&forwarding, Transport::Datagram).await;
                    way.reply(&bytes, outcome);
                    drop(waiting);
                });
            }
            Err(outcome) => way.reply(&forwarding.failure(), outcome),
        },
    }
}

async fn resolved(forwarding: &Forwarding, transport: Transport) -> (Vec<u8>, Outcome) {
    match upstream::resolve(forwarding, transport).await {
        Some(bytes) => (bytes, Outcome::Forwarded),
        None => (forwarding.failure(), Outcome::Failed),
    }
}

/// Answers the queries of one connection, in their order, until it lies idle or we end.
pub(super) async fn serve(peer: &Peer, socket: &mut TcpStream) -> End {
    let (shared, service) = (&peer.shared, Service::DnsStream);
    let idle = shared.serving.limits.link_local.dns_idle_time;
    let ending = async {
        shared.reached(Stage::Draining).await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::pin!(ending);
    let mut message = Vec::new();
    loop {
        let read = tokio::select! {
            biased;
            read = timeout(idle, read(socket, &mut message)) => read,
            () = &mut ending => return End::Closed,
        };
        match read {
            Ok(Ok(true)) => {}
            Ok(Ok(false) | Err(_)) => return End::Closed,
            Err(_) => {
                shared.count(service, Outcome::Idle);
                return End::Closed;
            }
        }
        let (bytes, outcome) = match reply(shared, peer, &message).await {
            Ok(reply) => reply,
            Err(outcome) => {
                shared.count(service, outcome);
                return End::Reset;
            }
        };
        shared.count(service, outcome);
        match timeout(WRITE_TIME, write(socket, &bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return End::Closed,
            Err(_) => {
                shared.count(service, Outcome::Idle);
                return End::Reset;
            }
        }
    }
}

/// The reply to one query; an error where the connection is to end instead.
async fn reply(
    shared: &Arc<Shared>,
    peer: &Peer,
    message: &[u8],
) -> Result<(Vec<u8>, Outcome), Outcome> {
    shared.take(Service::DnsStream, &peer.attachment)?;
    let asking = Asking::now(&peer.attachment)?;
    match decided(shared, &asking, message, Transport::Stream) {
        Decision::Answer(bytes) => Ok((bytes, Outcome::Answered)),
        Decision::Refuse(bytes) => Ok((bytes, Outcome::Refused)),
        Decision::Silence => Err(Outcome::Malformed),
        // As many wait as there are connections, and those are counted.
        Decision::Forward(forwarding) => Ok(resolved(&forwarding, Transport::Stream).await),
    }
}

/// Reads a message with its length before it (RFC 1035, section 4.2.2); false at the end of the
/// connection.
pub(super) async fn read(socket: &mut TcpStream, message: &mut Vec<u8>) -> io::Result<bool> {
    let length = match socket.read_u16().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
        Err(error) => return Err(error),
    };
    message.resize(length.into(), 0);
    socket.read_exact(message).await?;
    Ok(true)
}

/// Writes a message with its length before it, in one piece (RFC 7766, section 8).
pub(super) async fn write(socket: &mut TcpStream, message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    let mut framed = Vec::with_capacity(2 + message.len());
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(message);
    socket.write_all(&framed).await
}
