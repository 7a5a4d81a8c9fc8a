//! The services beside the metadata service: addresses, names, time, licence activation and tang
//! for guests. Names, time and licences are where EC2 has them.
//!
//! | Service | Addresses | Port | What happens |
//! |---|---|---|---|
//! | DHCPv4 | 169.254.169.254 and by broadcast | 67, UDP | answered out of the record |
//! | DHCPv6 | fe80::a9fe:a9fe and ff02::1:2 | 547, UDP | answered out of the record |
//! | routers | ff02::2 | ICMPv6 | answered out of the record, and told unasked |
//! | DNS | 169.254.169.253, fd00:ec2::253 | 53, UDP and TCP | answered out of the records, or forwarded |
//! | NTP | 169.254.169.123, fd00:ec2::123 | 123, UDP | forwarded |
//! | KMS | 169.254.169.250, fd00:ec2::250 | 1688, TCP | relayed |
//! | tang | 169.254.169.252, fd00:ec2::252 | 80, TCP | relayed |
//!
//! Guests come by sockets in the metadata namespace, each under an identity address, as they come
//! to the metadata service; an upstream is asked from the namespace that [`LinkLocal::start`] is
//! called in, the hypervisor's own. Nothing leads from the one to the other but the tasks here,
//! and nothing of a guest's gets further than its network's own upstreams. All of it runs in one
//! thread. What a guest asks for is never logged.

mod asker;
mod datagrams;
mod dhcp4;
mod dhcp6;
mod directory;
mod dns;
mod ntp;
mod relay;
mod router;
mod share;
mod streams;
mod upstream;

use std::{
    io,
    net::{TcpListener, UdpSocket},
    os::fd::OwnedFd,
    sync::Arc,
    time::Duration,
};

pub use directory::Directory;
use router::Router;
pub use share::PortShare;
use share::Shared;
use tokio::task::JoinSet;

use crate::{
    listener::{Serving, Stage, Takers},
    metrics::link_local::Service,
};

/// Open sockets in the metadata namespace, each bound to a service's address: a reply leaves from
/// the address that was asked. A family or a service that has no socket here is not served.
#[derive(Debug, Default)]
pub struct LinkLocalSockets {
    /// DHCPv4.
    pub dhcp: Vec<UdpSocket>,
    /// DHCPv6.
    pub dhcp6: Vec<UdpSocket>,
    /// Router solicitations, with the index of the device that they come in by.
    pub router: Option<(OwnedFd, u32)>,
    /// DNS over UDP.
    pub dns: Vec<UdpSocket>,
    /// DNS over TCP.
    pub dns_streams: Vec<TcpListener>,
    /// Time.
    pub ntp: Vec<UdpSocket>,
    /// Licence activation.
    pub kms: Vec<TcpListener>,
    /// Help with encrypted volumes.
    pub tang: Vec<TcpListener>,
}

/// The thread that serves them.
#[derive(Debug)]
pub struct LinkLocal {
    shared: Arc<Shared>,
    takers: Takers,
    thread: std::thread::JoinHandle<()>,
}

/// What runs in the thread from its beginning.
struct Tasks {
    takers: Takers,
    set: JoinSet<()>,
}

impl Tasks {
    /// Runs this, which leaves off when it is told to take no more.
    fn take(&mut self, taking: impl Future<Output = ()> + Send + 'static) {
        let taker = self.takers.one_more();
        self.set.spawn(async move {
            taking.await;
            drop(taker);
        });
    }
}

impl LinkLocal {
    /// Starts serving guests on these sockets, which are made non-blocking. Must be called on a
    /// thread that is in the namespace which upstreams are to be reached from: sockets to them are
    /// opened there (network_namespaces(7)).
    ///
    /// Names come from [`Serving::directory`], where the newest are indexed first, which takes some
    /// tenths of a second for 100,000; who is asking from [`Serving::identities`], where
    /// to forward from each port's record.
    pub fn start(serving: &Arc<Serving>, sockets: LinkLocalSockets) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::new(Shared::new(Arc::clone(serving)));
        let takers = Takers::default();
        let mut tasks = Tasks { takers: takers.clone(), set: JoinSet::new() };
        {
            let _inside = runtime.enter();
            let datagrams = [
                (Service::Dhcp, sockets.dhcp),
                (Service::Dhcp6, sockets.dhcp6),
                (Service::Dns, sockets.dns),
                (Service::Ntp, sockets.ntp),
            ];
            for (service, sockets) in datagrams {
                for socket in sockets {
                    socket.set_nonblocking(true)?;
                    let socket = Arc::new(tokio::net::UdpSocket::from_std(socket)?);
                    tasks.take(datagrams::serve(Arc::clone(&shared), socket, service));
                }
            }
            if let Some((socket, ifindex)) = sockets.router {
                tasks.take(Router::new(Arc::clone(&shared), socket, ifindex)?.serve());
            }
            for (service, listener) in sockets
                .dns_streams
                .into_iter()
                .map(|one| (Service::DnsStream, one))
                .chain(sockets.kms.into_iter().map(|one| (Service::Kms, one)))
                .chain(sockets.tang.into_iter().map(|one| (Service::Tang, one)))
            {
                listener.set_nonblocking(true)?;
                let listener = tokio::net::TcpListener::from_std(listener)?;
                tasks.take(streams::accept(Arc::clone(&shared), listener, service));
            }
            let newest = serving.directory.open();
            tasks.set.spawn(directory::keep(Arc::clone(&shared), newest));
        }
        let running = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("link-local".into()).spawn(move || {
            runtime.block_on(async move {
                running.reached(Stage::Closed).await;
                // What still runs ends with the runtime.
                drop(tasks);
            });
        })?;
        Ok(Self { shared, takers, thread })
    }

    /// Takes no more, lets what is under way come to its end for at most `patience`, and ends.
    /// Returns how many queries and connections were cut off. The sockets that were handed over
    /// are closed then; what waits in them stays for whoever holds them too.
    pub async fn drain(self, patience: Duration) -> u32 {
        self.shared.enter(Stage::Draining);
        let cut = self.takers.drained(patience, || self.shared.under_way()).await;
        self.shared.enter(Stage::Closed);
        let ended = tokio::task::spawn_blocking(move || {
            // If it panicked, that has been logged by the panic's own hook.
            let _ = self.thread.join();
        });
        let _ = ended.await;
        cut
    }
}

#[cfg(test)]
mod tests;
