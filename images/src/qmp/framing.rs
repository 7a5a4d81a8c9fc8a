//! Lines out of a socket, each bounded in length and in time.
//!
//! What came after a line stays for the next one. A deadline is for the whole line, so an end that
//! sends a byte a second gains nothing by it.

use std::{
    io::{self, Read},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use super::{LONGEST_LINE, QmpError};

/// A socket, read by lines.
#[derive(Debug)]
pub(crate) struct Lines {
    stream: UnixStream,
    pending: Vec<u8>,
    /// How much of `pending` is known to hold no line's end.
    searched: usize,
    longest: usize,
}

/// Why there is no line.
#[derive(Debug)]
pub(crate) enum Fault {
    Late,
    TooLong,
    Closed,
    Io(io::Error),
}

impl Lines {
    pub(super) fn over(stream: UnixStream) -> Self {
        Self::bounded(stream, LONGEST_LINE)
    }

    /// The same for another program than QEMU, whose lines have this many bytes at most.
    pub(crate) fn bounded(stream: UnixStream, longest: usize) -> Self {
        Self { stream, pending: Vec::new(), searched: 0, longest }
    }

    /// The socket, to be written to before `until`.
    pub(crate) fn writer(&self, until: Instant) -> io::Result<&UnixStream> {
        self.stream.set_write_timeout(Some(left(until).ok_or(io::ErrorKind::TimedOut)?))?;
        Ok(&self.stream)
    }

    /// The next line, without its end.
    pub(crate) fn next(&mut self, until: Instant) -> Result<Vec<u8>, Fault> {
        loop {
            if let Some(at) = self.pending[self.searched..].iter().position(|byte| *byte == b'\n') {
                let end = self.searched + at;
                let mut line: Vec<u8> = self.pending.drain(..=end).collect();
                line.truncate(end);
                self.searched = 0;
                return Ok(line);
            }
            self.searched = self.pending.len();
            if self.searched > self.longest {
                return Err(Fault::TooLong);
            }
            self.stream.set_read_timeout(Some(left(until).ok_or(Fault::Late)?))?;
            let mut chunk = [0; 16 << 10];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(Fault::Closed),
                Ok(length) => self.pending.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What is left until then; nothing is none, since a socket takes zero for "for ever".
fn left(until: Instant) -> Option<Duration> {
    until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Late,
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

impl Fault {
    /// The fault as an error, where `awaited` was waited for.
    pub(super) fn of(self, awaited: &str, bound: Duration) -> QmpError {
        match self {
            Self::Late => QmpError::Deadline { awaited: awaited.into(), bound },
            Self::TooLong => QmpError::TooLong,
            Self::Closed => QmpError::Closed,
            Self::Io(error) => QmpError::Io(error),
        }
    }
}
