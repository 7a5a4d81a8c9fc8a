//! Where seeds come from: the files, folders and standard input that `-f` names.
//!
//! The only part of reading seeds that touches files. A folder stands for its `.yaml`, `.yml` and
//! `.json` files, sorted by name. No more than a seed may have is ever read of a file.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use super::{MAX_BYTES, attachment::ReadFile};

/// How many files one command reads at most.
pub const MAX_FILES: usize = 10_000;

/// One seed's bytes and where they came from. A seed may hold passwords, so Debug shows only where.
#[derive(Clone)]
pub struct Source {
    /// As shown in messages: a path as the operator wrote it, or `<stdin>`.
    pub name: String,
    /// What relative paths in it are relative to.
    pub folder: PathBuf,
    /// Its contents, cut just beyond [`MAX_BYTES`].
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Source({}, {} bytes)", self.name, self.bytes.len())
    }
}

/// Why a seed can't be had.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A file or folder can't be read.
    #[error("{path} can't be read")]
    Unreadable {
        /// As the operator wrote it.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A folder without a seed.
    #[error("{path} has no .yaml, .yml or .json file")]
    EmptyFolder {
        /// As the operator wrote it.
        path: String,
    },
    /// More files than [`MAX_FILES`].
    #[error("more than {MAX_FILES} files")]
    TooManyFiles,
    /// `-` twice.
    #[error("standard input ('-') can be read only once")]
    StdinTwice,
}

/// Reads what each `-f` names, in their order.
pub fn collect(names: &[String], recursive: bool) -> Result<Vec<Source>, SourceError> {
    let mut sources = Vec::new();
    let mut stdin_read = false;
    for name in names {
        if name == "-" {
            if std::mem::replace(&mut stdin_read, true) {
                return Err(SourceError::StdinTwice);
            }
            let bytes =
                take(io::stdin().lock()).map_err(|e| unreadable(Path::new("<stdin>"), e))?;
            sources.push(Source { name: "<stdin>".into(), folder: PathBuf::new(), bytes });
            continue;
        }
        let path = Path::new(name);
        let mut files = Vec::new();
        if fs::metadata(path).map_err(|e| unreadable(path, e))?.is_dir() {
            list(path, recursive, &mut files)?;
            if files.is_empty() {
                return Err(SourceError::EmptyFolder { path: name.clone() });
            }
        } else {
            files.push(path.to_owned());
        }
        for file in files {
            if sources.len() >= MAX_FILES {
                return Err(SourceError::TooManyFiles);
            }
            let bytes = File::open(&file).and_then(take).map_err(|e| unreadable(&file, e))?;
            sources.push(Source {
                name: file.display().to_string(),
                folder: file.parent().map(Path::to_owned).unwrap_or_default(),
                bytes,
            });
        }
    }
    Ok(sources)
}

fn list(folder: &Path, recursive: bool, files: &mut Vec<PathBuf>) -> Result<(), SourceError> {
    let unreadable_here = |e| unreadable(folder, e);
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .map_err(unreadable_here)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()
        .map_err(unreadable_here)?;
    entries.sort();
    for path in entries {
        if files.len() > MAX_FILES {
            return Err(SourceError::TooManyFiles);
        }
        let is_seed = path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        // Links to folders are not followed, so that a walk ends.
        let is_folder = fs::symlink_metadata(&path).is_ok_and(|data| data.is_dir());
        if is_folder {
            if recursive {
                list(&path, true, files)?;
            }
        } else if is_seed {
            files.push(path);
        }
    }
    Ok(())
}

fn take(reader: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn unreadable(path: &Path, source: io::Error) -> SourceError {
    SourceError::Unreadable { path: path.display().to_string(), source }
}

/// Files of this machine.
#[derive(Debug, Clone, Copy)]
pub struct LocalFiles;

impl ReadFile for LocalFiles {
    fn read_file(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(path)?.take(limit as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}
