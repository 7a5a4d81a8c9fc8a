//! A QEMU whose guest never gets further than its firmware, and whose disks are written as if by
//! it: through their devices, by QEMU's own `qemu-io`.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, BufRead, BufReader, Write},
    net::Shutdown,
    os::unix::{net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use nix::sys::{prctl, signal::Signal};
use serde_json::json;

use super::{super::disk::Disk, *};
use crate::{
    encryption::secret::Secrets,
    qmp::Qmp,
    testing::{Daemon, Numbers},
    volume::Volume,
};

const BOUND: Duration = Duration::from_secs(60);
/// What a guest's page cache writes at once.
const BLOCK: u64 = 4 << 10;
/// The longest write.
const LONGEST: u64 = 96 << 10;

/// A QEMU with disks, and what was written to them.
pub(super) struct Guest {
    pub(super) host: Host,
    pub(super) writer: Writer,
    daemon: Daemon,
}

/// Its host's side.
pub(super) struct Host {
    pub(super) directory: PathBuf,
    pub(super) disks: Vec<Disk>,
    pub(super) qmp: Qmp,
}

/// Who writes, on a monitor of its own.
pub(super) struct Writer {
    qmp: Qmp,
    devices: Vec<String>,
    /// What the disks hold.
    pub(super) contents: Vec<Vec<u8>>,
    pub(super) numbers: Numbers,
    /// Bytes written.
    pub(super) written: u64,
    /// Blocks of a disk that were written since this was last taken.
    touched: BTreeSet<(usize, u64)>,
}

impl Writer {
    /// Fills a part of a disk with a byte.
    pub(super) fn fill(&mut self, disk: usize, at: u64, length: u64, with: u8) {
        self.ask(disk, &format!("-P {with} {at} {length}"));
        let (at, length) = (usize::try_from(at).unwrap(), usize::try_from(length).unwrap());
        self.contents[disk][at..at + length].fill(with);
        self.note(disk, at, length);
    }

    /// Writes these bytes to a part of a disk.
    pub(super) fn write_bytes(&mut self, disk: usize, at: u64, bytes: &[u8]) {
        // Elsewhere than the guest's files, which are looked through.
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        self.ask(disk, &format!("-s {} {at} {}", file.path().display(), bytes.len()));
        let at = usize::try_from(at).unwrap();
        self.contents[disk][at..at + bytes.len()].copy_from_slice(bytes);
        self.note(disk, at, bytes.len());
    }

    fn ask(&mut self, disk: usize, words: &str) {
        let line = format!("qemu-io -d {} \"write {words}\"", self.devices[disk]);
        let said = self.qmp.execute("human-monitor-command", json!({ "command-line": line }));
        assert_eq!(said.unwrap(), "");
    }

    fn note(&mut self, disk: usize, at: usize, length: usize) {
        self.written += length as u64;
        let block = |at: usize| at as u64 / BLOCK;
        self.touched.extend((block(at)..=block(at + length - 1)).map(|block| (disk, block)));
    }

    /// Bytes of all blocks that were written since this was asked last.
    pub(super) fn take_touched(&mut self) -> u64 {
        let block = |(disk, block): (usize, u64)| {
            let start = block * BLOCK;
            (self.contents[disk].len() as u64 - start).min(BLOCK)
        };
        std::mem::take(&mut self.touched).into_iter().map(block).sum()
    }

    /// Writes somewhere as a guest's page cache does: whole blocks of 4 KiB.
    pub(super) fn write_blocks(&mut self, disk: usize) {
        let blocks = self.contents[disk].len() as u64 / BLOCK;
        let length = 1 + self.numbers.below(LONGEST / BLOCK);
        let at = self.numbers.below(blocks - length);
        let with = u8::try_from(1 + self.numbers.below(255)).unwrap();
        self.fill(disk, at * BLOCK, length * BLOCK, with);
    }

    /// Writes somewhere.
    pub(super) fn write(&mut self, disk: usize) {
        let sectors = self.contents[disk].len() as u64 / 512;
        let length = 1 + self.numbers.below(LONGEST / 512);
        let at = self.numbers.below(sectors - length);
        let with = u8::try_from(1 + self.numbers.below(255)).unwrap();
        self.fill(disk, at * 512, length * 512, with);
    }
}

impl Guest {
    /// Starts one with these volumes, which hold this. `within` are words before QEMU's own name.
    pub(super) fn start(
        directory: &Path,
        volumes: &[Volume],
        contents: Vec<Vec<u8>>,
        within: &[&str],
    ) -> Self {
        Self::start_with(directory, volumes, contents, within, &Secrets::none())
    }

    /// The same with what opens them.
    pub(super) fn start_with(
        directory: &Path,
        volumes: &[Volume],
        contents: Vec<Vec<u8>>,
        within: &[&str],
        secrets: &Secrets,
    ) -> Self {
        let sockets = ["qmp", "qmp-writer", "qmp-next"].map(|name| directory.join(name));
        let words: Vec<&str> = within.iter().copied().chain(["qemu-system-x86_64"]).collect();
        let mut qemu = Command::new(words[0]);
        qemu.args(&words[1..]).args(["-machine", "q35", "-accel", "tcg", "-m", "64"]).args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
        ]);
        // Nothing but `hlt`: SeaBIOS that is reset in its middle resets the machine once more.
        let firmware = directory.join("firmware");
        fs::write(&firmware, [0xf4; 64 << 10]).unwrap();
        qemu.arg("-bios").arg(firmware);
        for socket in &sockets {
            qemu.arg("-qmp").arg(format!("unix:{},server=on,wait=off", socket.display()));
        }
        secrets.attach(&mut qemu).unwrap();
        for volume in volumes {
            qemu.args(["-blockdev", &volume.blockdev().to_string()]);
            qemu.args(["-device", &volume.device().to_string()]);
        }
        // What `qemu-io` says of each write.
        qemu.stdout(Stdio::null());
        // SAFETY: prctl(2) is async-signal-safe, and nothing is allocated or locked.
        unsafe {
            qemu.pre_exec(|| prctl::set_pdeathsig(Signal::SIGKILL).map_err(Into::into));
        }
        let daemon = Daemon::start(&mut qemu, &sockets.each_ref().map(PathBuf::as_path));
        let disks: Vec<Disk> = volumes.iter().map(Disk::of).collect();
        let writer = Writer {
            qmp: Qmp::connect(&sockets[1], BOUND).unwrap(),
            devices: disks.iter().map(|disk| disk.device().to_owned()).collect(),
            contents,
            numbers: Numbers(9),
            written: 0,
            touched: BTreeSet::new(),
        };
        let qmp = Qmp::connect(&sockets[0], BOUND).unwrap();
        let host = Host { directory: directory.into(), disks, qmp };
        Self { host, writer, daemon }
    }

    /// Ends QEMU as when a machine is shut down; what the disks hold.
    pub(super) fn quit(mut self) -> Vec<Vec<u8>> {
        // The reply may be lost with the socket.
        let _ = self.host.qmp.execute("quit", json!({}));
        self.daemon.ended();
        self.writer.contents
    }

    /// Lets the guest begin anew; every monitor has been told when this returns.
    pub(super) fn reset(&mut self) {
        self.host.qmp.execute("system_reset", json!({})).unwrap();
        self.writer.qmp.await_event("a reset", BOUND, |event| event.name == "RESET").unwrap();
    }

    /// Kills QEMU with -9; what the disks hold.
    pub(super) fn kill(self) -> Vec<Vec<u8>> {
        drop(self.daemon);
        self.writer.contents
    }

    pub(super) fn pid(&self) -> u32 {
        self.daemon.pid()
    }
}

