//! QEMU's guest agent (`qemu-ga`), which many images have: asked over the UNIX socket that QEMU
//! connects a serial port of the guest's to.
//!
//! ```text
//!   -chardev socket,id=qga,path=PATH,server=on,wait=off
//!   -device virtio-serial -device virtserialport,chardev=qga,name=org.qemu.guest_agent.0
//! ```
//! A line of JSON each way. The other end is a guest: what it says is bounded in length and in time,
//! and believed of this guest alone. As replies bear no number, and what was asked for by a process
//! that is gone may be answered yet, each connection begins with `guest-sync-delimited`.
//!
//! It does one thing after the other and has no timer of its own. So one that is late with a freeze is told
//! to thaw at once, in the same channel: that is what it reads next, whenever it is done.
//!
//! It speaks to nobody but the agent, and never learns what the guest has in its file systems.
//!
//! After <https://www.qemu.org/docs/master/interop/qemu-ga-ref.html>.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use super::{Freeze, FreezeError, LeftOut, words};
use crate::{
    local_socket::connect_within,
    qmp::framing::{Fault, Lines},
};

/// How long it may take to say that it is there. A serial port that nobody listens to in the guest
/// takes what is written and says nothing.
const SYNC: Duration = Duration::from_secs(3);
/// How long a thaw may take, each time that it is tried.
const THAW: Duration = Duration::from_secs(10);
/// The longest line that is read, in bytes.
const LONGEST_LINE: usize = 64 << 10;
/// Lines that are passed over until the agent is in step.
const MOST_STALE: usize = 64;
/// What has it answer with a number of ours.
const SYNC_COMMAND: &str = "guest-sync-delimited";
/// What has the agent forget a line that it has the beginning of, and what its own answer begins
/// with: no byte of UTF-8.
const DELIMITER: u8 = 0xff;

