//! Jobs on the disk, so that one that the provisioner's end cut short is told of and not lost.
//!
//! A file for each, written beside its place and renamed: it is whole or not there. How far a job
//! is is not written, only what state it is in.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use mezame_model::api::images::ImageJob;

/// Files that are read at the start; jobs are forgotten long before there are so many.
const MOST: usize = 10_000;

/// A directory of jobs.
pub(crate) struct Journal {
    folder: PathBuf,
}

impl Journal {
    /// Opens it, made with mode 0700 where it is missing.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self { folder: folder.into() })
    }

    /// All jobs that are there. What can't be read is left where it is, and logged.
    pub(crate) fn load(&self) -> io::Result<Vec<ImageJob>> {
        let mut jobs = Vec::new();
        for entry in fs::read_dir(&self.folder)?.take(MOST) {
            let path = entry?.path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let read = fs::read(&path).and_then(|text| Ok(serde_json::from_slice(&text)?));
            match read {
                Ok(job) => jobs.push(job),
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "a job's record can't be read");
                }
            }
        }
        Ok(jobs)
    }

    /// Writes a job, durably.
    pub(crate) fn write(&self, job: &ImageJob) -> io::Result<()> {
        let text = serde_json::to_vec(job)?;
        let beside = self.folder.join(format!("{}.new", job.id));
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&beside, self.path(&job.id))?;
        File::open(&self.folder)?.sync_all()
    }

    /// Forgets a job.
    pub(crate) fn remove(&self, id: &str) {
        if let Err(error) = fs::remove_file(self.path(id)) {
            tracing::warn!(id, %error, "a job's record can't be removed");
        }
    }

    /// An id is our own, of digits alone, or a file's name that was read here.
    fn path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }
}
