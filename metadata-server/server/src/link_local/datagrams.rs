//! Datagrams of guests: in, counted against their port, and answered or handed to a task that
//! waits for an upstream.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::net::UdpSocket;

use super::{
    asker::{self, Asking},
    dhcp4, dhcp6, dns, ntp,
    share::Shared,
};
use crate::{
    identity::Attachment,
    listener::Stage,
    metrics::link_local::{Outcome, Service},
};

/// Longer than any datagram that a guest may send within its MTU; what is longer is cut, and so
/// malformed.
const LONGEST: usize = 9216;

/// One datagram's way back.
#[derive(Debug)]
pub(super) struct Way {
    pub(super) shared: Arc<Shared>,
    pub(super) attachment: Arc<Attachment>,
    pub(super) service: Service,
    socket: Arc<UdpSocket>,
    peer: SocketAddr,
}

impl Way {
    /// Sends the reply back to where the datagram came from, and counts it.
    pub(super) fn reply(&self, bytes: &[u8], outcome: Outcome) {
        self.reply_to(self.peer, bytes, outcome);
    }

    /// Sends the reply and counts it, unless the tenancy is over: the same identity may lead to
    /// another tenant by now. A reply for which there is no room at once is dropped.
    pub(super) fn reply_to(&self, to: SocketAddr, bytes: &[u8], outcome: Outcome) {
        let outcome = match Asking::now(&self.attachment) {
            Err(Outcome::TenancyOver) => Outcome::TenancyOver,
            _ => match self.socket.try_send_to(bytes, to) {
                Ok(_) => outcome,
                Err(error) => {
                    tracing::debug!(port = %self.attachment.port, %error, "a reply was not sent");
                    Outcome::Unsent
                }
            },
        };
        self.count(outcome);
    }

    /// Where it came from.
    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Counts what became of it.
    pub(super) fn count(&self, outcome: Outcome) {
        self.shared.count(self.service, outcome);
    }
}

/// Serves one socket until no more is to be taken.
pub(super) async fn serve(shared: Arc<Shared>, socket: Arc<UdpSocket>, service: Service) {
    let draining = shared.reached(Stage::Draining);
    tokio::pin!(draining);
    let mut buffer = vec![0; LONGEST];
    loop {
        let received = tokio::select! {
            biased;
            () = &mut draining => return,
            received = socket.recv_from(&mut buffer) => received,
        };
        match received {
            Ok((length, peer)) => take(&shared, &socket, service, peer, &buffer[..length]),
            Err(error) => pause_after(&error).await,
        }
    }
}

/// Out of memory, or something else that may pass.
async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "receiving failed");
    tokio::time::sleep(Duration::from_millis(50)).await;
}

fn take(
    shared: &Arc<Shared>,
    socket: &Arc<UdpSocket>,
    service: Service,
    peer: SocketAddr,
    datagram: &[u8],
) {
    let admitted =
        asker::attachment(&shared.serving.identities, peer.ip()).and_then(|attachment| {
            shared.take(service, &attachment)?;
            Ok((Asking::now(&attachment)?, attachment))
        });
    match admitted {
        Ok((asking, attachment)) => {
            let (shared, socket) = (Arc::clone(shared), Arc::clone(socket));
            let way = Way { shared, attachment, service, socket, peer };
            match service {
                Service::Dhcp => dhcp4::answer(&way, &asking, datagram),
                Service::Dhcp6 => dhcp6::answer(&way, &asking, datagram),
                Service::Ntp => ntp::answer(way, &asking, datagram),
                _ => dns::answer(way, &asking, datagram),
            }
        }
        Err(outcome) => shared.count(service, outcome),
    }
}
