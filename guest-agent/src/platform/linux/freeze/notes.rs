//! What is frozen, or does not thaw, in a file for each helper.
//!
//! A helper that ends late removes its own note and not the next one's. The directory is there while
//! anything is noted.

use std::{fs, io, path::Path};

use super::LinuxSystem;
use crate::freeze::{
    freezer::{self, Recovered},
    mounts::Mount,
};

/// The most notes that are read.
const MOST_NOTES: usize = 64;
/// The longest note that is read, in bytes.
const LONGEST_NOTE: u64 = 1 << 20;

/// Writes one.
pub(super) fn write(note: &Path, mounts: &[Mount]) -> io::Result<()> {
    let json = serde_json::to_vec(mounts).map_err(io::Error::other)?;
    let write = || {
        // The agent's own directory in /run, and the one of notes in it.
        for directory in [note.parent().and_then(Path::parent), note.parent()] {
            directory.map_or(Ok(()), crate::platform::create_private_directory)?;
        }
        fs::write(note, &json)
    };
    match write() {
        // Another helper has removed the directory, which was empty.
        Err(error) if error.kind() == io::ErrorKind::NotFound => write(),
        other => other,
    }
}

/// Removes one; another helper's stays.
pub(super) fn remove(note: &Path) -> io::Result<()> {
    match fs::remove_file(note) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if let Some(notes) = note.parent() {
        // Another helper's may be there.
        let _ = fs::remove_dir(notes);
    }
    Ok(())
}

/// Thaws all that is noted; what can't be thawed stays noted.
pub(super) fn thaw(notes: &Path) -> Recovered {
    let mut all = Recovered::default();
    for note in fs::read_dir(notes).into_iter().flatten().flatten().take(MOST_NOTES) {
        let path = note.path();
        let length = note.metadata().map_or(0, |it| it.len());
        let read = (1..=LONGEST_NOTE).contains(&length).then(|| fs::read(&path).ok()).flatten();
        let noted: Vec<Mount> =
            read.and_then(|note| serde_json::from_slice(&note).ok()).unwrap_or_default();
        let Recovered { thawed, left } = freezer::recover(&LinuxSystem::noting(path), &noted);
        all.thawed += thawed;
        all.left.extend(left);
    }
    all
}
