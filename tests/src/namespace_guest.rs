//! A guest that is a network namespace behind a real tap.
//!
//! Its card is a tap too, and a thread carries frames between the two descriptors as QEMU would:
//! what the namespace's stack sends arrives at the hypervisor's tap as a guest's frame, with its
//! offloads. So one test can have hundreds of guests and see every frame.

use std::{
    fs::File,
    io::{Read, Write},
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpStream},
    os::fd::{AsFd, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::{
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, setsockopt, socket,
        sockopt,
    },
};

use crate::{
    capture::Capture,
    http::{self, Connection, Response},
    namespace::Namespace,
    tap::{HEADER, Offload, Tap},
};

/// The name of the card in the guest.
const CARD: &str = "eth0";

/// The metadata service.
pub const SERVICE: &str = "169.254.169.254:80";
/// The same over IPv6.
pub const SERVICE6: &str = "[fd00:ec2::254]:80";
/// The same for a guest with a link-local address alone; the scope is its card's index.
const SERVICE_LINK: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe);

/// Which of the guest's frames its wire loses.
type Loss = Arc<Mutex<fn(&[u8]) -> bool>>;

/// A namespace behind a tap.
#[derive(Debug)]
pub struct NamespaceGuest {
    namespace: Namespace,
    capture: Capture,
    loss: Loss,
    stop: Option<OwnedFd>,
    pump: Option<JoinHandle<()>>,
}

impl NamespaceGuest {
    /// Plugs a new guest into a tap of the hypervisor.
    pub fn plug(tap: Tap, mac: &str, addresses: &[&str], offload: Offload) -> Result<Self> {
        let namespace = Namespace::create()?;
        let card = Tap::create_down(&namespace, CARD, offload)?;
        namespace.ip(&format!("link set {CARD} address {mac} up"))?;
        for address in addresses {
            namespace.ip(&format!("address add {address} dev {CARD}"))?;
        }
        namespace.ip(&format!("route replace 169.254.169.254/32 dev {CARD}"))?;
        namespace.ip(&format!("-6 route replace fd00:ec2::/64 dev {CARD}"))?;
        let capture = Capture::default();
        let loss: Loss = Arc::new(Mutex::new(|_| false));
        let (stopped, stop) = nix::unistd::pipe2(OFlag::O_CLOEXEC).context("making a pipe")?;
        let (seen, lost) = (capture.clone(), Arc::clone(&loss));
        let pump = std::thread::spawn(move || carry(tap, card, &stopped, &seen, &lost));
        Ok(Self { namespace, capture, loss, stop: Some(stop), pump: Some(pump) })
    }

    /// From now on its wire loses those of its own frames that `lost` names. They are still seen
    /// by [`NamespaceGuest::capture`].
    pub fn lose(&self, lost: fn(&[u8]) -> bool) {
        *self.loss.lock().unwrap_or_else(PoisonError::into_inner) = lost;
    }

    /// Where the guest's processes and sockets are.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// What it was sent.
    pub fn capture(&self) -> &Capture {
        &self.capture
    }

    /// Connects to the service from any address.
    pub fn connect(&self) -> Result<Connection> {
        self.connect_with(&Dial::default())
    }

    /// Connects to the service in a special way.
    pub fn connect_with(&self, dial: &Dial) -> Result<Connection> {
        let stream = self.namespace.run(|| dial.stream())??;
        Connection::new(stream)
    }

    /// One request on a connection of its own.
    pub fn get(&self, path: &str) -> Result<Response> {
        self.connect()?.get(path, &[])
    }

    /// A session token.
    pub fn token(&self) -> Result<String> {
        let response =
            self.connect()?.send("PUT", "/latest/api/token", &[(http::TOKEN_TTL, "21600")], b"")?;
        anyhow::ensure!(response.status == 200, "no token: {response:?}");
        Ok(response.text())
    }
}

impl Drop for NamespaceGuest {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(pump) = self.pump.take() {
            // A panic in there has been printed; here it changes nothing.
            let _ = pump.join();
        }
    }
}

/// By which address the service is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// 169.254.169.254.
    Ipv4,
    /// fd00:ec2::254.
    Ipv6,
    /// fe80::a9fe:a9fe.
    LinkLocal,
}

/// How to connect.
#[derive(Debug, Clone)]
pub struct Dial {
    /// To which of the service's addresses.
    pub by: By,
    /// The source address; any without one.
    pub source: Option<IpAddr>,
    /// The source port; any without one.
    pub source_port: u16,
    /// The TTL of the guest's own packets.
    pub ttl: Option<i32>,
    /// How long to try.
    pub bound: Duration,
    /// The device that it must go through; any that leads there without one.
    pub device: Option<String>,
}

