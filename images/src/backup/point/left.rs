//! What a point in time makes under a name, and removes before it is open: a process that was killed
//! in between has left it, and the next point in time of the same disk removes it.
//!
//! None of it is in use, since a disk has one point in time at once.

use std::{ffi::OsStr, fs, path::Path};

use crate::backup::{disk::Disk, name::PointId};

/// What it is called.
pub(super) fn name(disk: &Disk, point: PointId, ending: &str) -> String {
    format!("{}-{point}.{ending}", disk.id())
}

/// Removes what earlier points in time of this disk have left.
pub(super) fn sweep(folder: &Path, disk: &Disk, ending: &str) {
    let is_left = |found: &OsStr| {
        let found = found.to_str()?;
        let (_, point) = found.strip_suffix(ending)?.strip_suffix('.')?.rsplit_once('-')?;
        (name(disk, PointId::parse(point).ok()?, ending) == found).then_some(())
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for left in entries.filter(|entry| is_left(&entry.file_name()).is_some()) {
        // A folder that can't be listed, or what stays in it, is no reason against a backup.
        let _ = match left.file_type() {
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(left.path()),
            _ => fs::remove_file(left.path()),
        };
    }
}
