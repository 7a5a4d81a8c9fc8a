//! A real iSCSI target: Debian's `tgtd`, which serves files from user space, on a port of loopback that
//! is its own, with a management socket in its own directory; so many run at once. Killed when dropped.
//!
//! After tgtd(8) and tgtadm(8).

use std::{
    fs::File,
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The target's name.
pub(crate) const TARGET: &str = "iqn.2026-01.org.example:store.test";
/// As whom CHAP logs in, and by which secret.
pub(crate) const USER: &str = "mezame";
pub(crate) const SECRET: &str = "not-a-secret-of-anybody";

/// How long tgtd may take to begin, on a busy machine.
const START: Duration = Duration::from_secs(60);

/// What is served as a LUN.
#[derive(Debug, Clone)]
struct Unit {
    number: u8,
    path: PathBuf,
    is_read_only: bool,
    serial: Option<String>,
}

/// A running target.
#[derive(Debug)]
pub(crate) struct Target {
    daemon: Option<Child>,
    directory: PathBuf,
    port: u16,
    units: Vec<Unit>,
}

impl Target {
    /// Starts one without LUNs; its files are in this directory.
    pub(crate) fn start(directory: &Path) -> Self {
        let directory = directory.to_owned();
        let mut target = Self { daemon: None, directory, port: free_port(), units: Vec::new() };
        target.run();
        target
    }

    /// Makes a file of so many bytes and serves it as a LUN; which file.
    pub(crate) fn add(&mut self, number: u8, length: u64) -> PathBuf {
        let path = self.directory.join(format!("lun-{number}"));
        File::create(&path).unwrap().set_len(length).unwrap();
        self.units.push(Unit { number, path: path.clone(), is_read_only: false, serial: None });
        self.serve(&self.units[self.units.len() - 1]);
        path
    }

    /// Has it refuse writes to a LUN from now on, or take them.
    pub(crate) fn protect(&mut self, number: u8, is_read_only: bool) {
        self.unit(number).is_read_only = is_read_only;
        let value = format!("readonly={}", u8::from(is_read_only));
        self.update(number, &value);
    }

    /// Gives a LUN another serial number, as if it were another one.
    pub(crate) fn rename(&mut self, number: u8, serial: &str) {
        self.unit(number).serial = Some(serial.into());
        self.update(number, &format!("scsi_sn={serial}"));
    }

    /// A LUN's URL, with the user.
    pub(crate) fn url(&self, number: u8) -> String {
        format!("iscsi://{USER}@127.0.0.1:{}/{TARGET}/{number}", self.port)
    }

    /// Ends it with -9, as a target that is switched off. It listens nowhere then.
    pub(crate) fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
    }

    /// Holds it: its kernel takes connections, and it says nothing.
    pub(crate) fn hold(&self) {
        let pid = i32::try_from(self.daemon.as_ref().unwrap().id()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGSTOP)
            .unwrap();
    }

    /// Starts it again, at the same place with the same LUNs.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.run();
    }

    fn unit(&mut self, number: u8) -> &mut Unit {
        self.units.iter_mut().find(|unit| unit.number == number).unwrap()
    }

    fn run(&mut self) {
        // Of one that was killed; a new one would take it for its own.
        let _ = std::fs::remove_file(self.directory.join("management.1"));
        let log = self.directory.join("tgtd.log");
        let log = File::options().create(true).append(true).open(log).unwrap();
        let mut command = Command::new("tgtd");
        command
            .args(["-f", "-C", "1", "-t", "2", "--iscsi"])
            .arg(format!("portal=127.0.0.1:{}", self.port))
            .env("TGT_IPC_SOCKET", self.directory.join("management"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log);
        // SAFETY: prctl(2) is async-signal-safe, and nothing is allocated or locked.
        unsafe {
            command.pre_exec(|| {
                let signal = nix::sys::signal::Signal::SIGKILL;
                nix::sys::prctl::set_pdeathsig(signal).map_err(std::io::Error::from)
            });
        }
        self.daemon = Some(command.spawn().expect("tgtd, of Debian's tgt"));
        let begin = Instant::now();
        while !self.tell(&["--mode", "sys", "--op", "show"]) {
            let ended = self.daemon.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none() && begin.elapsed() < START, "tgtd does not begin: {ended:?}");
            thread::sleep(Duration::from_millis(20));
        }
        self.must(&["--mode", "target", "--op", "new", "--tid", "1", "--targetname", TARGET]);
        self.must(&["--mode", "account", "--op", "new", "--user", USER, "--password", SECRET]);
        self.must(&["--mode", "account", "--op", "bind", "--tid", "1", "--user", USER]);
        for unit in &self.units {
            self.serve(unit);
        }
        // Initiators are let in last, so that nobody sees it half made.
        self.must(&[
            "--mode",
            "target",
            "--op",
            "bind",
            "--tid",
            "1",
            "--initiator-address",
            "ALL",
        ]);
    }

    fn serve(&self, unit: &Unit) {
        let number = unit.number.to_string();
        let path = unit.path.to_str().unwrap();
        let new = ["--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", &number];
        self.must(&[&new[..], &["--backing-store", path]].concat());
        if unit.is_read_only {
            self.update(unit.number, "readonly=1");
        }
        if let Some(serial) = &unit.serial {
            self.update(unit.number, &format!("scsi_sn={serial}"));
        }
    }

    fn update(&self, number: u8, parameter: &str) {
        let number = number.to_string();
        let update = ["--mode", "logicalunit", "--op", "update", "--tid", "1", "--lun", &number];
        self.must(&[&update[..], &["--params", parameter]].concat());
    }

    fn must(&self, words: &[&str]) {
        assert!(self.tell(words), "tgtadm {words:?}");
    }

    fn tell(&self, words: &[&str]) -> bool {
        let mut tell = Command::new("tgtadm");
        tell.args(["-C", "1", "--lld", "iscsi"])
            .args(words)
            .env("TGT_IPC_SOCKET", self.directory.join("management"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        tell.status().expect("tgtadm, of Debian's tgt").success()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            // Ended already, or about to.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// A port of loopback that nobody listens on. tgtd can't be asked which one it took.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
