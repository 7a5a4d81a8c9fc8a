//! Asking an upstream: one socket for each question, so that its port is another random one each
//! time (RFC 5452, section 9.2; the kernel draws it), connected, so that nobody else's datagrams
//! are seen.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use mezame_link_local::dns::{Answer, Forwarding, Transport};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::{
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use super::dns;
use crate::listener::reset_on_close;

/// How long one resolver may take. Stub resolvers ask again after 5 seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often resolvers are asked about one query, in all.
const TRIES: usize = 3;

/// How many datagrams that answer something else are read before a question is given up: guessing
/// the number of a query must not get cheap.
const MOST_WRONG: usize = 16;

/// The reply to a query out of the first resolver that can say; where none can, what the last one
/// has said, and nothing where none has said anything.
pub(super) async fn resolve(forwarding: &Forwarding, transport: Transport) -> Option<Vec<u8>> {
    let mut left = forwarding.upstreams().to_vec();
    let mut said = None;
    let mut next = 0;
    for _ in 0..TRIES {
        if left.is_empty() {
            break;
        }
        let at = next % left.len();
        let asked = async {
            match transport {
                Transport::Datagram => ask(left[at], forwarding).await,
                Transport::Stream => ask_by_stream(left[at], forwarding).await,
            }
        };
        match timeout(PATIENCE, asked).await {
            Ok(Ok(answer)) if !answer.is_failure => return Some(answer.bytes),
            Ok(Ok(answer)) => {
                // It would say the same again.
                left.remove(at);
                said = Some(answer.bytes);
                next = at;
            }
            Ok(Err(error)) => {
                tracing::debug!(upstream = %left[at], %error, "a resolver failed");
                next = at + 1;
            }
            Err(_) => {
                tracing::debug!(upstream = %left[at], "a resolver is silent");
                next = at + 1;
            }
        }
    }
    said
}

async fn ask(upstream: SocketAddr, forwarding: &Forwarding) -> io::Result<Answer> {
    let id = u16::from_ne_bytes(random()?);
    exchange(upstream, &forwarding.message(id), |datagram| forwarding.accept(id, datagram.to_vec()))
        .await
}

async fn ask_by_stream(upstream: SocketAddr, forwarding: &Forwarding) -> io::Result<Answer> {
    let id = u16::from_ne_bytes(random()?);
    let mut socket = TcpStream::connect(upstream).await?;
    dns::write(&mut socket, &forwarding.message(id)).await?;
    // Nothing is to follow the answer: a reset leaves no local port behind in TIME-WAIT, of which
    // a guest could otherwise use up all that there are to this resolver.
    reset_on_close(&socket);
    let mut message = Vec::new();
    if !dns::read(&mut socket, &mut message).await? {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    forwarding.accept(id, message).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Sends one datagram and reads until one is accepted as its answer. Bounded in time by the caller.
pub(super) async fn exchange<T>(
    upstream: SocketAddr,
    message: &[u8],
    accept: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<T> {
    let any: SocketAddr = match upstream {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(upstream).await?;
    socket.send(message).await?;
    // Longer than anything that was asked for.
    let mut buffer = vec![0; 4096];
    for _ in 0..MOST_WRONG {
        let length = socket.recv(&mut buffer).await?;
        if let Some(answer) = accept(&buffer[..length]) {
            return Ok(answer);
        }
    }
    Err(io::ErrorKind::InvalidData.into())
}

/// Bytes that nobody can guess.
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let source = SystemRandom::new();
    source.fill(&mut bytes).map_err(|_| io::Error::other("the system has no random bytes"))?;
    Ok(bytes)
}
