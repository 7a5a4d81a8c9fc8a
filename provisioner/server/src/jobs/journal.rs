//! Jobs on the disk, so that one that the provisioner's end cut short is told of and not lost.
//!
//! A file for each, written beside its place and renamed: it is whole or not there. How far a job
//! is is not written, only what state it is in.
//!
//! A thread writes: an fsync(2) takes seconds where a large file is being written to the same file
//! system, and those who ask for jobs must not wait for that. Who needs to know waits by
//! [`Noted`].

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    time::Duration,
};

use tokio::sync::oneshot;

use mezame_model::api::jobs::Job;

/// Files that are read at the start; jobs are forgotten long before there are so many.
const MOST: usize = 10_000;

/// Resolves once a record is durable, or can't be made so.
pub(crate) type Noted = oneshot::Receiver<io::Result<()>>;

/// What the thread does next.
enum Order {
    Write(Box<Job>, oneshot::Sender<io::Result<()>>),
    Remove(String),
}

/// A directory of jobs.
pub(crate) struct Journal {
    folder: PathBuf,
    /// None once it is closed. There are never more orders than a few for each unfinished job.
    orders: Mutex<Option<Sender<Order>>>,
    /// Disconnected once all is written.
    ended: Mutex<Receiver<()>>,
}

impl Journal {
    /// Opens it, made with mode 0700 where it is missing.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let (orders, coming) = channel();
        let (running, ended) = channel();
        let files = Files { folder: folder.into() };
        let work = move || {
            let _running: Sender<()> = running;
            files.carry_out(&coming);
        };
        std::thread::Builder::new().name("job-journal".into()).spawn(work)?;
        let orders = Mutex::new(Some(orders));
        Ok(Self { folder: folder.into(), orders, ended: Mutex::new(ended) })
    }

    /// All jobs that are there. What can't be read is left where it is, and logged.
    pub(crate) fn load(&self) -> io::Result<Vec<Job>> {
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

    /// Has a job written, durably, after all that was asked for before.
    pub(crate) fn write(&self, job: &Job) -> Noted {
        let (tell, noted) = oneshot::channel();
        self.order(Order::Write(Box::new(job.clone()), tell));
        noted
    }

    /// Has a job forgotten.
    pub(crate) fn remove(&self, id: &str) {
        self.order(Order::Remove(id.into()));
    }

    /// Takes nothing more, and waits for what was asked for, as long as this; whether all is done.
    pub(crate) fn close(&self, patience: Duration) -> bool {
        drop(self.orders.lock().unwrap_or_else(PoisonError::into_inner).take());
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        matches!(ended.recv_timeout(patience), Err(RecvTimeoutError::Disconnected))
    }

    fn order(&self, order: Order) {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        // After the end nothing is noted: the next process has read what is there.
        if let Some(orders) = &*orders {
            let _ = orders.send(order);
        }
    }
}

/// The files themselves.
struct Files {
    folder: PathBuf,
}

impl Files {
    fn carry_out(&self, orders: &Receiver<Order>) {
        for order in orders {
            match order {
                Order::Write(job, tell) => {
                    let written = self.write(&job);
                    // Where it can't be written the job goes on: what a restart would tell of it is
                    // wrong, and what it does is not.
                    if let Err(error) = &written {
                        tracing::error!(job = job.id, %error, "a job's record can't be written");
                    }
                    // Most don't wait for it.
                    let _ = tell.send(written);
                }
                Order::Remove(id) => self.remove(&id),
            }
        }
    }

    fn write(&self, job: &Job) -> io::Result<()> {
        let text = serde_json::to_vec(job)?;
        let beside = self.folder.join(format!("{}.new", job.id));
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&beside, self.path(&job.id))?;
        File::open(&self.folder)?.sync_all()
    }

    fn remove(&self, id: &str) {
        if let Err(error) = fs::remove_file(self.path(id)) {
            tracing::warn!(id, %error, "a job's record can't be removed");
        }
    }

    /// An id is our own, of digits alone, or a file's name that was read here.
    fn path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }
}
