//! QEMU's storage daemon for one volume that no guest has open: its drivers without a machine.
//!
//! It holds QEMU's own lock on the volume's file, so nothing is done to a volume that runs. It
//! ends with our process, however that ends, and before [`StorageDaemon::end`] returns.

use std::{
    fs, io,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    clone::durable,
    encryption::{image::is_wrong_key, secret::Secrets},
    local_socket::connect_within,
    nbd::{Nbd, NbdError},
    program::{Words, ended_within, kill, start},
    qmp::{Qmp, QmpError},
};

/// How long the daemon may take to open a volume.
const START: Duration = Duration::from_secs(60);
/// How long one of its replies may take: a flush waits for the device.
const REPLY: Duration = Duration::from_secs(120);

/// The id of its export; its name is the node's.
pub(crate) const EXPORT: &str = "export";

/// What its sockets' names begin with.
const PREFIX: &str = "storage-";

/// How long one that breaks a connection off is given to end and to say why.
const ENDING: Duration = Duration::from_secs(1);

/// What can go wrong with a daemon.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// It can't be started.
    #[error("starting qemu-storage-daemon")]
    Start(#[source] std::io::Error),
    /// It ended by itself; most often somebody else has the volume open.
    #[error("qemu-storage-daemon ended: {said}")]
    Ended {
        /// What it said, a few lines at most.
        said: String,
    },
    /// It runs and doesn't answer.
    #[error("qemu-storage-daemon did not open the volume within {START:?}")]
    Late,
    /// It was told to end and didn't.
    #[error("qemu-storage-daemon did not close the volume within {REPLY:?}")]
    Lingers,
    /// A key opens neither the volume nor its master.
    #[error("{0} or its master is not opened by the key that was given")]
    WrongKey(String),
    /// A key can't be passed to it.
    #[error("passing keys to qemu-storage-daemon")]
    Secrets(#[source] std::io::Error),
    /// Its block server.
    #[error(transparent)]
    Nbd(#[from] NbdError),
    /// Its monitor.
    #[error(transparent)]
    Qmp(#[from] QmpError),
}

/// A running daemon; killed when dropped.
#[derive(Debug)]
pub struct StorageDaemon {
    child: Child,
    qmp: Qmp,
    blocks: PathBuf,
    monitor: PathBuf,
    export: String,
}

impl StorageDaemon {
    /// Starts one that has a volume open for writing, given as `blockdev-add`'s argument. Its
    /// sockets are made in `run`, a directory that only we may enter; the export is named after the
    /// node.
    pub fn start(blockdev: &Value, run: &Path) -> Result<Self, DaemonError> {
        Self::start_with(blockdev, &Secrets::none(), run)
    }

    /// The same with secrets, by which it opens an encrypted volume.
    ///
    /// # Errors
    /// [`DaemonError::WrongKey`].
    pub fn start_with(
        blockdev: &Value,
        secrets: &Secrets,
        run: &Path,
    ) -> Result<Self, DaemonError> {
        let mut command = Command::new("qemu-storage-daemon");
        secrets.attach(&mut command).map_err(DaemonError::Secrets)?;
        Self::start_by(command, blockdev, run)
    }

    /// The same by a command that has its secrets already.
    pub(crate) fn start_by(
        mut command: Command,
        blockdev: &Value,
        run: &Path,
    ) -> Result<Self, DaemonError> {
        let node = blockdev["node-name"].as_str().unwrap_or("volume");
        // No two have the same: QEMU takes a socket's name away from whoever has it, before it finds that
        // the volume is in use.
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let of = |ending| run.join(format!("{PREFIX}{}-{count}.{ending}", process::id()));
        let (monitor, blocks) = (of("qmp"), of("nbd"));
        let export = json!({
            "type": "nbd", "id": EXPORT, "node-name": node, "name": node,
            "writable": blockdev["read-only"] != true,
        });
        let words = Words::new().map_err(DaemonError::Start)?;
        command
            .arg("--chardev")
            .arg(format!("socket,id=qmp,path={},server=on,wait=off", escaped(&monitor)))
            .args(["--monitor", "chardev=qmp", "--blockdev", &blockdev.to_string()])
            .arg("--nbd-server")
            .arg(format!("addr.type=unix,addr.path={}", escaped(&blocks)))
            .args(["--export", &export.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(words.writer().map_err(DaemonError::Start)?);
        let mut child = start(command).map_err(DaemonError::Start)?;
        match connect(&mut child, &words, &monitor, &blocks, node) {
            Ok(qmp) => Ok(Self { child, qmp, blocks, monitor, export: node.into() }),
            Err(error) => {
                kill(&mut child);
                forget(&monitor, &blocks);
                Err(error)
            }
        }
    }

    /// Its monitor.
    pub fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// A connection to the volume.
    pub fn open(&self) -> Result<Nbd, DaemonError> {
        Ok(Nbd::connect(&self.blocks, &self.export, REPLY)?)
    }

    /// The socket that the volume is served on.
    pub fn blocks(&self) -> &Path {
        &self.blocks
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Closes the volume, as when a machine is shut down, and waits for that, four minutes at most.
    ///
    /// # Errors
    /// [`DaemonError::Lingers`]: it was killed then, and what was not flushed is not in the table.
    pub fn end(mut self) -> Result<(), DaemonError> {
        self.qmp.execute("quit", json!({}))?;
        match ended_within(&mut self.child, REPLY).map_err(DaemonError::Start)? {
            None => Err(DaemonError::Lingers),
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(DaemonError::Ended { said: status.to_string() }),
        }
    }
}

impl Drop for StorageDaemon {
    fn drop(&mut self) {
        kill(&mut self.child);
        forget(&self.monitor, &self.blocks);
    }
}

/// Removes the names of its sockets, which a daemon leaves that was killed, or has failed to start.
fn forget(monitor: &Path, blocks: &Path) {
    for socket in [monitor, blocks] {
        let _ = fs::remove_file(socket);
    }
}

/// The monitor, once the daemon has opened the volume and serves it.
fn connect(
    child: &mut Child,
    words: &Words,
    monitor: &Path,
    blocks: &Path,
    export: &str,
) -> Result<Qmp, DaemonError> {
    let begin = Instant::now();
    while begin.elapsed() < START {
        if child.try_wait().map_err(DaemonError::Start)?.is_some() {
            let said = words.text();
            if is_wrong_key(&said) {
                return Err(DaemonError::WrongKey(export.into()));
            }
            return Err(DaemonError::Ended { said });
        }
        // The options are worked off in their order: exports are there when this one is.
        match Nbd::connect(blocks, export, REPLY) {
            Ok(_) => return Ok(Qmp::connect(monitor, REPLY)?),
            Err(NbdError::Connect { .. } | NbdError::NoExport { .. }) => {}
            // It ends in this moment, and tells why itself.
            Err(_) if ended_within(child, ENDING).map_err(DaemonError::Start)?.is_some() => {}
            Err(error) => return Err(error.into()),
        }
        thread::sleep(Duration::from_millis(5));
    }
    Err(DaemonError::Late)
}

/// Removes the sockets of daemons that are gone and could not do so, since they were killed with the
/// process that had started them.
pub fn sweep(run: &Path) -> io::Result<()> {
    for entry in fs::read_dir(run)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let starter = name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'));
        let Some(starter) = starter.and_then(|(id, _)| id.parse::<u32>().ok()) else { continue };
        // Of one that is alive a socket may be about to be listened on.
        if Path::new(&format!("/proc/{starter}")).exists() {
            continue;
        }
        // A process elsewhere may have the number, whose daemon listens.
        let refused = connect_within(&path, ENDING).map_err(|error| error.kind());
        if matches!(refused, Err(io::ErrorKind::ConnectionRefused))
            // Another process may have swept it.
            && path.symlink_metadata().is_ok_and(|it| it.file_type().is_socket())
        {
            durable::remove(&path)?;
        }
    }
    Ok(())
}

/// A path within one of QEMU's options, where a comma begins the next one unless it is doubled.
fn escaped(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::{
        testing::{ids, master, pool},
        volume::{Durability, HostCache},
    };

    #[test]
    fn a_daemon_outlives_the_thread_that_asked_for_it() {
        let directory = tempfile::tempdir().unwrap();
        let (master, _) = master(directory.path());
        let clone = master.clone_into(&pool(directory.path()), &ids(1)).unwrap().remove(0);
        let volume = clone.volume(Durability::default(), HostCache::Direct).unwrap();
        let start = || StorageDaemon::start(&volume.blockdev(), directory.path()).unwrap();
        let daemon = thread::scope(|scope| scope.spawn(start).join().unwrap());
        // It would be gone within this time; that it stays can't be awaited.
        thread::sleep(Duration::from_millis(300));
        daemon.open().unwrap().write(0, &[1; 512]).unwrap();
        daemon.end().unwrap();
    }

    #[test]
    fn a_second_daemon_of_a_volume_is_refused_for_that_and_takes_nothing_from_the_first() {
        let directory = tempfile::tempdir().unwrap();
        let (master, _) = master(directory.path());
        let clone = master.clone_into(&pool(directory.path()), &ids(1)).unwrap().remove(0);
        let volume = clone.volume(Durability::default(), HostCache::Direct).unwrap();
        let start = || StorageDaemon::start(&volume.blockdev(), directory.path());
        let mut first = start().unwrap();
        let Err(DaemonError::Ended { said }) = start() else { panic!("it has the volume, too") };
        assert!(said.contains("lock"), "{said}");
        let sockets = fs::read_dir(directory.path())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_type().unwrap().is_socket());
        assert_eq!(sockets.count(), 2, "the second one has left its own");
        first.open().unwrap().write(0, &[1; 512]).unwrap();
        first.qmp().execute("query-block-exports", json!({})).unwrap();
        first.end().unwrap();
    }

    #[test]
    fn sockets_of_daemons_that_were_killed_are_swept_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        let run = directory.path();
        let bind = |name: &str| UnixListener::bind(run.join(name)).unwrap();
        // No process has a number as high (proc(5), pid_max).
        let (gone, here) = ("storage-4194305", format!("storage-{}", process::id()));
        let _live = bind(&format!("{gone}-0.qmp"));
        drop((bind(&format!("{gone}-0.nbd")), bind(&format!("{here}-0.nbd")), bind("web.qmp")));
        fs::write(run.join(format!("{gone}-1.qmp")), "no socket").unwrap();
        sweep(run).unwrap();
        let left = |name: String| run.join(name).exists();
        assert!(left(format!("{gone}-0.qmp")) && left(format!("{gone}-1.qmp")));
        assert!(left(format!("{here}-0.nbd")) && left("web.qmp".into()));
        assert!(!left(format!("{gone}-0.nbd")));
        sweep(&run.join("none")).unwrap_err();
    }

    #[test]
    fn a_daemon_that_says_more_than_anybody_reads_serves_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let (master, _) = master(directory.path());
        let clone = master.clone_into(&pool(directory.path()), &ids(1)).unwrap().remove(0);
        let volume = clone.volume(Durability::default(), HostCache::Direct).unwrap();
        let mut command = Command::new("sh");
        let script = "head -c 1000000 /dev/zero >&2; exec qemu-storage-daemon \"$@\"";
        command.args(["-c", script, "sh"]);
        let blockdev = volume.blockdev();
        let daemon = StorageDaemon::start_by(command, &blockdev, directory.path()).unwrap();
        daemon.open().unwrap().write(0, &[1; 512]).unwrap();
        daemon.end().unwrap();
    }
}
