//! Where a server is, and the socket to it, each read and write of which ends in time.
//!
//! TCP alone is as open as it looks: neither who is there nor what is said is protected. So over a
//! network nothing is said without TLS, unless that is asked for by its name.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use rustls::ClientConnection;
use serde::{Deserialize, Serialize};

use super::{NbdError, tls};
use crate::local_socket::connect_within;

/// Where a server of blocks listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NbdAddress {
    /// A UNIX socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(SocketAddr),
}

impl NbdAddress {
    /// The address, if what is said there can be read and changed by others than this machine's own.
    pub fn exposed(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) if !address.ip().to_canonical().is_loopback() => Some(*address),
            _ => None,
        }
    }
}

/// What protects what is said to a server.
#[derive(Debug, Clone, Copy)]
pub enum Protection<'a> {
    /// That it never leaves this machine: a UNIX socket, or loopback. Elsewhere nothing is said.
    Local,
    /// TLS by these, or nothing is said.
    Tls(&'a tls::Credentials),
    /// Nothing, wherever it is: whoever is on the way can read a disk, and change what is read.
    Clear,
}

impl fmt::Display for NbdAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(out),
            Self::Tcp(address) => address.fmt(out),
        }
    }
}

/// A connection of either kind, with TLS in it where that has begun.
#[derive(Debug)]
pub(super) struct Stream {
    wire: Wire,
    tls: Option<Box<ClientConnection>>,
}

/// A socket of either kind, and how much has gone over it.
#[derive(Debug)]
struct Wire {
    socket: Socket,
    passed: u64,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    pub(super) fn connect(address: &NbdAddress, bound: Duration) -> io::Result<Self> {
        let socket = match address {
            NbdAddress::Unix(path) => Socket::Unix(connect_within(path, bound)?),
            NbdAddress::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, bound)?;
                // A request is some bytes, and its reply is waited for.
                stream.set_nodelay(true)?;
                Socket::Tcp(stream)
            }
        };
        Ok(Self { wire: Wire { socket, passed: 0 }, tls: None })
    }

    /// Bytes in both directions, as they are on the wire.
    pub(super) fn passed(&self) -> u64 {
        self.wire.passed
    }

    /// The connection for one request, all of which has to be done by then.
    pub(super) fn until(&mut self, until: Instant) -> Timed<'_> {
        Timed { stream: self, until }
    }

    /// Ends it: what comes yet can't be told from another reply.
    pub(super) fn shut(&self) {
        // The other end may have gone already.
        let _ = match &self.wire.socket {
            Socket::Unix(stream) => stream.shutdown(Shutdown::Both),
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

/// A connection with one deadline for all that is read and written: an end that sends a byte a second
/// gains nothing by it.
#[derive(Debug)]
pub(super) struct Timed<'a> {
    stream: &'a mut Stream,
    until: Instant,
}

impl Timed<'_> {
    /// All that is read and written from here on goes through TLS.
    pub(super) fn begin_tls(&mut self, credentials: &tls::Credentials) -> Result<(), NbdError> {
        let connection = tls::begin(self, credentials)?;
        self.stream.tls = Some(Box::new(connection));
        Ok(())
    }

    /// What goes over the socket itself, and TLS where it has begun.
    fn parts(&mut self) -> (TimedWire<'_>, Option<&mut ClientConnection>) {
        let Stream { wire, tls } = &mut *self.stream;
        (TimedWire { wire, until: self.until }, tls.as_deref_mut())
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.parts() {
            (mut wire, Some(tls)) => rustls::Stream::new(tls, &mut wire).read(into),
            (mut wire, None) => wire.read(into),
        }
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.parts() {
            (mut wire, Some(tls)) => rustls::Stream::new(tls, &mut wire).write(bytes),
            (mut wire, None) => wire.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.parts() {
            (mut wire, Some(tls)) => rustls::Stream::new(tls, &mut wire).flush(),
            (_, None) => Ok(()),
        }
    }
}

/// A socket with the same deadline.
struct TimedWire<'a> {
    wire: &'a mut Wire,
    until: Instant,
}

impl TimedWire<'_> {
    fn left(&self) -> io::Result<Duration> {
        let left = self.until.checked_duration_since(Instant::now());
        // Zero would be taken for "for ever".
        left.filter(|left| !left.is_zero()).ok_or_else(|| io::ErrorKind::TimedOut.into())
    }

    fn count(&mut self, count: io::Result<usize>) -> io::Result<usize> {
        if let Ok(count) = count {
            self.wire.passed += count as u64;
        }
        count
    }
}

impl Read for TimedWire<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = Some(self.left()?);
        let count = match &self.wire.socket {
            Socket::Unix(stream) => {
                stream.set_read_timeout(left)?;
                (&*stream).read(into)
            }
            Socket::Tcp(stream) => {
                stream.set_read_timeout(left)?;
                (&*stream).read(into)
            }
        };
        self.count(count)
    }
}

impl Write for TimedWire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = Some(self.left()?);
        let count = match &self.wire.socket {
            Socket::Unix(stream) => {
                stream.set_write_timeout(left)?;
                (&*stream).write(bytes)
            }
            Socket::Tcp(stream) => {
                stream.set_write_timeout(left)?;
                (&*stream).write(bytes)
            }
        };
        self.count(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
