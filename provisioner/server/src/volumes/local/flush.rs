//! Running guests' volumes, seen to from their start: limits are set, and what is written is flushed
//! ([`mezame_images::volume::flusher`]).
//!
//! What QEMU serves a flusher by stays in it when this process ends, and is found by the next one. A
//! backup is read by the same server, since QEMU has one; both sockets lie in a directory that nobody
//! else enters.

use std::{
    collections::BTreeMap,
    io,
    num::{NonZeroU32, NonZeroU64},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use mezame_images::{
    backup::point::Server,
    nbd::NbdAddress,
    qmp::{Qmp, QmpError},
    volume::{
        FlushInterval, Limits as Throttle, Volume, VolumeId,
        flusher::{
            Flusher,
            server::{self, ServerError},
        },
    },
};
use mezame_model::api::volumes::Limits;

use super::{ExecutorError, Facts, Local, Reason, SOON, monitor::reached};
use crate::{
    fault::chain,
    volumes::executor::{Attended, Flushed},
};

/// The flushers of this process, by volume.
#[derive(Default)]
pub(super) struct Flushers(Mutex<BTreeMap<VolumeId, Running>>);

struct Running {
    flusher: Flusher,
    socket: PathBuf,
    interval: FlushInterval,
}

impl Flushers {
    fn all(&self) -> MutexGuard<'_, BTreeMap<VolumeId, Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How a volume's does.
    pub(super) fn status(&self, volume: &VolumeId) -> Option<Flushed> {
        let all = self.all();
        let running = all.get(volume)?;
        let (status, now) = (running.flusher.status(), Instant::now());
        Some(Flushed {
            age: status.durable_until.map(|until| now.saturating_duration_since(until)),
            is_kept: status.is_kept(running.interval, now),
            is_failing: status.is_failing,
            flushes: status.flushes,
            failures: status.failures,
            lates: status.lates,
        })
    }

    /// Has a volume flushed by this socket, unless it is.
    fn start(&self, volume: &VolumeId, socket: PathBuf, interval: FlushInterval) -> io::Result<()> {
        let is_same = |running: &Running| running.socket == socket && running.interval == interval;
        if self.all().get(volume).is_some_and(is_same) {
            return Ok(());
        }
        let flusher = Flusher::start(&socket, volume, interval)?;
        let before = self.all().insert(volume.clone(), Running { flusher, socket, interval });
        drop(before);
        Ok(())
    }

    fn end(&self, volume: &VolumeId) {
        let ended = self.all().remove(volume);
        drop(ended);
    }
}

impl Drop for Flushers {
    fn drop(&mut self) {
        let all = std::mem::take(&mut *self.all());
        // Each ends after the flush that it is in, which a QEMU that hangs does not answer.
        let end = thread::Builder::new().name("flush-end".into()).spawn(move || drop(all));
        if end.is_err() {
            tracing::warn!("the flushers are ended with the process");
        }
    }
}

impl Local {
    pub(super) fn set_limits_now(
        &self,
        facts: &Facts,
        limits: Limits,
        path: &Path,
    ) -> Result<(), ExecutorError> {
        let volume = self.volume_of(facts)?;
        Ok(throttle(limits).apply(&mut Self::monitor_soon(path)?, &volume)?)
    }

    pub(super) fn attend_now(
        &self,
        facts: &Facts,
        limits: Limits,
        path: &Path,
    ) -> Result<Attended, ExecutorError> {
        // It is asked for many times a second; a pool is not.
        if !path.exists() {
            return Ok(Attended::NotThere(format!("{} is not there", path.display())));
        }
        let volume = self.volume_of(facts)?;
        let mut qmp = match reached(path, SOON, SOON)? {
            Ok(qmp) => qmp,
            Err(why) => return Ok(Attended::NotThere(chain(&why))),
        };
        if !server::has(&mut qmp, &volume)? {
            let why = format!("the QEMU behind {} does not have it", path.display());
            return Ok(Attended::NotThere(why));
        }
        // First, since the guest has begun.
        throttle(limits).apply(&mut qmp, &volume)?;
        let Some(interval) = volume.durability().flush_interval() else {
            return Ok(Attended::Limited);
        };
        let socket = server::ensure(&mut qmp, &volume, &self.run, &self.environment)?;
        drop(qmp);
        let started = self.flushers.start(&facts.id, socket, interval);
        started.map_err(|error| ExecutorError::new(Reason::Failed, error.to_string()))?;
        Ok(Attended::Flushed)
    }

    pub(super) fn leave_now(&self, facts: &Facts, path: &Path) -> Result<(), ExecutorError> {
        self.flushers.end(&facts.id);
        let Ok(mut qmp) = reached(path, SOON, SOON)? else { return Ok(()) };
        let volume = self.volume_of(facts)?;
        Ok(server::end(&mut qmp, &volume, &self.run)?)
    }

    /// The volume as QEMU has it.
    pub(super) fn volume_of(&self, facts: &Facts) -> Result<Volume, ExecutorError> {
        match self.on_disk(facts)? {
            Some(disk) => disk.volume(),
            None => self.volume(facts, &self.find(facts)?.1),
        }
    }

    /// Who serves a point in time of this guest: QEMU's server for flushers, where it has one.
    pub(super) fn server(&self, qmp: &mut Qmp, own: &Path) -> Result<Server, QmpError> {
        let running = server::socket(qmp, &self.run)?;
        Ok(match running {
            Some(socket) => Server::Running(NbdAddress::Unix(socket)),
            None => Server::Start(NbdAddress::Unix(own.into())),
        })
    }
}

/// As QEMU is told.
fn throttle(limits: Limits) -> Throttle {
    Throttle {
        operations: limits.iops.and_then(NonZeroU32::new),
        bytes: limits.bytes.and_then(NonZeroU64::new),
    }
}

impl From<ServerError> for ExecutorError {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Qmp(error) => error.into(),
            ServerError::Taken { .. } => Self::new(Reason::Conflict, chain(&error)),
            ServerError::Stays(_) | ServerError::NoRandomness(_) => {
                Self::new(Reason::Failed, chain(&error))
            }
        }
    }
}
