//! A client of QEMU's machine protocol (QMP) over a UNIX socket: greeting, capabilities, commands
//! with their replies, and the events that come between them.
//!
//! It is blocking, since what it waits for is one process on the same host, and everything that
//! it waits for has a deadline. What QEMU says is bounded too: a guest that has broken out of its
//! QEMU holds the other end of this socket. It never starts QEMU and knows no command's meaning.
//!
//! Ours and not the crate `qapi`, which generates types for all of one QEMU's schema: we send a
//! dozen commands to whatever QEMU the host has, and that crate's reader bounds neither a reply's
//! length nor its time.
//!
//! After <https://www.qemu.org/docs/master/interop/qmp-spec.html>.

pub mod block;
mod events;
pub(crate) mod framing;
mod message;
pub mod migration;
mod objects;
#[cfg(test)]
mod tests;

use std::{
    io::Write,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};

pub use events::EVENTS_KEPT;
pub use message::{Event, Version};

use crate::local_socket::connect_within;
use events::Events;
use framing::Lines;
use message::Message;

/// The longest line that is read, in bytes. `query-qmp-schema` of QEMU 10 is some 300 KiB.
pub const LONGEST_LINE: usize = 4 << 20;

/// How often QEMU may greet one client.
const GREETINGS: usize = 3;

/// What can go wrong between us and QEMU.
#[derive(Debug, thiserror::Error)]
pub enum QmpError {
    /// The socket can't be connected to.
    #[error("connecting to QEMU's socket {}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Nothing came in time. The connection is of no use any more: the reply may come yet.
    #[error("QEMU did not answer {awaited} within {bound:?}")]
    Deadline {
        /// What was waited for.
        awaited: String,
        /// How long.
        bound: Duration,
    },
    /// A line is longer than any that QEMU sends.
    #[error("QEMU sent a line of more than {LONGEST_LINE} bytes")]
    TooLong,
    /// The other end is gone.
    #[error("QEMU closed its socket")]
    Closed,
    /// A line is not JSON.
    #[error("QEMU sent a line that is not JSON")]
    NotJson(#[source] serde_json::Error),
    /// A line is JSON and no message of the protocol, or not the one whose turn it is.
    #[error("QEMU sent what is not {expected}")]
    Unexpected {
        /// What should have come.
        expected: &'static str,
    },
    /// QEMU understood the command and refused it.
    #[error("QEMU refused {command}: {description}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's class, such as `GenericError` or `CommandNotFound`.
        class: String,
        /// QEMU's words.
        description: String,
    },
    /// The socket fails.
    #[error("reading or writing QEMU's socket")]
    Io(#[source] std::io::Error),
}

/// A connection on which commands can be sent.
#[derive(Debug)]
pub struct Qmp {
    lines: Lines,
    bound: Duration,
    version: Version,
    next: u64,
    events: Events,
    is_spoilt: bool,
}

impl Qmp {
    /// Connects, reads the greeting and negotiates no capability. `bound` is for this and for each
    /// command after it.
    ///
    /// # Errors
    /// A monitor serves one client at a time; a second one gets no greeting, so a
    /// [`QmpError::Deadline`].
    pub fn connect(path: &Path, bound: Duration) -> Result<Self, QmpError> {
        let stream = connect_within(path, bound)
            .map_err(|source| QmpError::Connect { path: path.into(), source })?;
        Self::over(stream, bound)
    }

    /// The same on a socket that is connected already.
    pub fn over(stream: UnixStream, bound: Duration) -> Result<Self, QmpError> {
        let mut lines = Lines::over(stream);
        let line =
            lines.next(Instant::now() + bound).map_err(|fault| fault.of("a greeting", bound))?;
        let Message::Greeting(version) = Message::parse(&line)? else {
            return Err(QmpError::Unexpected { expected: "a greeting" });
        };
        let events = Events::default();
        let mut qmp = Self { lines, bound, version, next: 0, events, is_spoilt: false };
        qmp.negotiate()?;
        Ok(qmp)
    }

