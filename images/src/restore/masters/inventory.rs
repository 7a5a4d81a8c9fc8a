//! Which masters a directory has, what they take, and what is left there of others.
//!
//! It holds no lock: a master that is made or removed meanwhile is seen as it was or as it will be. So
//! what is read here decides nothing; removing one asks under its lock.

use std::{collections::BTreeSet, fs, io, os::unix::fs::MetadataExt, path::Path};

use super::{MasterName, Masters};
use crate::{
    clone::Master,
    restore::{RestoreError, beside},
};

/// How much of a master is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// All of it.
    Whole,
    /// A part: it is being fetched or removed, or that was cut short.
    Partial,
    /// It can't be read what it is.
    Damaged,
}

/// A master, or what is there of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which.
    pub name: MasterName,
    /// How much of it is there.
    pub stage: Stage,
    /// Bytes that it takes of its file system, parts and all.
    pub bytes: u64,
    /// Its length as guests see it, of a whole one.
    pub size: Option<u64>,
    /// Whether it has a key of its own.
    pub is_encrypted: bool,
    /// How many clones stand on it.
    pub clones: usize,
}

impl Masters {
    /// All that there are, whole or not, sorted by name.
    pub fn list(&self) -> Result<Vec<Listed>, RestoreError> {
        let failed = || RestoreError::io("reading", &self.directory);
        let mut names = BTreeSet::new();
        for entry in fs::read_dir(&self.directory).map_err(failed())? {
            let name = entry.map_err(failed())?.file_name();
            let Some(name) = name.to_str() else { continue };
            let parts = [".raw", ".new", ".removed"];
            let stem = parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
            names.extend(MasterName::parse(stem));
        }
        let looked = names.iter().filter_map(|name| self.look(name).transpose());
        looked.collect()
    }

    /// One of them, if anything of it is there.
    pub fn look(&self, name: &MasterName) -> Result<Option<Listed>, RestoreError> {
        let path = self.path(name);
        let is_there = |path: &Path| path.try_exists().map_err(RestoreError::io("finding", path));
        let (mut bytes, mut is_any) = (0_u64, is_there(&path)?);
        let parts = [".raw", ".new", ".removed"].map(|part| beside(&path, part));
        let files = [&path, &parts[1], &parts[2]].map(|folder| folder.join("image"));
        for file in [&parts[0], &files[0], &files[1], &files[2]] {
            bytes += taken(file).map_err(RestoreError::io("reading", file))?;
        }
        for part in &parts {
            is_any |= is_there(part)?;
        }
        if !is_any {
            return Ok(None);
        }
        let nothing = |stage| Listed {
            name: *name,
            stage,
            bytes,
            size: None,
            is_encrypted: false,
            clones: 0,
        };
        let read = Master::open(&path).and_then(|it| it.clone_ids().map(|ids| (it, ids.len())));
        Ok(Some(match read {
            Ok((master, clones)) => Listed {
                size: Some(master.size()),
                is_encrypted: master.backing().is_encrypted,
                clones,
                ..nothing(Stage::Whole)
            },
            Err(_) if is_there(&path)? => nothing(Stage::Damaged),
            Err(_) => nothing(Stage::Partial),
        }))
    }
}

/// Bytes that a file takes of its file system; none where it is not there.
fn taken(path: &Path) -> io::Result<u64> {
    match fs::symlink_metadata(path) {
        // stat(2) counts such blocks, whatever the file system's are.
        Ok(metadata) => Ok(metadata.blocks().saturating_mul(512)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}
