//! Bytes between a guest and one of its network's own hosts, which the guest was told is here:
//!
//! | Service | Guests know it by | What the two say |
//! |---|---|---|
//! | licence activation (KMS) | `slmgr /skms 169.254.169.250` | MS-RPCE over TCP |
//! | tang | clevis's `{"url": "http://169.254.169.252"}` | McCallum-Relyea exchange over HTTP |
//!
//! What they say is nobody's business here; a few hundred bytes each way are all that either takes,
//! and more than the ceiling is none. A tang server never learns the key that it helps to make, and
//! whoever relays learns no more than the server does.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    asker::Asking,
    streams::{End, Peer},
};
use crate::metrics::link_local::{Outcome, Service};

/// How long a host may take to accept.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// How long a connection may last, however busy: places are for all guests.
const LONGEST: Duration = Duration::from_secs(300);

/// How many hosts are tried.
const TRIES: usize = 3;

/// Relays one connection until either side ends it.
pub(super) async fn serve(peer: &Peer, guest: &mut TcpStream, service: Service) -> End {
    let count = |outcome| peer.shared.count(service, outcome);
    let hosts = match Asking::now(&peer.attachment) {
        Ok(asking) => {
            let forward = &asking.port().network.forward;
            if service == Service::Tang { forward.tang.clone() } else { forward.kms.clone() }
        }
        Err(outcome) => {
            count(outcome);
            return End::Reset;
        }
    };
    if hosts.is_empty() {
        count(Outcome::NoUpstream);
        return End::Reset;
    }
    let Some(mut host) = connect(&hosts).await else {
        count(Outcome::Failed);
        return End::Reset;
    };
    let outcome = timeout(LONGEST, relay(peer, guest, &mut host)).await.unwrap_or(Outcome::Idle);
    count(outcome);
    if outcome == Outcome::Forwarded { End::Closed } else { End::Reset }
}

async fn connect(hosts: &[SocketAddr]) -> Option<TcpStream> {
    for host in hosts.iter().take(TRIES) {
        match timeout(CONNECT_TIME, TcpStream::connect(host)).await {
            Ok(Ok(socket)) => return Some(socket),
            Ok(Err(error)) => tracing::debug!(%host, %error, "a network's host can't be reached"),
            Err(_) => tracing::debug!(%host, "a network's host is silent"),
        }
    }
    None
}

/// Copies both ways until both sides have ended, or one has failed, lies idle or says too much.
async fn relay(peer: &Peer, guest: &mut TcpStream, host: &mut TcpStream) -> Outcome {
    let limits = &peer.shared.serving.limits.link_local;
    let mut left = limits.kms_bytes;
    let (mut from_guest, mut to_guest) = guest.split();
    let (mut from_host, mut to_host) = host.split();
    let (mut asked, mut answered) = ([0; 4096], [0; 4096]);
    let (mut guest_open, mut host_open) = (true, true);
    while guest_open || host_open {
        let step = async {
            tokio::select! {
                read = from_guest.read(&mut asked), if guest_open => {
                    let length = read?;
                    guest_open = length > 0;
                    pass(&asked[..length], &mut to_host).await
                }
                read = from_host.read(&mut answered), if host_open => {
                    let length = read?;
                    host_open = length > 0;
                    pass(&answered[..length], &mut to_guest).await
                }
            }
        };
        match timeout(limits.kms_idle_time, step).await {
            Ok(Ok(length)) => match left.checked_sub(length) {
                Some(rest) => left = rest,
                None => return Outcome::Bytes,
            },
            Ok(Err(_)) => return Outcome::Failed,
            Err(_) => return Outcome::Idle,
        }
    }
    Outcome::Forwarded
}

/// Passes bytes on, and the end where there are none.
async fn pass(bytes: &[u8], to: &mut (impl AsyncWriteExt + Unpin)) -> std::io::Result<u64> {
    if bytes.is_empty() {
        to.shutdown().await?;
    } else {
        to.write_all(bytes).await?;
    }
    Ok(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
}
