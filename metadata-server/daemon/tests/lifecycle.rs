//! The program as its operators and systemd see it: settings, readiness, upgrade, end, removal.
//!
//! Each server runs in a network namespace of its own, with names and directories of its own, in
//! mounts that only its test sees: its names and pins go with the test, after a SIGKILL too.

#![allow(clippy::unwrap_used)] // A test that can't go on is to fail.

use std::{
    io::{Read, Write},
    os::unix::{
        net::{UnixDatagram, UnixStream},
        process::CommandExt,
    },
    path::Path,
    process::{Child, Command, Output},
    time::{Duration, Instant},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// No test waits longer than this for what must come.
const SOON: Duration = Duration::from_secs(30);

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_metadata-server"));
    command.env_clear();
    command
}

fn output(command: &mut Command) -> (bool, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = [stdout, stderr].concat();
    (status.success(), String::from_utf8(text).unwrap())
}

#[test]
fn valid_settings_are_checked_without_root_and_nothing_is_started() {
    let example =
        Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("metadata-server.yaml");
    let (done, text) = output(program().arg("--check").arg("--config").arg(example));
    assert!(done, "{text}");
    assert_eq!(text, "the settings are valid\n");
}

#[test]
fn what_is_wrong_with_the_settings_is_said_in_one_line_with_the_file_and_the_setting() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("settings.yaml");
    std::fs::write(&file, "drain: soon\n").unwrap();
    let (done, text) = output(program().arg("--check").arg("--config").arg(&file));
    assert!(!done);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("settings.yaml") && text.contains("drain"), "{text}");
    // So is what the control plane would refuse at its start.
    let volumes = "{pools: {fast: /p}, masters: /m, default_pool: quick}";
    let section = format!("{{images: {{directory: /a}}, volumes: {volumes}}}");
    std::fs::write(&file, format!("standalone: true\nprovisioner: {section}\n")).unwrap();
    let (done, text) = output(program().arg("--check").arg("--config").arg(&file));
    assert!(!done && text.contains("default_pool"), "{text}");
    let (done, text) = output(program().arg("--config").arg(directory.path().join("none")));
    assert!(!done);
    assert!(text.contains("none") && text.lines().count() == 1, "{text}");
}

/// A place for servers: directories, names, and a network namespace.
struct Place {
    directory: tempfile::TempDir,
    namespace: std::fs::File,
    notices: UnixDatagram,
    tag: String,
}

impl Place {
    fn new(tag: &str) -> Self {
        enter_sandbox();
        let directory = tempfile::tempdir().unwrap();
        let namespace = std::thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            std::fs::File::open("/proc/thread-self/ns/net").unwrap()
        });
        let notices = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        notices.set_read_timeout(Some(SOON)).unwrap();
        let tag = format!("{tag}{}", std::process::id());
        Self { namespace: namespace.join().unwrap(), directory, notices, tag }
    }

    fn command(&self) -> Command {
        let namespace = self.namespace.try_clone().unwrap();
        let mut command = program();
        command
            .arg("--state-dir")
            .arg(self.directory.path().join("state"))
            .arg("--run-dir")
            .arg(self.run())
            .args(["--namespace", &format!("mezame-{}", self.tag), "--veth", &self.tag])
            .args(["--pins", &format!("/sys/fs/bpf/mezame-{}", self.tag)])
            .env("NOTIFY_SOCKET", self.directory.path().join("notify"));
        // SAFETY: only a system call between fork and exec.
        unsafe {
            command.pre_exec(move || Ok(setns(&namespace, CloneFlags::CLONE_NEWNET)?));
        }
        command
    }

    fn run(&self) -> std::path::PathBuf {
        self.directory.path().join("run")
    }

    fn start(&self) -> Server {
        Server(self.command().arg("--standalone").spawn().unwrap())
    }

    /// The process that says next that it is the main one, and ready.
    fn next_ready(&self) -> u32 {
        let mut buffer = [0; 4096];
        loop {
            let length = self.notices.recv(&mut buffer).expect("nobody became ready");
            let notice = std::str::from_utf8(&buffer[..length]).unwrap();
            if notice.lines().any(|line| line == "READY=1") {
                let pid = notice.lines().find_map(|line| line.strip_prefix("MAINPID="));
                return pid.unwrap().parse().unwrap();
            }
        }
    }

    /// The process that answers on the operators' socket.
    fn answering(&self) -> Option<u32> {
        let mut socket = UnixStream::connect(self.run().join("metadata-server.sock")).ok()?;
        socket
            .write_all(b"GET /healthz/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let pid = answer.split("\"pid\": ").nth(1)?.split(',').next()?;
        Some(pid.parse().unwrap())
    }

    fn removal(&self) -> (bool, String) {
        output(self.command().arg("--remove"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(pid) = self.answering() {
            let _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL);
            wait_until("the server has ended", || self.answering().is_none());
        }
        let (done, text) = self.removal();
        assert!(done || std::thread::panicking(), "{text}");
        let _ = std::fs::remove_dir(format!("/sys/fs/bpf/mezame-{}", self.tag));
    }
}

