//! Flushing a running guest's volume from the host, so that no acknowledged write waits for longer
//! than its class says.
//!
//! The volume's node is exported read-only from the guest's own QEMU on a UNIX socket, and
//! `NBD_CMD_FLUSH` is sent to it: QEMU writes its tables and flushes the file, as if the guest had
//! asked. There is no QMP command for that. The export is read-only because nothing is to be
//! written, and a flush is for the node, not for the connection.

pub mod server;
#[cfg(test)]
mod tests;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{FlushInterval, Volume, VolumeId};
use crate::{
    nbd::{Nbd, NbdError},
    qmp::{Qmp, QmpError},
};

/// Has QEMU serve blocks on this socket, once for all of a guest's volumes.
pub fn serve(qmp: &mut Qmp, socket: &Path) -> Result<(), QmpError> {
    let address = json!({ "type": "unix", "data": { "path": socket } });
    qmp.execute("nbd-server-start", json!({ "addr": address })).map(drop)
}

/// Exports a volume, named after it, for its flusher.
pub fn export(qmp: &mut Qmp, volume: &Volume) -> Result<(), QmpError> {
    let id = volume.id();
    let arguments = json!({
        "type": "nbd", "id": id.node("flush"), "node-name": id.node(""), "name": id.as_str(),
        "writable": false,
    });
    qmp.execute("block-export-add", arguments).map(drop)
}

/// How a flusher does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlushStatus {
    /// When the last flush that succeeded began: what was acknowledged before is durable.
    pub durable_until: Option<Instant>,
    /// How many flushes have succeeded.
    pub flushes: u64,
    /// How many attempts have failed, connecting included.
    pub failures: u64,
    /// Whether the last one did.
    pub is_failing: bool,
    /// How often a write may have waited for longer than the interval, until a flush succeeded.
    pub lates: u64,
}

impl FlushStatus {
    /// Whether the class keeps what it says, at this moment.
    pub fn is_kept(&self, interval: FlushInterval, now: Instant) -> bool {
        self.durable_until
            .is_some_and(|until| now.saturating_duration_since(until) <= interval.bound())
    }
}

/// A thread that flushes one volume until this is dropped.
#[derive(Debug)]
pub struct Flusher {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    stopped: Condvar,
}

#[derive(Debug)]
struct State {
    status: FlushStatus,
    is_stopped: bool,
}

impl Flusher {
    /// Starts flushing an export of QEMU's.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start(
        socket: &Path,
        volume: &VolumeId,
        interval: FlushInterval,
    ) -> std::io::Result<Self> {
        let status = FlushStatus {
            durable_until: None,
            flushes: 0,
            failures: 0,
            is_failing: false,
            lates: 0,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(State { status, is_stopped: false }),
            stopped: Condvar::new(),
        });
        let work = Work {
            socket: socket.into(),
            export: volume.as_str().into(),
            interval,
            shared: Arc::clone(&shared),
        };
        let builder = std::thread::Builder::new().name(format!("flush-{volume}"));
        let thread = Some(builder.spawn(move || work.run())?);
        Ok(Self { shared, thread })
    }

    /// How it does.
    pub fn status(&self) -> FlushStatus {
        self.shared.lock().status
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.shared.lock().is_stopped = true;
        self.shared.stopped.notify_all();
        if let Some(thread) = self.thread.take() {
            // It ends after the flush that it is in, which has a deadline.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole after every statement that changes it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Work {
    socket: PathBuf,
    export: String,
    interval: FlushInterval,
    shared: Arc<Shared>,
}

impl Work {
    fn run(self) {
        let mut connection = None;
        // Nothing is known of what was written before.
        let mut durable_until = Instant::now();
        loop {
            let begin = Instant::now();
            let flushed = self.flush(&mut connection);
            let mut state = self.shared.lock();
            match flushed {
                Ok(()) => {
                    let is_late = durable_until.elapsed() > self.interval.bound();
                    state.status.lates += u64::from(is_late);
                    durable_until = begin;
                    state.status.durable_until = Some(begin);
                    state.status.flushes += 1;
                    state.status.is_failing = false;
                }
                Err(_) => {
                    connection = None;
                    state.status.failures += 1;
                    state.status.is_failing = true;
                }
            }
            let (state, _) = self
                .shared
                .stopped
                .wait_timeout_while(state, self.interval.pause(), |state| !state.is_stopped)
                .unwrap_or_else(PoisonError::into_inner);
            if state.is_stopped {
                return;
            }
        }
    }

    fn flush(&self, connection: &mut Option<Nbd>) -> Result<(), NbdError> {
        // A flush may take longer than the class allows and still be worth its end.
        const PATIENCE: Duration = Duration::from_secs(60);
        if let Some(open) = connection {
            return open.flush();
        }
        connection.insert(Nbd::connect(&self.socket, &self.export, PATIENCE)?).flush()
    }
}
