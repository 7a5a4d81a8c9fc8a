//! Tests of what an image is restored to, with QEMU's own locks and a real block device.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::*;
use crate::testing::loop_device::Loop;

fn file(folder: &Path, length: u64) -> PathBuf {
    let path = folder.join("disk");
    fs::write(&path, vec![7; length as usize]).unwrap();
    path
}

#[test]
fn a_new_file_is_its_owner_s_alone_and_durable_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk");
    let mut target = FileTarget::create(&path).unwrap();
    target.prepare(1 << 20).unwrap();
    target.finish().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(FileTarget::create(&path).unwrap_err().kind(), ErrorKind::AlreadyExists);
    // A folder that was opened like this can't be synced, so this fails if it is asked for.
    let mut options = OpenOptions::new();
    let path_only = options.read(true).custom_flags(OFlag::O_PATH.bits()).open(folder.path());
    target.folder = Some(path_only.unwrap());
    assert!(target.finish().is_err(), "the folder was not synced");
}

/// Ended when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn qemu_io(path: &Path, commands: &[&str]) -> Command {
    let mut command = Command::new("qemu-io");
    command.args(["-f", "raw"]).arg(path).stdin(Stdio::null());
    for it in commands {
        command.args(["-c", it]);
    }
    command
}

#[test]
fn a_file_that_qemu_has_open_is_not_written_to_and_the_other_way_round() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), 1 << 20);
    let begin = Instant::now();
    let mut slow = qemu_io(&path, &["sleep 60000"]);
    let running = Running(slow.stdout(Stdio::null()).spawn().unwrap());
    let inode = format!(":{} ", fs::metadata(&path).unwrap().ino());
    while !fs::read_to_string("/proc/locks").unwrap().contains(&inode) {
        assert!(begin.elapsed() < Duration::from_secs(30), "QEMU has not locked it");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(FileTarget::open(&path).unwrap_err().kind(), ErrorKind::ResourceBusy);
    drop(running);
    let target = FileTarget::open(&path).unwrap();
    let out = qemu_io(&path, &["write 0 512"]).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(!out.status.success() && said.contains("lock"), "{out:?}");
    drop(target);
    let out = qemu_io(&path, &["write 0 512"]).output().unwrap();
    assert!(out.status.success(), "{out:?}");
}

#[test]
fn what_is_neither_a_file_nor_a_device_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(FileTarget::open(&pipe).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn nothing_of_what_a_device_held_is_left_behind_the_image() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), 5 << 20);
    let device = Loop::of(&path);
    // Neither a block's multiple nor ours.
    let size = (1 << 20) + 777;
    let target = FileTarget::open(&device.0).unwrap();
    target.prepare(size).unwrap();
    target.finish().unwrap();
    let bytes = fs::read(&device.0).unwrap();
    assert_eq!(bytes.len(), 5 << 20);
    assert!(bytes[..size as usize].iter().all(|byte| *byte == 7), "more was zeroed than it may be");
    assert!(is_zeros(&bytes[size as usize..]), "something is left");
    let refused = target.prepare((5 << 20) + 1).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::StorageFull);
}

#[test]
fn a_device_that_somebody_holds_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), 1 << 20);
    let device = Loop::of(&path);
    // As mounting it does.
    let mut options = OpenOptions::new();
    let flags = OFlag::O_EXCL.bits();
    let holder = options.read(true).custom_flags(flags).open(&device.0).unwrap();
    assert_eq!(FileTarget::open(&device.0).unwrap_err().kind(), ErrorKind::ResourceBusy);
    drop(holder);
    FileTarget::open(&device.0).unwrap();
}

#[test]
fn zeros_are_written_where_a_file_can_have_no_holes() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), 300_000);
    let target = FileTarget::open(&path).unwrap();
    target.overwrite_with_zeros(200_001, 50_000).unwrap();
    let bytes = fs::read(&path).unwrap();
    assert!(is_zeros(&bytes[50_000..250_001]));
    assert!(bytes[..50_000].iter().chain(&bytes[250_001..]).all(|byte| *byte == 7));
}