/// Why the agent did not do it.
#[derive(Debug, thiserror::Error)]
enum AgentError {
    #[error("the guest's serial port {} can't be connected to: {source}", path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("no qemu-ga answers within {0:?}")]
    NotThere(Duration),
    #[error("qemu-ga did not answer {0} in time")]
    Late(&'static str),
    #[error("the guest's serial port: {0}")]
    Io(io::Error),
    #[error("QEMU closed the guest's serial port")]
    Closed,
    #[error("it sent what is no answer to {0}")]
    Unexpected(&'static str),
    #[error("qemu-ga refused {command}: {said}")]
    Refused { command: &'static str, said: String },
    #[error("qemu-ga froze no file system: there is none that can be frozen")]
    NoFileSystem,
    #[error("somebody else has frozen it already")]
    Already,
}

impl From<AgentError> for FreezeError {
    fn from(error: AgentError) -> Self {
        Self(error.to_string())
    }
}

/// QEMU's guest agent behind a socket.
#[derive(Debug)]
pub struct QemuAgent {
    socket: PathBuf,
    // A thaw that comes while a freeze is waited for waits too: the agent does one after the other
    // anyway, and the freeze has its bound.
    asked: Mutex<Asked>,
}

/// What was asked of it.
#[derive(Debug)]
enum Asked {
    /// Nothing by us; an earlier process may have frozen it.
    Nothing,
    /// It did not answer before it was asked to freeze, or it has thawed: nothing of ours is frozen.
    Settled,
    /// To freeze: it may be frozen. The channel is kept until it is thawed, so that nobody else has
    /// the serial port meanwhile; and how many file systems it froze.
    Frozen { channel: Option<Channel>, file_systems: u64 },
    /// To thaw, as soon as it has done what it is at: it did not answer in time. It reads on in this
    /// channel when it has, so the channel is kept until it has answered.
    Owed(Owed),
}

impl QemuAgent {
    /// The agent at this socket; nothing is connected yet.
    pub fn at(socket: &Path) -> Self {
        Self { socket: socket.into(), asked: Mutex::new(Asked::Nothing) }
    }
}

impl Freeze for QemuAgent {
    fn freeze(&self, bound: Duration) -> Result<LeftOut, FreezeError> {
        let until = Instant::now() + bound;
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*asked, Asked::Owed(_)) {
            settle(&mut asked, Instant::now() + bound.min(SYNC))?;
        }
        let mut channel = match Channel::open_thawed(&self.socket, bound.min(SYNC)) {
            Ok(channel) => channel,
            Err(error) => {
                if matches!(*asked, Asked::Nothing) {
                    *asked = Asked::Settled;
                }
                return Err(error.into());
            }
        };
        *asked = Asked::Frozen { channel: None, file_systems: 1 };
        let file_systems = match channel.count("guest-fsfreeze-freeze", until) {
            Err(error @ AgentError::Late(_)) => {
                // It may be frozen at any time from now on, long after the last of us has asked.
                *asked = channel.owe();
                return Err(error.into());
            }
            frozen => frozen?,
        };
        if file_systems == 0 {
            return Err(AgentError::NoFileSystem.into());
        }
        *asked = Asked::Frozen { channel: Some(channel), file_systems };
        // It says how many it froze and nothing of the others.
        Ok(Vec::new())
    }

    fn thaw(&self) -> Result<bool, FreezeError> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let (kept, file_systems) = match &mut *asked {
            Asked::Settled => return Ok(false),
            Asked::Owed(_) => {
                settle(&mut asked, Instant::now() + SYNC)?;
                return Ok(false);
            }
            Asked::Nothing => (None, 1),
            Asked::Frozen { channel, file_systems } => (channel.take(), *file_systems),
        };
        let mut channel = match kept {
            Some(channel) => channel,
            None => {
                let mut channel = Channel::connect(&self.socket, SYNC)?;
                match channel.sync(Instant::now() + SYNC) {
                    Err(AgentError::Late(_)) => {
                        *asked = channel.owe();
                        return Err(AgentError::NotThere(SYNC).into());
                    }
                    other => other?,
                }
                channel
            }
        };
        let until = Instant::now() + THAW;
        let was_frozen = channel.is_frozen(until)?
            && channel.count("guest-fsfreeze-thaw", until)? >= file_systems;
        if channel.is_frozen(until)? {
            return Err(AgentError::Unexpected("guest-fsfreeze-thaw").into());
        }
        *asked = Asked::Settled;
        Ok(was_frozen)
    }
}

/// A thaw that was written and not answered.
#[derive(Debug)]
struct Owed {
    channel: Channel,
    /// What it says when it has thawed.
    sync: u64,
}

/// Waits until what is owed was done. Where it is not in time it is still owed; where the channel is of
/// no use any more, another one is opened the next time.
fn settle(asked: &mut Asked, until: Instant) -> Result<(), AgentError> {
    let Asked::Owed(owed) = asked else { return Ok(()) };
    let thawed = owed.channel.await_sync(owed.sync, until).and_then(|()| {
        let is_frozen = owed.channel.is_frozen(until)?;
        if is_frozen { Err(AgentError::Unexpected("guest-fsfreeze-thaw")) } else { Ok(()) }
    });
    match &thawed {
        Ok(()) => *asked = Asked::Settled,
        Err(AgentError::Late(_)) => {}
        Err(_) => *asked = Asked::Frozen { channel: None, file_systems: 1 },
    }
    thawed
}

/// A connection that is in step.
#[derive(Debug)]
struct Channel(Lines);

impl Channel {
    fn connect(socket: &Path, bound: Duration) -> Result<Self, AgentError> {
        let stream = connect_within(socket, bound)
            .map_err(|source| AgentError::Connect { path: socket.into(), source })?;
        Ok(Self(Lines::bounded(stream, LONGEST_LINE)))
    }

    fn open(socket: &Path, bound: Duration) -> Result<Self, AgentError> {
        let until = Instant::now() + bound;
        let mut channel = Self::connect(socket, bound)?;
        match channel.sync(until) {
            Err(AgentError::Late(_)) => Err(AgentError::NotThere(bound)),
            other => other.map(|()| channel),
        }
    }

    /// The same, where nobody has frozen the guest: what others have frozen is theirs to thaw.
    fn open_thawed(socket: &Path, bound: Duration) -> Result<Self, AgentError> {
        let until = Instant::now() + bound;
        let mut channel = Self::open(socket, bound)?;
        if channel.is_frozen(until)? { Err(AgentError::Already) } else { Ok(channel) }
    }