    /// Ends the negotiation, which a greeting begins. A QEMU that has just started may greet twice: when
    /// it accepts the connection, and when its monitor finds that there is one.
    fn negotiate(&mut self) -> Result<(), QmpError> {
        const COMMAND: &str = "qmp_capabilities";
        let until = Instant::now() + self.bound;
        let (mut id, mut begun) = (self.send(COMMAND, json!({}), until)?, 1);
        loop {
            match self.message(COMMAND, until)? {
                Message::Event(event) => self.events.keep(event),
                Message::Greeting(_) if begun < GREETINGS => {
                    (id, begun) = (self.send(COMMAND, json!({}), until)?, begun + 1);
                }
                Message::Reply { id: Some(of), result } if of == id => {
                    return result.map(drop).map_err(|refusal| refusal.of(COMMAND));
                }
                // Of a negotiation that another greeting has ended.
                Message::Reply { id: Some(of), .. } if of < id => {}
                Message::Reply { .. } | Message::Greeting(_) => {
                    return Err(QmpError::Unexpected { expected: "the end of the negotiation" });
                }
            }
        }
    }

    /// QEMU's version, as its greeting says.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Sends a command and waits for its reply, within the connection's bound. Events that come
    /// before it are kept.
    pub fn execute(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        if self.is_spoilt {
            return Err(QmpError::Closed);
        }
        let result = self.exchange(command, arguments);
        // After anything but a reply, the next line may belong to this command.
        self.is_spoilt = !matches!(result, Ok(_) | Err(QmpError::Refused { .. }));
        result
    }

    fn exchange(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        let until = Instant::now() + self.bound;
        let id = self.send(command, arguments, until)?;
        loop {
            match self.message(command, until)? {
                Message::Event(event) => self.events.keep(event),
                Message::Reply { id: Some(of), result } if of == id => {
                    return result.map_err(|refusal| refusal.of(command));
                }
                Message::Reply { .. } | Message::Greeting(_) => {
                    return Err(QmpError::Unexpected { expected: "the command's reply" });
                }
            }
        }
    }

    /// Sends a command; its number.
    fn send(&mut self, command: &str, arguments: Value, until: Instant) -> Result<u64, QmpError> {
        let id = self.next;
        self.next += 1;
        let mut request = Map::new();
        request.insert("execute".into(), command.into());
        if arguments.as_object().is_none_or(|arguments| !arguments.is_empty()) {
            request.insert("arguments".into(), arguments);
        }
        request.insert("id".into(), id.into());
        let mut line = Value::Object(request).to_string();
        line.push('\n');
        self.lines
            .writer(until)
            .and_then(|mut stream| stream.write_all(line.as_bytes()))
            .map_err(|error| framing::Fault::from(error).of(command, self.bound))?;
        Ok(id)
    }

    fn message(&mut self, awaited: &str, until: Instant) -> Result<Message, QmpError> {
        let line = self.lines.next(until).map_err(|fault| fault.of(awaited, self.bound))?;
        Message::parse(&line)
    }

    /// Waits for an event that `is_wanted`, and takes it. Others stay, and are kept for later.
    pub fn await_event(
        &mut self,
        awaited: &str,
        bound: Duration,
        is_wanted: impl Fn(&Event) -> bool,
    ) -> Result<Event, QmpError> {
        let until = Instant::now() + bound;
        loop {
            if let Some(event) = self.events.take(&is_wanted) {
                return Ok(event);
            }
            let line = self.lines.next(until).map_err(|fault| fault.of(awaited, bound))?;
            match Message::parse(&line)? {
                Message::Event(event) => self.events.keep(event),
                _ => return Err(QmpError::Unexpected { expected: "an event" }),
            }
        }
    }

    /// Takes all events of this name that have come by the last reply; whether there were any.
    pub fn take_events(&mut self, name: &str) -> bool {
        self.events.take_all(name)
    }
}