impl Default for Dial {
    fn default() -> Self {
        Self {
            by: By::Ipv4,
            source: None,
            source_port: 0,
            ttl: None,
            bound: Duration::from_secs(10),
            device: None,
        }
    }
}

impl Dial {
    /// From this source address.
    pub fn from(address: &str) -> Self {
        let source: IpAddr = address.parse().expect("an address");
        let by = if source.is_ipv4() { By::Ipv4 } else { By::Ipv6 };
        Self { by, source: Some(source), ..Self::default() }
    }

    /// To this address of the service.
    pub fn to(by: By) -> Self {
        Self { by, ..Self::default() }
    }

    /// Connects to the service from the namespace of the calling thread.
    pub fn stream(&self) -> Result<TcpStream> {
        let is_link_local = |address: IpAddr| match address {
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
            IpAddr::V4(_) => false,
        };
        let needs_scope = self.by == By::LinkLocal || self.source.is_some_and(is_link_local);
        let scope = if needs_scope {
            let device = self.device.as_deref().unwrap_or(CARD);
            nix::net::if_::if_nametoindex(device).context("the card's index")?
        } else {
            0
        };
        let (family, service) = match self.by {
            By::Ipv4 => (AddressFamily::Inet, SERVICE.parse().expect("an address")),
            By::Ipv6 => (AddressFamily::Inet6, SERVICE6.parse().expect("an address")),
            By::LinkLocal => {
                let service = SocketAddrV6::new(SERVICE_LINK, 80, 0, scope);
                (AddressFamily::Inet6, SocketAddr::V6(service))
            }
        };
        let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)
            .context("making a socket")?;
        setsockopt(&socket, sockopt::ReuseAddr, &true).context("SO_REUSEADDR")?;
        if let Some(device) = &self.device {
            setsockopt(&socket, sockopt::BindToDevice, &device.into())
                .context("SO_BINDTODEVICE")?;
        }
        match self.ttl {
            Some(ttl) if self.by == By::Ipv4 => setsockopt(&socket, sockopt::Ipv4Ttl, &ttl),
            Some(ttl) => setsockopt(&socket, sockopt::Ipv6Ttl, &ttl),
            None => Ok(()),
        }
        .context("IP_TTL")?;
        if let Some(source) = self.source {
            let mut address = SocketAddr::new(source, self.source_port);
            if let SocketAddr::V6(v6) = &mut address
                && v6.ip().is_unicast_link_local()
            {
                v6.set_scope_id(scope);
            }
            let address = SockaddrStorage::from(address);
            bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &address)
                .with_context(|| format!("binding to {source}"))?;
        }
        let time = nix::sys::time::TimeVal::new(
            i64::try_from(self.bound.as_secs()).unwrap_or(i64::MAX),
            i64::from(self.bound.subsec_micros()),
        );
        setsockopt(&socket, sockopt::SendTimeout, &time).context("SO_SNDTIMEO")?;
        connect(std::os::fd::AsRawFd::as_raw_fd(&socket), &SockaddrStorage::from(service))
            .context("connecting to the service")?;
        Ok(TcpStream::from(socket))
    }
}

/// Carries frames both ways until the other end of `stopped` closes or a device goes.
fn carry(hypervisor: Tap, card: Tap, stopped: &OwnedFd, capture: &Capture, loss: &Loss) {
    let hypervisor = File::from(hypervisor.into_descriptor());
    let card = File::from(card.into_descriptor());
    let mut bytes = vec![0; HEADER + (1 << 16)];
    loop {
        let mut wanted = [
            PollFd::new(hypervisor.as_fd(), PollFlags::POLLIN),
            PollFd::new(card.as_fd(), PollFlags::POLLIN),
            PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
        ];
        if poll(&mut wanted, PollTimeout::NONE).is_err() {
            return;
        }
        let [from_hypervisor, from_card, end] =
            wanted.map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        if !end.is_empty() {
            return;
        }
        let gone = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
        if (from_hypervisor | from_card).intersects(gone) {
            return;
        }
        for (ready, from, to, inward) in
            [(from_hypervisor, &hypervisor, &card, true), (from_card, &card, &hypervisor, false)]
        {
            if !ready.contains(PollFlags::POLLIN) {
                continue;
            }
            let (mut from, mut to) = (from, to);
            let Ok(length) = from.read(&mut bytes) else { return };
            if inward && length > HEADER {
                capture.add(&bytes[HEADER..length]);
            } else if !inward {
                capture.note_sent(&bytes[..length]);
                let lost = *loss.lock().unwrap_or_else(PoisonError::into_inner);
                if lost(bytes[..length].get(HEADER..).unwrap_or_default()) {
                    continue;
                }
            }
            // A device that is down takes no frame: so does a wire that is not plugged in.
            let _ = to.write(&bytes[..length]);
        }
    }
}
