//! Old contents of volumes, which restores in place have kept beside them (`--keep-old`).
//!
//! ```text
//!   POOL/ID.raw              what a hydration made of the volume
//!       /ID.restored-N.raw   what a restore in place did
//! ```
//! The volume is the one that its clone's record names; the others are old. What a hydration or a restore
//! that was not ended has begun is none, and nothing is said of a volume whose record can't be read.
//! Files of volumes that nobody knows are told of, and left alone: the records may be behind.

use std::{collections::BTreeMap, fs, path::PathBuf};

use mezame_images::{
    clone::{Pool as Directory, erase_old},
    volume::{Place, VolumeId},
};
use mezame_model::api::volumes::Leftover;

use super::{
    Erasure, ExecutorError, Facts, Local, Reason, delete::worst, hydration::target_name, room,
};

impl Local {
    pub(super) fn leftovers_now(&self, known: &[Facts]) -> Result<Vec<Leftover>, ExecutorError> {
        self.masters_id()?;
        let known: BTreeMap<&VolumeId, &Facts> = known.iter().map(|it| (&it.id, it)).collect();
        let mut all = Vec::new();
        // Of a pool that is away nothing is known, and beside a volume on a disk there is nothing.
        let there = |name: &String| Some((name.clone(), self.pool(name).ok()?));
        for (pool, directory) in self.settings.pools.keys().filter_map(there) {
            for (file, id, path) in plain_files(&directory)? {
                let facts = known.get(&id).copied();
                let is_old = match facts {
                    None => true,
                    Some(facts) => facts.pool == pool && self.is_old(facts, &file).unwrap_or(false),
                };
                if is_old {
                    let (host, bytes) = (self.host.clone(), room::taken(&path));
                    let (pool, volume, known) = (pool.clone(), id.to_string(), facts.is_some());
                    all.push(Leftover { pool, file, volume, known, bytes, host });
                }
            }
        }
        Ok(all)
    }

    /// Removes old contents of a volume that is claimed; None where there are none of this name.
    pub(super) fn remove_leftover_now(
        &self,
        facts: &Facts,
        file: &str,
    ) -> Result<Option<Erasure>, ExecutorError> {
        if self.has_disks(facts) {
            return Ok(None);
        }
        let directory = self.pool(&facts.pool)?;
        let mut files = plain_files(&directory)?.into_iter();
        let Some((_, _, path)) = files.find(|(name, id, _)| name == file && *id == facts.id) else {
            return Ok(None);
        };
        if !self.is_old(facts, file)? {
            let message = format!("{file} is what {} is now, or becomes", facts.id);
            return Err(ExecutorError::new(Reason::Conflict, message));
        }
        Ok(Some(worst([erase_old(&facts.id, &path)?])))
    }

    /// Whether a plain file of a volume is neither what it is nor what it is about to become.
    fn is_old(&self, facts: &Facts, file: &str) -> Result<bool, ExecutorError> {
        let (_, clone) = self.find(facts)?;
        let now = clone.hydrated().and_then(Place::path);
        let begun = self.records.begun_at(&facts.id)?;
        let is_named = |path: &PathBuf| path.file_name().is_some_and(|name| *name == *file);
        let is_target = clone.hydrated().is_none() && file == target_name(facts);
        let is_used = now.map(PathBuf::from).iter().chain(&begun).any(is_named);
        Ok(!is_used && !is_target)
    }
}

/// The files of a pool that are called as volumes that are plain, sorted; of which volumes.
fn plain_files(pool: &Directory) -> Result<Vec<(String, VolumeId, PathBuf)>, ExecutorError> {
    let failed = |error: std::io::Error| {
        ExecutorError::new(Reason::Failed, format!("{}: {error}", pool.path().display()))
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(pool.path()).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_file = entry.file_type().map_err(failed)?.is_file();
        if let Some(id) = volume_of(&name).filter(|_| is_file) {
            files.push((name, id, entry.path()));
        }
    }
    files.sort();
    Ok(files)
}

/// Which volume a file is of, or was, by its name.
pub(in super::super) fn volume_of(name: &str) -> Option<VolumeId> {
    let stem = name.strip_suffix(".raw")?;
    let id = match stem.split_once(".restored-") {
        Some((id, number)) => {
            let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
            is_number.then_some(id)?
        }
        None => stem,
    };
    VolumeId::parse(id).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_files_name_says_of_which_volume_it_is_and_no_others_does() {
        for name in ["web.raw", "web.restored-0.raw", "web.restored-10.raw"] {
            assert_eq!(volume_of(name).unwrap().as_str(), "web", "{name}");
        }
        for name in
            ["web.qcow2", ".raw", "WEB.raw", "web.restored-.raw", "web.restored-x.raw", "../a.raw"]
        {
            assert_eq!(volume_of(name), None, "{name}");
        }
    }
}
