//! Where a server is, and the socket to it, each read and write of which ends in time.
//!
//! TCP is as open as it looks: neither who is there nor what is said is protected, since TLS is not
//! spoken yet. It is for loopback, and for networks that are the operator's alone.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::local_socket::connect_within;

/// Where a server of blocks listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NbdAddress {
    /// A UNIX socket.
    Unix(PathBuf),
    /// A TCP port. Without TLS.
    Tcp(SocketAddr),
}

impl fmt::Display for NbdAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(out),
            Self::Tcp(address) => address.fmt(out),
        }
    }
}

/// A socket of either kind, and how much has gone over it.
#[derive(Debug)]
pub(super) struct Stream {
    socket: Socket,
    passed: AtomicU64,
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
        Ok(Self { socket, passed: AtomicU64::new(0) })
    }

    /// Bytes in both directions.
    pub(super) fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// The socket for one request, all of which has to be done by then.
    pub(super) fn until(&self, until: Instant) -> Timed<'_> {
        Timed { stream: self, until }
    }

    /// Ends it: what comes yet can't be told from another reply.
    pub(super) fn shut(&self) {
        // The other end may have gone already.
        let _ = match &self.socket {
            Socket::Unix(stream) => stream.shutdown(Shutdown::Both),
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

/// A socket with one deadline for all that is read and written: an end that sends a byte a second
/// gains nothing by it.
#[derive(Debug)]
pub(super) struct Timed<'a> {
    stream: &'a Stream,
    until: Instant,
}

impl Timed<'_> {
    fn count(&self, count: io::Result<usize>) -> io::Result<usize> {
        if let Ok(count) = count {
            self.stream.passed.fetch_add(count as u64, Ordering::Relaxed);
        }
        count
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.until.checked_duration_since(Instant::now());
        // Zero would be taken for "for ever".
        left.filter(|left| !left.is_zero()).ok_or_else(|| io::ErrorKind::TimedOut.into())
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = Some(self.left()?);
        let count = match &self.stream.socket {
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

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = Some(self.left()?);
        let count = match &self.stream.socket {
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