    /// Tells one that is at something to thaw when it is done with that. It reads one line after the
    /// other, so it does that also where nobody listens any more.
    fn owe(mut self) -> Asked {
        const THAW: &str = "guest-fsfreeze-thaw";
        let until = Instant::now() + SYNC;
        let line = json!({ "execute": THAW }).to_string().into_bytes();
        match self.send(THAW, line, until).and_then(|()| self.ask_sync(until)) {
            Ok(sync) => Asked::Owed(Owed { channel: self, sync }),
            Err(_) => Asked::Frozen { channel: None, file_systems: 1 },
        }
    }

    /// Has it answer with a number that nobody has used before, past what it may have said to others.
    fn sync(&mut self, until: Instant) -> Result<(), AgentError> {
        let id = self.ask_sync(until)?;
        self.await_sync(id, until)
    }

    /// Which number it is asked for.
    fn ask_sync(&mut self, until: Instant) -> Result<u64, AgentError> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // What JSON has exactly wherever it is read.
        let id = u64::try_from(since.as_nanos() & ((1 << 53) - 1)).unwrap_or_default();
        let mut request = vec![DELIMITER];
        let line = json!({ "execute": SYNC_COMMAND, "arguments": { "id": id } });
        request.extend(line.to_string().bytes());
        self.send(SYNC_COMMAND, request, until)?;
        Ok(id)
    }

    fn await_sync(&mut self, id: u64, until: Instant) -> Result<(), AgentError> {
        for _ in 0..MOST_STALE {
            let line = self.line(SYNC_COMMAND, until)?;
            let from = line.iter().rposition(|byte| *byte == DELIMITER).map_or(0, |at| at + 1);
            let said = serde_json::from_slice::<Value>(&line[from..]);
            if from > 0 && said.is_ok_and(|said| said["return"].as_u64() == Some(id)) {
                return Ok(());
            }
        }
        Err(AgentError::Unexpected(SYNC_COMMAND))
    }

    fn is_frozen(&mut self, until: Instant) -> Result<bool, AgentError> {
        const COMMAND: &str = "guest-fsfreeze-status";
        match self.execute(COMMAND, until)?.as_str() {
            Some("frozen") => Ok(true),
            Some("thawed") => Ok(false),
            _ => Err(AgentError::Unexpected(COMMAND)),
        }
    }

    /// Has it do something, of which it says with how many file systems it did.
    fn count(&mut self, command: &'static str, until: Instant) -> Result<u64, AgentError> {
        self.execute(command, until)?.as_u64().ok_or(AgentError::Unexpected(command))
    }

    fn execute(&mut self, command: &'static str, until: Instant) -> Result<Value, AgentError> {
        self.send(command, json!({ "execute": command }).to_string().into_bytes(), until)?;
        let line = self.line(command, until)?;
        let mut said: Value =
            serde_json::from_slice(&line).map_err(|_| AgentError::Unexpected(command))?;
        if let Some(error) = said.get("error") {
            let said = words(error["desc"].as_str().unwrap_or("it does not say why"));
            return Err(AgentError::Refused { command, said });
        }
        said.get_mut("return").map(Value::take).ok_or(AgentError::Unexpected(command))
    }

    fn send(
        &mut self,
        command: &'static str,
        mut line: Vec<u8>,
        until: Instant,
    ) -> Result<(), AgentError> {
        line.push(b'\n');
        let sent = self.0.writer(until).and_then(|mut stream| stream.write_all(&line));
        sent.map_err(|error| fault(error.into(), command))
    }

    fn line(&mut self, command: &'static str, until: Instant) -> Result<Vec<u8>, AgentError> {
        self.0.next(until).map_err(|error| fault(error, command))
    }
}

fn fault(fault: Fault, command: &'static str) -> AgentError {
    match fault {
        Fault::Late => AgentError::Late(command),
        Fault::TooLong => AgentError::Unexpected(command),
        Fault::Closed => AgentError::Closed,
        Fault::Io(error) => AgentError::Io(error),
    }
}

#[cfg(test)]
mod tests;
