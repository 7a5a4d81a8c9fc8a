//! The network namespace that the listener lives in, and the veth that leads to it.
//!
//! The namespace owns the services' addresses and a route for the identity range, and nothing
//! else: no way leads out of it but through the data path. It is a named one (`ip netns` sees
//! it), so that it outlives this process: an upgrade or a crash leaves it standing, and
//! [`Namespace::ensure`] finds it whole. All set-up is by netlink; no other program is run.
//!
//! What this never does: move the calling thread. Whatever must happen inside happens in a thread
//! of its own, which ends there.

mod links;
mod mount;

use std::{
    fs::File,
    io,
    net::{IpAddr, SocketAddr},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use mezame_ebpf_loader::Protocol;
use mezame_model::{DeviceName, MacAddress};
use nix::{
    sched::{CloneFlags, setns},
    sys::socket::{
        self, AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrStorage, sockopt,
    },
};

/// Why the namespace can't be made or used.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// The process lacks the right to make namespaces and devices.
    #[error("{what} is not permitted; run as root or with CAP_SYS_ADMIN and CAP_NET_ADMIN")]
    NotPermitted {
        /// What was attempted.
        what: &'static str,
    },
    /// A file of the namespace can't be used.
    #[error("{path}: {what} failed")]
    File {
        /// Which file.
        path: PathBuf,
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The kernel refused a change.
    #[error("{what} failed")]
    Netlink {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: rtnetlink::Error,
    },
    /// Opening a socket or a thread failed.
    #[error("{what} failed")]
    System {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A device that was just made is not there.
    #[error("device {device} is missing")]
    Missing {
        /// Its name.
        device: String,
    },
    /// Somebody else listens there.
    #[error(
        "{address} in namespace {namespace} is in use; another metadata-server runs with another \
         run directory, so stop it or choose another --namespace"
    )]
    InUse {
        /// Which namespace.
        namespace: String,
        /// Which address and port.
        address: SocketAddr,
    },
}

impl NamespaceError {
    fn system(what: &'static str, source: io::Error) -> Self {
        if source.kind() == io::ErrorKind::PermissionDenied {
            Self::NotPermitted { what }
        } else {
            Self::System { what, source }
        }
    }
}

/// What the namespace and its devices are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamespaceNames {
    /// The namespace, as `ip netns` lists it.
    pub namespace: String,
    /// The veth's end among the taps.
    pub veth: DeviceName,
    /// The veth's end inside.
    pub peer: DeviceName,
}

/// One end of the veth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The device's index in its namespace.
    pub ifindex: u32,
    /// Its MAC address.
    pub mac: MacAddress,
}

/// The namespace, made and whole.
#[derive(Debug)]
pub struct Namespace {
    names: NamespaceNames,
    fd: OwnedFd,
    veth: End,
    peer: End,
    has_ipv6: bool,
}

impl Namespace {
    /// Makes the namespace with its devices, addresses and routes, or what of it is missing.
    /// `addresses` says which it is to own, with IPv6 or, where the kernel knows none, without.
    pub async fn ensure(
        names: &NamespaceNames,
        addresses: impl FnOnce(bool) -> Vec<IpAddr>,
    ) -> Result<Self, NamespaceError> {
        let fd = mount::ensure(&names.namespace)?;
        // There is none where it was turned off at boot (`ipv6.disable=1`) or left out.
        let has_ipv6 = enter(&fd, || Path::new("/proc/thread-self/net/if_inet6").exists())?;
        let (veth, peer) = links::ensure(&fd, names, &addresses(has_ipv6)).await?;
        Ok(Self { names: names.clone(), fd, veth, peer, has_ipv6 })
    }

    /// Whether the kernel knows IPv6.
    pub fn has_ipv6(&self) -> bool {
        self.has_ipv6
    }

    /// Takes the namespace and the veth away. Gone already is fine.
    pub async fn remove(names: &NamespaceNames) -> Result<(), NamespaceError> {
        links::remove(names).await?;
        mount::remove(&names.namespace)
    }

    /// The veth's end among the taps: frames redirected to it reach the namespace.
    pub fn veth(&self) -> End {
        self.veth
    }

    /// The veth's end inside.
    pub fn peer(&self) -> End {
        self.peer
    }

    /// The namespace itself, for `setns`.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Runs `work` in a thread inside the namespace and waits for it.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
        enter(&self.fd, work)
    }

    /// Takes an address inside the namespace, which nobody else can have from then on.
    /// Connections are refused until [`listen`].
    pub fn bind(&self, protocol: Protocol, address: SocketAddr) -> Result<OwnedFd, NamespaceError> {
        let socket = self.enter(|| open_socket(protocol, address))?;
        socket.map_err(|errno| match errno {
            nix::Error::EADDRINUSE => {
                NamespaceError::InUse { namespace: self.names.namespace.clone(), address }
            }
            errno => NamespaceError::system("opening a socket for guests", errno.into()),
        })
    }
}

/// Lets connections in by a socket that has its address.
pub fn listen(socket: &OwnedFd, backlog: i32) -> Result<(), NamespaceError> {
    socket::listen(socket, Backlog::new(backlog).unwrap_or(Backlog::MAXCONN))
        .map_err(|errno| NamespaceError::system("opening a listener", errno.into()))
}

/// Runs `work` in a thread inside the namespace `fd` and waits for it.
fn enter<T: Send>(fd: &OwnedFd, work: impl FnOnce() -> T + Send) -> Result<T, NamespaceError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, || {
                setns(fd.as_fd(), CloneFlags::CLONE_NEWNET)?;
                Ok(work())
            })
            .map_err(|source| NamespaceError::system("starting a thread", source))?;
        match thread.join() {
            Ok(done) => done.map_err(|errno: nix::Error| {
                NamespaceError::system("entering the namespace", errno.into())
            }),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

fn open_socket(protocol: Protocol, address: SocketAddr) -> nix::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SockType::Stream, None),
        Protocol::Udp => (SockType::Datagram, None),
        Protocol::Icmp6 => (SockType::Raw, Some(SockProtocol::IcmpV6)),
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket::socket(family, kind, flags, number)?;
    if address.is_ipv6() && protocol != Protocol::Icmp6 {
        socket::setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    if protocol == Protocol::Tcp {
        socket::setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        // Inherited by accepted sockets, which saves a call for each connection.
        socket::setsockopt(&fd, sockopt::TcpNoDelay, &true)?;
    }
    socket::bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &SockaddrStorage::from(address))?;
    Ok(fd)
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    File::open(path).map(OwnedFd::from)
}

#[cfg(test)]
mod tests;
