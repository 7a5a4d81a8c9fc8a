//! Our own agent in the guest: asked over the freeze socket of this host's metadata-server, at which
//! the agent waits for orders (`docs/agent.md`).
//!
//! A line of JSON each way. The connection is kept while the guest is frozen: where it ends before
//! the guest has thawed, as with a process that is killed, the metadata-server has the guest thawed.
//! And the agent thaws by itself when the time that it was given is over, whatever becomes of the
//! host's programs. So where no answer comes, that time is waited for, and the guest goes on.
//!
//! What the agent says is believed of this guest alone. This asks nobody else than that socket.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use mezame_model::{
    InstanceId,
    freeze::{Asking, Done, Told, Unanswered, Wanted},
};

use super::{Freeze, FreezeError, LeftOut, MOST_LEFT_OUT, words};
use crate::{
    local_socket::connect_within,
    qmp::framing::{Fault, Lines},
};

/// How long a thaw is waited for, each time that it is tried.
const THAW: Duration = Duration::from_secs(10);
/// How late an order may come to the agent, and its clock be: the metadata-server waits for two
/// seconds until the agent takes an order.
const SLACK: Duration = Duration::from_secs(3);
/// The longest line that is read, in bytes.
const LONGEST_LINE: usize = 64 << 10;

/// Why the guest's agent did not do it.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("the metadata-server's socket {} can't be connected to: {source}", path.display())]
    Connect { path: PathBuf, source: io::Error },
    #[error("the metadata-server's socket: {0}")]
    Io(io::Error),
    #[error("the metadata-server has not answered in time")]
    Late,
    #[error("the metadata-server closed its socket")]
    Closed,
    #[error("the metadata-server sent what is no answer")]
    Unexpected,
    #[error("{0}")]
    Unanswered(Unanswered),
    #[error("{0}")]
    Failed(String),
    #[error("it froze no file system: there is none that can be frozen")]
    NoFileSystem,
    #[error("{0:?} can't be asked for: a freeze is of a millisecond to a minute")]
    Bound(Duration),
}

impl From<AskError> for FreezeError {
    fn from(error: AskError) -> Self {
        Self(error.to_string())
    }
}

/// Our agent in one guest, behind this host's metadata-server.
#[derive(Debug)]
pub struct MetadataServer {
    socket: PathBuf,
    instance: InstanceId,
    // A thaw that comes while a freeze is waited for waits too: the freeze has its bound.
    asked: Mutex<Asked>,
}

/// What was asked of it.
#[derive(Debug)]
enum Asked {
    /// It may be frozen, and is not any more from this moment on; and the connection by which it was
    /// frozen.
    Frozen { until: Instant, channel: Option<Lines> },
    /// Nothing of ours is frozen.
    Settled,
}

impl MetadataServer {
    /// The agent of this instance, by this socket (`freeze.sock` in the metadata-server's run
    /// directory); nothing is connected yet. An earlier process may have frozen it.
    pub fn at(socket: &Path, instance: InstanceId) -> Self {
        let longest = Duration::from_millis(u64::from(Wanted::LONGEST_MS));
        let asked = Asked::Frozen { until: Instant::now() + longest + SLACK, channel: None };
        Self { socket: socket.into(), instance, asked: Mutex::new(asked) }
    }

    fn ask(&self, lines: &mut Lines, wanted: Wanted, until: Instant) -> Result<Done, AskError> {
        let asking = Asking { instance: self.instance.clone(), wanted };
        let mut line = serde_json::to_vec(&asking).map_err(|_| AskError::Unexpected)?;
        line.push(b'\n');
        lines.writer(until).and_then(|mut stream| stream.write_all(&line)).map_err(Fault::from)?;
        let line = lines.next(until)?;
        match serde_json::from_slice(&line).map_err(|_| AskError::Unexpected)? {
            Told::Done(Done::Failed { reason }) => Err(AskError::Failed(words(&reason))),
            Told::Done(done) => Ok(done),
            Told::No(why) => Err(AskError::Unanswered(why)),
        }
    }

    fn connect(&self, bound: Duration) -> Result<Lines, AskError> {
        let stream = connect_within(&self.socket, bound);
        let stream =
            stream.map_err(|source| AskError::Connect { path: self.socket.clone(), source })?;
        Ok(Lines::bounded(stream, LONGEST_LINE))
    }

    /// Asks for a thaw, by the connection that it was frozen by where that is there.
    fn ask_to_thaw(&self, channel: Option<Lines>) -> Result<bool, AskError> {
        let until = Instant::now() + THAW;
        let mut channel = match channel {
            Some(channel) => channel,
            None => self.connect(THAW)?,
        };
        match self.ask(&mut channel, Wanted::Thaw, until)? {
            Done::Thawed { was_frozen } => Ok(was_frozen),
            _ => Err(AskError::Unexpected),
        }
    }
}

impl Freeze for MetadataServer {
    fn freeze(&self, bound: Duration) -> Result<LeftOut, FreezeError> {
        let begin = Instant::now();
        let bound_ms = u32::try_from(bound.as_millis()).unwrap_or(u32::MAX);
        if !(1..=Wanted::LONGEST_MS).contains(&bound_ms) {
            return Err(AskError::Bound(bound).into());
        }
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut channel = match self.connect(bound) {
            Ok(channel) => channel,
            Err(error) => {
                *asked = Asked::Settled;
                return Err(error.into());
            }
        };
        let until = begin + bound + SLACK;
        *asked = Asked::Frozen { until, channel: None };
        match self.ask(&mut channel, Wanted::Freeze { bound_ms }, begin + bound) {
            Ok(Done::Frozen { file_systems, skipped }) if !file_systems.is_empty() => {
                *asked = Asked::Frozen { until, channel: Some(channel) };
                Ok(skipped.iter().take(MOST_LEFT_OUT).map(|it| words(it)).collect())
            }
            Ok(Done::Frozen { .. }) => Err(AskError::NoFileSystem.into()),
            Ok(_) => Err(AskError::Unexpected.into()),
            Err(error) => {
                // It was never asked. One that has failed may have frozen a part that it could not thaw
                // again: it is asked for that.
                if matches!(&error, AskError::Unanswered(why) if *why != Unanswered::Late) {
                    *asked = Asked::Settled;
                }
                Err(error.into())
            }
        }
    }

    fn thaw(&self) -> Result<bool, FreezeError> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let (until, channel) = match &mut *asked {
            Asked::Settled => return Ok(false),
            Asked::Frozen { until, channel } => (*until, channel.take()),
        };
        let was_kept = channel.is_some();
        let was_frozen = match self.ask_to_thaw(channel) {
            Ok(was_frozen) => was_frozen,
            Err(error @ AskError::Failed(_)) => return Err(error.into()),
            // Another process may have taken over the metadata-server's work.
            Err(error) if was_kept => return Err(error.into()),
            Err(_) => {
                thread::sleep(until.saturating_duration_since(Instant::now()));
                false
            }
        };
        *asked = Asked::Settled;
        Ok(was_frozen)
    }
}

impl From<Fault> for AskError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Late => Self::Late,
            Fault::TooLong => Self::Unexpected,
            Fault::Closed => Self::Closed,
            Fault::Io(error) => Self::Io(error),
        }
    }
}

#[cfg(test)]
mod tests;