impl Host {
    pub(super) fn address(&self) -> NbdAddress {
        NbdAddress::Unix(self.directory.join("nbd"))
    }

    pub(super) fn settings(&self) -> Settings {
        Settings::new(self.directory.clone(), Server::Start(self.address()))
    }

    /// Opens a point in time of all disks.
    pub(super) fn open(&mut self, vault: &Vault) -> Result<Point, PointError> {
        let settings = self.settings();
        self.open_with(vault, &settings, None)
    }

    pub(super) fn open_with(
        &mut self,
        vault: &Vault,
        settings: &Settings,
        agent: Option<&dyn Freeze>,
    ) -> Result<Point, PointError> {
        let surveys = survey(&mut self.qmp, &self.disks, agent)?;
        let decide = |(disk, survey): (&Disk, &_)| (disk.clone(), vault.decide(disk, survey));
        let disks = self.disks.iter().zip(&surveys).map(decide).collect();
        Point::open(&mut self.qmp, disks, settings, agent, &SystemEnvironment::new())
    }

    /// A backup of its only disk.
    pub(super) fn back_up(&mut self, vault: &Vault) -> Pulled {
        let point = self.open(vault).unwrap();
        let pulled = vault.pull(&point.offers()[0], &Unwatched).unwrap();
        let published = [self.disks[0].id().clone()];
        let closed = point.close(&mut self.qmp, &published, None).unwrap();
        assert!(closed.broken.is_empty());
        pulled
    }

    /// A way to QEMU on which no command passes from the first of this name on.
    pub(super) fn lose_from(&mut self, command: &'static str, bound: Duration) {
        // A monitor serves one at a time: ours goes first, by way of the next one.
        self.reconnect();
        let qemu = UnixStream::connect(self.directory.join("qmp")).unwrap();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let commands = BufReader::new(theirs.try_clone().unwrap());
        let (mut to, mut from) = (qemu.try_clone().unwrap(), qemu);
        thread::spawn(move || {
            let mut is_lost = false;
            for line in commands.lines().map_while(Result::ok) {
                is_lost |= line.contains(command);
                if !is_lost {
                    writeln!(to, "{line}").unwrap();
                }
            }
            // QEMU may have ended.
            let _ = to.shutdown(Shutdown::Both);
        });
        thread::spawn(move || io::copy(&mut from, &mut theirs));
        self.qmp = Qmp::over(ours, bound).unwrap();
    }

    /// What another process sees that comes after ours was killed.
    pub(super) fn reconnect(&mut self) {
        self.qmp = Qmp::connect(&self.directory.join("qmp-next"), BOUND).unwrap();
    }

    /// Lets 40,000 bytes a second through to the first disk's scratch file.
    pub(super) fn slow_scratch_down(&mut self) {
        let nodes = self.qmp.execute("query-named-block-nodes", json!({ "flat": true })).unwrap();
        let is_file = |node: &&serde_json::Value| {
            node["drv"] == "file" && node["file"].as_str().unwrap().ends_with(".scratch")
        };
        let file = &nodes.as_array().unwrap().iter().find(is_file).unwrap()["node-name"];
        let limits = json!({ "bps-total": 40_000, "bps-total-max": 40_000 });
        let scratch = self.disks[0].scratch();
        for (command, arguments) in [
            ("object-add", json!({ "qom-type": "throttle-group", "id": "slow", "limits": limits })),
            (
                "blockdev-add",
                json!({
                    "driver": "throttle", "node-name": "slow", "throttle-group": "slow",
                    "file": file,
                }),
            ),
            (
                "blockdev-reopen",
                json!({ "options": [{
                    "driver": "raw", "node-name": scratch, "file": "slow",
                    "cache": { "direct": false, "no-flush": true },
                }] }),
            ),
        ] {
            self.qmp.execute(command, arguments).unwrap();
        }
    }
}
