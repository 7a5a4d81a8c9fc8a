//! Router advertisements: solicited ones, those to each port whose record changes, and those that
//! keep what was told from running out.
//!
//! The socket is a raw one of ICMPv6 (raw(7)): an advertisement is no UDP, and its source says
//! which router it speaks for, which is no address of this machine's. The kernel fills in its
//! checksum, and the data path corrects it on the way.

mod memory;

use std::{
    io::{self, IoSlice},
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use memory::Memory;
use mezame_ebpf_loader::Identity6;
use mezame_link_local::router::{Advertisement, REPEAT_EVERY, advertise, check};
use nix::{
    libc,
    sys::socket::{
        ControlMessage, MsgFlags, SockaddrStorage, recvfrom, sendmsg, setsockopt, sockopt,
    },
};
use tokio::io::{Interest, unix::AsyncFd};

use super::{
    asker::{self, Asking},
    share::Shared,
};
use crate::{
    identity::Attachment,
    listener::Stage,
    metrics::link_local::{Outcome, Service},
};

/// What a receiver believes alone (RFC 4861, section 6.1).
const HOP_LIMIT: i32 = 255;
/// Longer than any solicitation within a guest's MTU; what is longer is cut, and so malformed.
const LONGEST: usize = 9216;
/// How often changes of records are looked for.
const LOOK: Duration = Duration::from_secs(1);
/// So many unasked advertisements are sent before others get their turn.
const BATCH: usize = 256;

/// The raw socket.
#[derive(Debug)]
pub(super) struct Router {
    socket: AsyncFd<OwnedFd>,
    shared: Arc<Shared>,
    /// The veth's end in the namespace that the socket is in.
    ifindex: u32,
}

impl Router {
    /// Takes a raw ICMPv6 socket of the metadata namespace. To be called in a runtime.
    pub(super) fn new(shared: Arc<Shared>, socket: OwnedFd, ifindex: u32) -> io::Result<Self> {
        setsockopt(&socket, sockopt::Ipv6Ttl, &HOP_LIMIT)?;
        // SAFETY: the value owns its descriptor, the same one, until it is dropped.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        Ok(Self { socket, shared, ifindex })
    }

    /// Serves until no more is to be taken.
    pub(super) async fn serve(self) {
        tokio::select! {
            biased;
            () = self.shared.reached(Stage::Draining) => {}
            () = self.answer() => {}
            () = self.repeat() => {}
        }
    }

    /// Answers solicitations.
    async fn answer(&self) {
        let mut buffer = vec![0; LONGEST];
        loop {
            let received = self
                .socket
                .async_io(Interest::READABLE, |socket| {
                    Ok(recvfrom::<SockaddrStorage>(socket.as_raw_fd(), &mut buffer)?)
                })
                .await;
            match received {
                Ok((length, Some(peer))) => {
                    if let Some(peer) = peer.as_sockaddr_in6() {
                        let outcome = self.take(peer.ip(), &buffer[..length]);
                        self.shared.count(Service::Router, outcome);
                    }
                }
                Ok((_, None)) => {}
                Err(error) => {
                    tracing::warn!(%error, "receiving router solicitations failed");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn take(&self, peer: Ipv6Addr, message: &[u8]) -> Outcome {
        let taken = (|| {
            let attachment = asker::attachment(&self.shared.serving.identities, IpAddr::V6(peer))?;
            self.shared.take(Service::Router, &attachment)?;
            let identity = Identity6::parse(peer).ok_or(Outcome::UnknownPort)?;
            let source = match identity.prefix() {
                Identity6::EVERYONE => Ipv6Addr::UNSPECIFIED,
                _ => peer,
            };
            // The data path lets no other hop limit through.
            check(message, source, HOP_LIMIT as u8).map_err(|_| Outcome::Malformed)?;
            let asking = Asking::now(&attachment)?;
            advertise(&asking.record.guest, asking.port()).ok_or(Outcome::Silent)
        })();
        match taken {
            Ok(advertisement) => match self.send(peer, &advertisement) {
                Ok(()) => Outcome::Answered,
                Err(error) => {
                    tracing::debug!(%error, "a router advertisement was not sent");
                    Outcome::Unsent
                }
            },
            Err(outcome) => outcome,
        }
    }

    /// Tells each port unasked: when its record has changed, and before what it was told runs out.
    async fn repeat(&self) {
        let mut last_all = tokio::time::Instant::now();
        let mut memory = Memory::default();
        loop {
            tokio::time::sleep(LOOK).await;
            let all = last_all.elapsed() >= REPEAT_EVERY;
            if all {
                last_all = tokio::time::Instant::now();
            }
            let attachments = self.shared.serving.identities.all();
            memory.retain(|slot| self.shared.serving.identities.of_slot(slot).is_some());
            for (n, attachment) in attachments.iter().enumerate() {
                if n % BATCH == BATCH - 1 {
                    tokio::task::yield_now().await;
                }
                self.tell(attachment, &mut memory, all);
            }
        }
    }

    fn tell(&self, attachment: &Attachment, memory: &mut Memory, again: bool) {
        let Ok(asking) = Asking::now(attachment) else { return };
        let (slot, generation) = (attachment.slot, asking.record.generation);
        let port = &attachment.port;
        if !memory.is_due(slot, port, generation, again) {
            return;
        }
        let everyone = Identity6::new(slot, Identity6::EVERYONE, 0).address();
        let now = advertise(&asking.record.guest, asking.port());
        let send = |message: &Advertisement| self.send(everyone, message);
        if let Err(error) = memory.tell(slot, port, generation, again, now, send) {
            tracing::debug!(%port, %error, "a router advertisement was not sent");
        }
    }

    fn send(&self, to: Ipv6Addr, advertisement: &Advertisement) -> io::Result<()> {
        let source = libc::in6_pktinfo {
            ipi6_addr: libc::in6_addr { s6_addr: advertisement.source.octets() },
            ipi6_ifindex: self.ifindex,
        };
        let to = SockaddrStorage::from(SocketAddr::V6(SocketAddrV6::new(to, 0, 0, 0)));
        sendmsg(
            self.socket.as_raw_fd(),
            &[IoSlice::new(&advertisement.bytes)],
            &[ControlMessage::Ipv6PacketInfo(&source)],
            MsgFlags::MSG_DONTWAIT,
            Some(&to),
        )?;
        Ok(())
    }
}
