//! The services beside the metadata service: DNS, time and licence activation for guests, at the
//! addresses that EC2 has them at.
//!
//! | Service | Addresses | Port | What happens |
//! |---|---|---|---|
//! | DNS | 169.254.169.253, fd00:ec2::253 | 53, UDP and TCP | answered out of the records, or forwarded |
//! | NTP | 169.254.169.123, fd00:ec2::123 | 123, UDP | forwarded |
//! | KMS | 169.254.169.250, fd00:ec2::250 | 1688, TCP | relayed |
//!
//! Guests come by sockets in the metadata namespace, each under an identity address, as they come
//! to the metadata service; an upstream is asked from the namespace that [`LinkLocal::start`] is
//! called in, the hypervisor's own. Nothing leads from the one to the other but the tasks here,
//! and nothing of a guest's gets further than its network's own upstreams. All of it runs in one
//! thread. What a guest asks for is never logged.

mod asker;
mod datagrams;
mod directory;
mod dns;
mod kms;
mod ntp;
mod share;
mod streams;
mod upstream;

use std::{
    io,
    net::{TcpListener, UdpSocket},
    sync::Arc,
    time::Duration,
};

pub use directory::Directory;
pub use share::PortShare;
use share::Shared;
use tokio::{task::JoinSet, time::Instant};

use crate::{
    listener::{Serving, Stage},
    metrics::link_local::Service,
};

/// How often an ending thread looks whether all is over.
const LOOK: Duration = Duration::from_millis(20);

/// Open sockets in the metadata namespace, each bound to a service's address: a reply leaves from
/// the address that was asked. A family or a service that has no socket here is not served.
#[derive(Debug, Default)]
pub struct LinkLocalSockets {
    /// DNS over UDP.
    pub dns: Vec<UdpSocket>,
    /// DNS over TCP.
    pub dns_streams: Vec<TcpListener>,
    /// Time.
    pub ntp: Vec<UdpSocket>,
    /// Licence activation.
    pub kms: Vec<TcpListener>,
}

impl LinkLocalSockets {
    /// The same sockets once more, such as for a successor.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            dns: self.dns.iter().map(UdpSocket::try_clone).collect::<io::Result<_>>()?,
            dns_streams: self
                .dns_streams
                .iter()
                .map(TcpListener::try_clone)
                .collect::<io::Result<_>>()?,
            ntp: self.ntp.iter().map(UdpSocket::try_clone).collect::<io::Result<_>>()?,
            kms: self.kms.iter().map(TcpListener::try_clone).collect::<io::Result<_>>()?,
        })
    }
}

/// The thread that serves them.
#[derive(Debug)]
pub struct LinkLocal {
    shared: Arc<Shared>,
    thread: std::thread::JoinHandle<()>,
}

impl LinkLocal {
    /// Starts serving guests on these sockets, which are made non-blocking. Must be called on a
    /// thread that is in the namespace which upstreams are to be reached from: sockets to them are
    /// opened there (network_namespaces(7)).
    ///
    /// Names come from [`Serving::directory`], who is asking from [`Serving::identities`], where
    /// to forward from each port's record.
    pub fn start(serving: &Arc<Serving>, sockets: LinkLocalSockets) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let shared = Arc::new(Shared::new(Arc::clone(serving)));
        let mut tasks = JoinSet::new();
        {
            let _inside = runtime.enter();
            for (service, socket) in sockets
                .dns
                .into_iter()
                .map(|one| (Service::Dns, one))
                .chain(sockets.ntp.into_iter().map(|one| (Service::Ntp, one)))
            {
                socket.set_nonblocking(true)?;
                let socket = Arc::new(tokio::net::UdpSocket::from_std(socket)?);
                tasks.spawn(datagrams::serve(Arc::clone(&shared), socket, service));
            }
            for (service, listener) in sockets
                .dns_streams
                .into_iter()
                .map(|one| (Service::DnsStream, one))
                .chain(sockets.kms.into_iter().map(|one| (Service::Kms, one)))
            {
                listener.set_nonblocking(true)?;
                let listener = tokio::net::TcpListener::from_std(listener)?;
                tasks.spawn(streams::accept(Arc::clone(&shared), listener, service));
            }
            tasks.spawn(directory::keep(Arc::clone(&shared)));
        }
        let running = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("link-local".into()).spawn(move || {
            runtime.block_on(async move {
                running.reached(Stage::Closed).await;
                // What still runs ends with the runtime.
                drop(tasks);
            });
        })?;
        Ok(Self { shared, thread })
    }

    /// Takes no more, lets what is under way come to its end for at most `patience`, and ends.
    /// Returns how many queries and connections were cut off. The sockets that were handed over
    /// are closed then; what waits in them stays for whoever holds them too.
    pub async fn drain(self, patience: Duration) -> u32 {
        self.shared.enter(Stage::Draining);
        // None: later than the clock can say.
        let deadline = Instant::now().checked_add(patience);
        let is_over = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
        while self.shared.under_way() > 0 && !is_over() {
            tokio::time::sleep(LOOK).await;
        }
        let cut = self.shared.under_way();
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
