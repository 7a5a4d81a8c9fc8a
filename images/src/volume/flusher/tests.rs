//! One server for the flushers of a real QEMU, found again, and never taken from another.

use std::{
    process::{Child, Command},
    time::Duration,
};

use super::{server::ServerError, *};
use crate::{
    environment::SystemEnvironment,
    volume::{Data, Durability, HostCache, Place},
};

const BOUND: Duration = Duration::from_secs(60);

/// A QEMU with two volumes.
struct Machine {
    child: Child,
    qmp: Qmp,
    directory: tempfile::TempDir,
    volumes: [Volume; 2],
}

impl Machine {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("qmp");
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-machine", "q35,accel=tcg", "-nodefaults", "-display", "none", "-S", "-qmp"])
            .arg(format!("unix:{},server=on,wait=off", socket.display()));
        let volumes = ["web", "db"].map(|id| {
            let path = directory.path().join(id);
            std::fs::write(&path, [0; 512]).unwrap();
            let (id, data) = (VolumeId::parse(id).unwrap(), Data::Plain(Place::File(path)));
            Volume::new(id, data, Durability::Plain, HostCache::Direct).unwrap()
        });
        for volume in &volumes {
            let mut device = volume.device();
            device["share-rw"] = true.into();
            qemu.args(["-blockdev", &volume.blockdev().to_string()]);
            qemu.args(["-device", &device.to_string()]);
        }
        let child = qemu.spawn().unwrap();
        let begin = Instant::now();
        let qmp = loop {
            match Qmp::connect(&socket, BOUND) {
                Ok(qmp) => break qmp,
                Err(error) => assert!(begin.elapsed() < BOUND, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        Self { child, qmp, directory, volumes }
    }

    fn ensure(&mut self, at: usize) -> Result<PathBuf, ServerError> {
        let environment = SystemEnvironment::new();
        server::ensure(&mut self.qmp, &self.volumes[at], self.directory.path(), &environment)
    }

    fn end(&mut self, at: usize) {
        server::end(&mut self.qmp, &self.volumes[at], self.directory.path()).unwrap();
    }

    fn socket(&mut self) -> Option<PathBuf> {
        server::socket(&mut self.qmp, self.directory.path()).unwrap()
    }

    fn flush(&self, socket: &Path, at: usize) -> Result<(), NbdError> {
        Nbd::connect(socket, self.volumes[at].id().as_str(), BOUND)?.flush()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_guest_has_one_server_for_all_of_its_flushers_which_ends_with_the_last_export() {
    let mut machine = Machine::start();
    assert_eq!(machine.socket(), None);
    let socket = machine.ensure(0).unwrap();
    assert_eq!(machine.ensure(1).unwrap(), socket);
    // As by a process that was started since.
    assert_eq!(machine.ensure(0).unwrap(), socket);
    assert_eq!(machine.socket(), Some(socket.clone()));
    machine.flush(&socket, 0).unwrap();
    machine.end(0);
    assert!(machine.flush(&socket, 0).is_err());
    machine.flush(&socket, 1).unwrap();
    machine.end(1);
    assert_eq!(machine.socket(), None);
    assert!(!socket.exists());
    machine.end(1);
    let again = machine.ensure(1).unwrap();
    machine.flush(&again, 1).unwrap();
}

#[test]
fn a_server_that_is_another_s_is_neither_used_nor_stopped() {
    let mut machine = Machine::start();
    let theirs = machine.directory.path().join("theirs");
    serve(&mut machine.qmp, &theirs).unwrap();
    assert!(matches!(machine.ensure(0), Err(ServerError::Taken { .. })));
    assert_eq!(machine.socket(), None);
    machine.end(0);
    export(&mut machine.qmp, &machine.volumes[0]).unwrap();
    machine.flush(&theirs, 0).unwrap();
}

#[test]
fn a_server_that_a_killed_process_had_not_started_or_whose_socket_is_lost_is_begun_anew() {
    let mut machine = Machine::start();
    let node = json!({ "driver": "null-co", "node-name": "flush_00000000000000ab", "size": 0 });
    machine.qmp.execute("blockdev-add", node).unwrap();
    let socket = machine.ensure(0).unwrap();
    assert_eq!(socket, machine.directory.path().join("00000000000000ab.flush"));
    machine.flush(&socket, 0).unwrap();
    std::fs::remove_file(&socket).unwrap();
    assert_eq!(machine.ensure(0).unwrap(), socket);
    machine.flush(&socket, 0).unwrap();
    // Not while something else is served there.
    let other = json!({ "type": "nbd", "id": "other", "node-name": "db", "writable": false });
    machine.qmp.execute("block-export-add", other).unwrap();
    std::fs::remove_file(&socket).unwrap();
    assert!(matches!(machine.ensure(0), Err(ServerError::Taken { .. })));
    assert!(machine.qmp.exports().unwrap().contains(&"other".to_owned()));
}

#[test]
fn a_disk_is_known_in_the_qemu_that_has_it_alone_and_an_old_socket_is_swept_away() {
    let mut machine = Machine::start();
    assert!(server::has(&mut machine.qmp, &machine.volumes[0]).unwrap());
    let elsewhere = VolumeId::parse("elsewhere").unwrap();
    let data = Data::Plain(Place::File("/nowhere".into()));
    let other = Volume::new(elsewhere, data, Durability::Plain, HostCache::Direct).unwrap();
    assert!(!server::has(&mut machine.qmp, &other).unwrap());
    let old = machine.directory.path().join("00000000000000cd.flush");
    drop(std::os::unix::net::UnixListener::bind(&old).unwrap());
    let ours = machine.ensure(0).unwrap();
    assert!(!old.exists() && ours.exists());
}

#[test]
fn flushes_that_come_too_late_are_counted() {
    let mut machine = Machine::start();
    let socket = machine.ensure(0).unwrap();
    let interval = FlushInterval::new(Duration::from_millis(200)).unwrap();
    let flusher = Flusher::start(&socket, machine.volumes[0].id(), interval).unwrap();
    let until = |is_so: &dyn Fn(FlushStatus) -> bool| {
        let begin = Instant::now();
        while !is_so(flusher.status()) {
            assert!(begin.elapsed() < BOUND, "{:?}", flusher.status());
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    until(&|status| status.flushes > 0);
    let before = flusher.status().lates;
    machine.end(0);
    until(&|status| status.is_failing && !status.is_kept(interval, Instant::now()));
    // Another server, which the flusher finds by the name of the one that has ended.
    let again = machine.ensure(0).unwrap();
    std::os::unix::fs::symlink(&again, &socket).unwrap();
    until(&|status| status.lates > before && !status.is_failing);
}
