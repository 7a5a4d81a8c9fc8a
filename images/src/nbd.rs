//! A client of the network block device protocol, on a UNIX socket: enough to read, write and
//! flush a volume that QEMU has open.
//!
//! It is how the host reaches into a running guest's volume through QEMU's own drivers: to flush
//! it without the guest's help, and to put back what a hard stop took. One request at a time, each
//! with a deadline; a reply that is not the request's ends the connection.
//!
//! After <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>: fixed newstyle,
//! `NBD_OPT_GO`, simple replies.

mod handshake;
#[cfg(test)]
mod tests;

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

/// The most that is read or written at once, in bytes; what servers without a word take.
pub const LONGEST_REQUEST: usize = 32 << 20;

const REQUEST_MAGIC: u32 = 0x2560_9513;
const REPLY_MAGIC: u32 = 0x6744_6698;

/// What can go wrong between us and the server.
#[derive(Debug, thiserror::Error)]
pub enum NbdError {
    /// The socket can't be connected to.
    #[error("connecting to the volume's socket {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
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
    stream: UnixStream,
    size: u64,
    flags: u16,
    next: u64,
}

#[derive(Debug, Clone, Copy)]
enum Request {
    Read = 0,
    Write = 1,
    Disconnect = 2,
    Flush = 3,
}

impl Nbd {
    /// Connects to an export. `bound` is for each read and write of the socket, so for each reply.
    pub fn connect(path: &Path, export: &str, bound: Duration) -> Result<Self, NbdError> {
        let mut stream = UnixStream::connect(path)
            .map_err(|source| NbdError::Connect { path: path.into(), source })?;
        stream.set_read_timeout(Some(bound))?;
        stream.set_write_timeout(Some(bound))?;
        let (size, flags) = handshake::go(&mut stream, export)?;
        Ok(Self { stream, size, flags, next: 0 })
    }

    /// The volume's length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fills `into` with what is at `offset`.
    pub fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<(), NbdError> {
        self.check(offset, into.len())?;
        self.send(Request::Read, offset, into.len(), &[])?;
        self.reply("read")?;
        Ok(self.stream.read_exact(into)?)
    }

    /// Writes at `offset`. It is as durable as a guest's write that was acknowledged.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<(), NbdError> {
        self.check(offset, bytes.len())?;
        if self.flags & handshake::READ_ONLY != 0 {
            return Err(NbdError::Unable("written"));
        }
        self.send(Request::Write, offset, bytes.len(), bytes)?;
        self.reply("written")
    }

    /// Makes durable whatever was acknowledged before, to us or to the guest.
    pub fn flush(&mut self) -> Result<(), NbdError> {
        if self.flags & handshake::SENDS_FLUSH == 0 {
            return Err(NbdError::Unable("flushed"));
        }
        self.send(Request::Flush, 0, 0, &[])?;
        self.reply("flushed")
    }

    fn check(&self, offset: u64, length: usize) -> Result<(), NbdError> {
        let end = u64::try_from(length).ok().and_then(|length| offset.checked_add(length));
        if length > LONGEST_REQUEST || end.is_none_or(|end| end > self.size) {
            return Err(NbdError::OutOfRange { offset, length, size: self.size });
        }
        Ok(())
    }

    fn send(
        &mut self,
        request: Request,
        offset: u64,
        length: usize,
        bytes: &[u8],
    ) -> Result<(), NbdError> {
        let length = u32::try_from(length).map_err(|_| NbdError::OutOfRange {
            offset,
            length,
            size: self.size,
        })?;
        self.next += 1;
        let mut head = Vec::with_capacity(28);
        head.extend(REQUEST_MAGIC.to_be_bytes());
        head.extend(0_u16.to_be_bytes());
        head.extend((request as u16).to_be_bytes());
        head.extend(self.next.to_be_bytes());
        head.extend(offset.to_be_bytes());
        head.extend(length.to_be_bytes());
        self.stream.write_all(&head)?;
        Ok(self.stream.write_all(bytes)?)
    }

    fn reply(&mut self, request: &'static str) -> Result<(), NbdError> {
        let magic = u32::from_be_bytes(handshake::take(&mut self.stream)?);
        let number = u32::from_be_bytes(handshake::take(&mut self.stream)?);
        let cookie = u64::from_be_bytes(handshake::take(&mut self.stream)?);
        if magic != REPLY_MAGIC || cookie != self.next {
            // What follows can't be told from data any more.
            self.stream.shutdown(std::net::Shutdown::Both)?;
            return Err(NbdError::NotNbd("reply"));
        }
        if number == 0 { Ok(()) } else { Err(NbdError::Failed { request, number }) }
    }
}

impl Drop for Nbd {
    fn drop(&mut self) {
        // The server notices the socket's end as well.
        let _ = self.send(Request::Disconnect, 0, 0, &[]);
    }
}
