//! What a master keeps of a clone.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{CloneError, failed, handover::Stage, ownership::Owner};
use crate::{
    encryption::Keyslots,
    volume::{FileIdentity, VolumeId},
};

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
    /// Which keys open its overlay, if that is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) keyslots: Option<Keyslots>,
    /// Which keys open the plain volume that it becomes, or has become, if that is encrypted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) plain_keyslots: Option<Keyslots>,
    /// Which host may start a QEMU on it, if that is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) owner: Option<Owner>,
}

/// All records in a directory, in the order of their ids.
pub(super) fn read_all(directory: &Path) -> Result<Vec<(VolumeId, Record)>, CloneError> {
    let mut records = each(directory)?.collect::<Result<Vec<_>, _>>()?;
    records.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(records)
}

/// Whether a record in a directory is of a clone in this pool.
pub(super) fn is_any_in(directory: &Path, pool: &FileIdentity) -> Result<bool, CloneError> {
    for record in each(directory)? {
        if record?.1.pool == *pool {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The records in a directory, read one by one.
fn each(
    directory: &Path,
) -> Result<impl Iterator<Item = Result<(VolumeId, Record), CloneError>> + '_, CloneError> {
    let entries = fs::read_dir(directory).map_err(failed("reading", directory))?;
    Ok(entries.filter_map(move |entry| {
        let path = match entry {
            Ok(entry) => entry.path(),
            Err(error) => return Some(Err(failed("reading", directory)(error))),
        };
        // One that was being written when the host stopped has another extension.
        path.extension().filter(|extension| *extension == "json")?;
        let id = VolumeId::parse(path.file_stem()?.to_str()?).ok()?;
        // None if it was removed while we were looking.
        let record = read(&path).transpose()?;
        Some(record.map(|record| (id, record)))
    }))
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
