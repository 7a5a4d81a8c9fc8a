//! A client of the network block device protocol, on a UNIX socket or TCP: enough to read, write and
//! flush a volume that QEMU has open, and to ask which parts of it are holes or have changed.
//!
//! It is how the host reaches into a running guest's volume through QEMU's own drivers: to flush
//! it without the guest's help, to put back what a hard stop took, and to copy a point in time. One
//! request at a time, each with a deadline; a reply that is not the request's ends the connection.
//! The server is not trusted: a guest that has broken out of its QEMU is one.
//!
//! After <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>: fixed newstyle,
//! `NBD_OPT_STARTTLS` where TLS is wanted, `NBD_OPT_GO`; simple replies, or structured ones where maps
//! are asked for; `base:allocation`, and `qemu:dirty-bitmap:` of
//! <https://www.qemu.org/docs/master/interop/nbd.html>.

mod address;
pub mod certificates;
mod handshake;
mod structured;
#[cfg(test)]
mod tests;
pub mod tls;

use std::{
    io::{self, Read, Write},
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use address::Stream;
pub use address::{NbdAddress, Protection};
pub use structured::Run;

/// The most that is read or written at once, in bytes; what servers without a word take.
pub const LONGEST_REQUEST: usize = 32 << 20;

/// The map of holes; its flags are [`HOLE`] and [`ZERO`].
pub const ALLOCATION: &str = "base:allocation";
/// What the name of a dirty bitmap's map begins with; its flag is [`DIRTY`].
pub const DIRTY_BITMAP: &str = "qemu:dirty-bitmap:";
/// Of [`ALLOCATION`]: nothing is allocated for it.
pub const HOLE: u32 = 1;
/// Of [`ALLOCATION`]: it reads as zeros.
pub const ZERO: u32 = 1 << 1;
/// Of a dirty bitmap: it was written.
pub const DIRTY: u32 = 1;

const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;

/// What can go wrong between us and the server.
#[derive(Debug, thiserror::Error)]
pub enum NbdError {
    /// The socket can't be connected to.
    #[error("connecting to the volume's socket {address}")]
    Connect {
        /// The socket.
        address: NbdAddress,
        /// Why.
        source: io::Error,
    },
    /// It would be talked to over a network without TLS, and that was not asked for.
    #[error("{0} is over a network, where nothing is said without TLS")]
    Exposed(SocketAddr),
    /// What is needed for TLS is not as it should be.
    #[error("TLS to the volume's server can't be begun")]
    Credentials(#[from] tls::CredentialsError),
    /// The server, or somebody on the way, would go on without TLS.
    #[error("the volume's server does not begin TLS (reply {reply:#x}), and nothing less will do")]
    NoTls {
        /// The server's reply, as the protocol numbers them.
        reply: u32,
    },
    /// TLS fails: the server is not who it should be, takes too long, or speaks something else.
    #[error("beginning TLS with the volume's server")]
    Tls(#[source] io::Error),
    /// The other end speaks something else, or an older form.
    #[error("the volume's server sent a {0} that is not the protocol's")]
    NotNbd(&'static str),
    /// There is no export of this name, or it is not for us.
    #[error("the volume's server has no export {name:?} for us (reply {reply:#x})")]
    NoExport {
        /// The name.
        name: String,
        /// The server's reply, as the protocol numbers them.
        reply: u32,
    },
    /// The export has no such map.
    #[error("the volume's server has no map {name:?} of it")]
    NoMap {
        /// The map's name.
        name: String,
    },
    /// The export can't do this.
    #[error("the export can't be {0}")]
    Unable(&'static str),
    /// Beyond the export's end, or longer than one request may be.
    #[error("{length} bytes at {offset} are not of the export's {size}, or too many at once")]
    OutOfRange {
        /// Where.
        offset: u64,
        /// How many.
        length: usize,
        /// The export's length in bytes.
        size: u64,
    },
    /// The request failed there.
    #[error("the volume could not be {request}: error {number}")]
    Failed {
        /// What was asked for.
        request: &'static str,
        /// As errno(3) numbers them.
        number: u32,
    },
    /// The socket fails, or a reply is late.
    #[error("reading or writing the volume's socket")]
    Io(#[from] io::Error),
}

/// A volume that is open in QEMU.
#[derive(Debug)]
pub struct Nbd {
    stream: Stream,
    bound: Duration,
    size: u64,
    flags: u16,
    contexts: Vec<u32>,
    next: u64,
    received: u64,
}

#[derive(Debug, Clone, Copy)]
enum Request {
    Read = 0,
    Write = 1,
    Disconnect = 2,
    Flush = 3,
    BlockStatus = 7,
}

impl Nbd {
    /// Connects to an export on a UNIX socket. `bound` is for connecting, and for each request.
    pub fn connect(path: &Path, export: &str, bound: Duration) -> Result<Self, NbdError> {
        Self::open(&NbdAddress::Unix(path.into()), Protection::Local, export, &[], bound)
    }

    /// Connects to an export, for reading and these maps of it. All of them are there, or it is
    /// an error.
    ///
    /// # Errors
    /// [`NbdError::Exposed`] before anything is said; [`NbdError::NoTls`] and [`NbdError::Tls`] before
    /// anything is asked of the server but TLS.
    pub fn open(
        address: &NbdAddress,
        protection: Protection<'_>,
        export: &str,
        maps: &[&str],
        bound: Duration,
    ) -> Result<Self, NbdError> {
        if let (Protection::Local, Some(address)) = (protection, address.exposed()) {
            return Err(NbdError::Exposed(address));
        }
        let mut stream = Stream::connect(address, bound)
            .map_err(|source| NbdError::Connect { address: address.clone(), source })?;
        let mut timed = stream.until(Instant::now() + bound);
        handshake::greet(&mut timed)?;
        if let Protection::Tls(credentials) = protection {
            handshake::ask_for_tls(&mut timed)?;
            timed.begin_tls(credentials)?;
        }
        let agreed = handshake::agree(&mut timed, export, maps)?;
        let handshake::Agreed { size, flags, contexts } = agreed;
        Ok(Self { stream, bound, size, flags, contexts, next: 0, received: 0 })
    }

    /// The volume's length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many bytes of the volume have come over the socket. Holes do not, where maps were
    /// asked for.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// How many bytes have gone over the socket, requests, maps and data, in both directions.
    pub fn passed(&self) -> u64 {
        self.stream.passed()
    }

    /// Fills `into` with what is at `offset`.
    pub fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), NbdError> {
        self.check(offset, into.len())?;
        if into.is_empty() {
            return Ok(());
        }
        let length = into.len();
        let is_structured = !self.contexts.is_empty();
        let received = self.request(Request::Read, offset, length, &[], |stream, cookie| {
            if is_structured {
                return structured::read(stream, cookie, offset, into);
            }
            reply(stream, cookie, "read")?;
            stream.read_exact(into)?;
            Ok(length as u64)
        })?;
        self.received += received;
        Ok(())
    }

    /// What the maps say of so many bytes at `offset`: of each map that was asked for, in that
    /// order, runs from `offset` on. They end where the server likes, but are never none.
    pub fn status(&mut self, offset: u64, length: u32) -> Result<Vec<Vec<Run>>, NbdError> {
        let is_within = offset.checked_add(length.into()).is_some_and(|end| end <= self.size);
        if length == 0 || !is_within {
            let (length, size) = (length as usize, self.size);
            return Err(NbdError::OutOfRange { offset, length, size });
        }
        if self.contexts.is_empty() {
            return Err(NbdError::Unable("mapped"));
        }
        let contexts = self.contexts.clone();
        self.request(Request::BlockStatus, offset, length as usize, &[], |stream, cookie| {
            structured::status(stream, cookie, &contexts)
        })
    }

    /// Writes at `offset`. It is as durable as a guest's write that was acknowledged.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), NbdError> {
        self.check(offset, bytes.len())?;
        if self.flags & handshake::READ_ONLY != 0 {
            return Err(NbdError::Unable("written"));
        }
        self.request(Request::Write, offset, bytes.len(), bytes, |stream, cookie| {
            reply(stream, cookie, "written")
        })
    }

    /// Makes durable whatever was acknowledged before, to us or to the guest.
    pub fn flush(&mut self) -> Result<(), NbdError> {
        if self.flags & handshake::SENDS_FLUSH == 0 {
            return Err(NbdError::Unable("flushed"));
        }
        self.request(Request::Flush, 0, 0, &[], |stream, cookie| reply(stream, cookie, "flushed"))
    }

    fn check(&self, offset: u64, length: usize) -> Result<(), NbdError> {
        let end = u64::try_from(length).ok().and_then(|length| offset.checked_add(length));
        if length > LONGEST_REQUEST || end.is_none_or(|end| end > self.size) {
            return Err(NbdError::OutOfRange { offset, length, size: self.size });
        }
        Ok(())
    }

    /// Sends a request and takes its reply, both within the bound.
    fn request<T>(
        &mut self,
        request: Request,
        offset: u64,
        length: usize,
        bytes: &[u8],
        take: impl FnOnce(&mut address::Timed<'_>, u64) -> Result<T, NbdError>,
    ) -> Result<T, NbdError> {
        let head = self.head(request, offset, length)?;
        let mut stream = self.stream.until(Instant::now() + self.bound);
        let result = stream
            .write_all(&head)
            .and_then(|()| stream.write_all(bytes))
            .and_then(|()| stream.flush())
            .map_err(NbdError::from)
            .and_then(|()| take(&mut stream, self.next));
        if !matches!(result, Ok(_) | Err(NbdError::Failed { .. })) {
            // What follows can't be told from data any more.
            self.stream.shut();
        }
        result
    }

    fn head(&mut self, request: Request, offset: u64, length: usize) -> Result<Vec<u8>, NbdError> {
        let too_long = |_| NbdError::OutOfRange { offset, length, size: self.size };
        let length = u32::try_from(length).map_err(too_long)?;
        self.next += 1;
        let mut head = Vec::with_capacity(28);
        head.extend(REQUEST_MAGIC.to_be_bytes());
        head.extend(0_u16.to_be_bytes());
        head.extend((request as u16).to_be_bytes());
        head.extend(self.next.to_be_bytes());
        head.extend(offset.to_be_bytes());
        head.extend(length.to_be_bytes());
        Ok(head)
    }
}

/// Reads a simple reply.
fn reply(stream: &mut impl Read, to: u64, request: &'static str) -> Result<(), NbdError> {
    let magic = u32::from_be_bytes(handshake::take(stream)?);
    let number = u32::from_be_bytes(handshake::take(stream)?);
    let cookie = u64::from_be_bytes(handshake::take(stream)?);
    if magic != REPLY_MAGIC || cookie != to {
        return Err(NbdError::NotNbd("reply"));
    }
    if number == 0 { Ok(()) } else { Err(NbdError::Failed { request, number }) }
}

impl Drop for Nbd {
    fn drop(&mut self) {
        // The server notices the socket's end as well.
        if let Ok(head) = self.head(Request::Disconnect, 0, 0) {
            let until = Instant::now() + self.bound.min(Duration::from_secs(1));
            let mut stream = self.stream.until(until);
            let _ = stream.write_all(&head).and_then(|()| stream.flush());
        }
    }
}

/// What a client makes of a server that says these bytes, whatever it is asked: a greeting, a map,
/// and a read of 4 KiB. Pure; for whoever looks for bytes that it fails on.
pub fn against(said: &[u8]) -> Result<(), NbdError> {
    let mut server = Said(said);
    handshake::greet(&mut server)?;
    let agreed = handshake::agree(&mut server, "disk", &[ALLOCATION, "qemu:dirty-bitmap:a"])?;
    structured::status(&mut server, 1, &agreed.contexts)?;
    structured::read(&mut server, 2, 1 << 20, &mut [0; 4096]).map(drop)
}

/// The same of a client that wants TLS, up to the end of its handshake.
pub fn against_tls(said: &[u8], credentials: &tls::Credentials) -> Result<(), NbdError> {
    let mut server = Said(said);
    handshake::greet(&mut server)?;
    handshake::ask_for_tls(&mut server)?;
    tls::begin(&mut server, credentials).map(drop)
}

/// A server that says something and hears nothing.
struct Said<'a>(&'a [u8]);

impl Read for Said<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for Said<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
