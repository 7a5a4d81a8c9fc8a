//! What a master keeps of a clone.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{CloneError, failed, handover::Stage};
use crate::volume::{FileIdentity, VolumeId};

/// Where a clone is, and which file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) path: PathBuf,
    pub(super) identity: FileIdentity,
    /// Of which pool, by its marker.
    pub(super) pool: FileIdentity,
    /// Whether its volume is the overlay or, once it was hydrated, a plain one.
    pub(super) stage: Stage,
    /// Whether we have stopped its guest, or were about to, to hand it over.
    pub(super) is_held: bool,
}

/// All records in a directory, in the order of their ids.
pub(super) fn read_all(directory: &Path) -> Result<Vec<(VolumeId, Record)>, CloneError> {
    let entries = fs::read_dir(directory)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(failed("reading", directory))?;
    let mut records = Vec::new();
    for path in entries.iter().map(fs::DirEntry::path) {
        // One that was being written when the host stopped has another extension.
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let Some(id) = path.file_stem().and_then(|stem| VolumeId::parse(stem.to_str()?).ok())
        else {
            continue;
        };
        // Removed while we were looking.
        let Some(record) = read(&path)? else { continue };
        records.push((id, record));
    }
    records.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(records)
}

/// One record, if it is there.
pub(super) fn read(path: &Path) -> Result<Option<Record>, CloneError> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(failed("reading", path))?,
    };
    let record = serde_json::from_slice(&text);
    record.map(Some).map_err(|source| CloneError::Record { path: path.into(), source })
}