/// A process that does not outlive its test.
struct Server(Child);

impl Server {
    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id() as i32), signal).unwrap();
    }

    fn has_ended(&mut self) -> bool {
        let mut status = None;
        wait_until("the server has ended", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().success()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Hides `/run` and `/sys/fs/bpf` from the calling thread, and from all that it starts from now on,
/// behind mounts of its own (mount_namespaces(7)). Without root the test fails.
fn enter_sandbox() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "root is needed for network namespaces and eBPF; run this test as root"
    );
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    for (kind, place) in [("tmpfs", "/run"), ("bpf", "/sys/fs/bpf")] {
        mount(Some(kind), place, Some(kind), MsFlags::empty(), none).unwrap();
    }
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "still not: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_server_says_that_it_is_ready_and_ends_when_told_to() {
    let place = Place::new("lca");
    let mut server = place.start();
    assert_eq!(place.next_ready(), server.0.id());
    assert_eq!(place.answering(), Some(server.0.id()));
    server.signal(Signal::SIGTERM);
    assert!(server.has_ended());
    assert!(!place.run().join("takeover.sock").exists());
}

#[test]
fn a_second_start_takes_over_and_the_first_ends() {
    let place = Place::new("lcb");
    let mut first = place.start();
    place.next_ready();
    let second = place.start();
    assert_eq!(place.next_ready(), second.0.id());
    assert!(first.has_ended());
    assert_eq!(place.answering(), Some(second.0.id()));
}

#[test]
fn a_hangup_starts_a_successor_that_becomes_the_main_process() {
    let place = Place::new("lcc");
    let mut first = place.start();
    place.next_ready();
    first.signal(Signal::SIGHUP);
    let successor = place.next_ready();
    assert_ne!(successor, first.0.id());
    assert!(first.has_ended());
    assert_eq!(place.answering(), Some(successor));
}

#[test]
fn a_server_that_was_killed_leaves_nothing_that_hinders_the_next() {
    let place = Place::new("lcd");
    let mut first = place.start();
    place.next_ready();
    first.signal(Signal::SIGKILL);
    first.has_ended();
    let second = place.start();
    assert_eq!(place.next_ready(), second.0.id());
    assert_eq!(place.answering(), Some(second.0.id()));
}

#[test]
fn removal_is_refused_while_a_server_runs_and_takes_everything_away_after() {
    let place = Place::new("lce");
    let mut server = place.start();
    place.next_ready();
    let (done, text) = place.removal();
    assert!(!done && text.contains("stop it first"), "{text}");
    server.signal(Signal::SIGTERM);
    assert!(server.has_ended());
    let (done, text) = place.removal();
    assert!(done, "{text}");
    assert!(!Path::new("/run/netns").join(format!("mezame-{}", place.tag)).exists());
}
