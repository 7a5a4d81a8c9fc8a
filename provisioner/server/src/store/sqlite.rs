//! The store of one machine: an SQLite file, sealed bodies, one thread that owns the connection.
//!
//! Write-ahead log with `synchronous=FULL`: a generation that was answered survives a power
//! failure, so that it never goes back. The lock is exclusive for as long as the store is open:
//! two control planes on one file would tell hypervisors two truths.
//!
//! Names, revisions and events lie in the clear; records, reports, passwords and keys are sealed
//! with the row's name as associated data.

use std::{
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use mezame_model::{BoxFuture, InstanceId};
use rusqlite::{Connection, ErrorCode};
use tokio::sync::oneshot;

use super::{Batch, Body, Committed, Contents, EventPage, From, Store, StoreError, Trail, schema};
use crate::{environment::Environment, sealing::Keyring};

mod read;
mod reseal;
mod write;

type Job = Box<dyn FnOnce(&mut Session) + Send>;

/// Keeps everything in one SQLite file.
pub(crate) struct SqliteStore {
    /// None once it was closed.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
}

/// What the store's thread owns.
struct Session {
    connection: Connection,
    path: PathBuf,
    keys: Keyring,
    environment: Arc<dyn Environment>,
}

/// Says whether the file holds a database already, so that a lost key file is noticed.
pub(crate) fn exists(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|about| about.len() > 0)
}

impl SqliteStore {
    /// Opens or makes the file; waits up to `patience` for another process to let go of it.
    pub(crate) async fn open(
        path: &Path,
        keys: Keyring,
        environment: Arc<dyn Environment>,
        patience: Duration,
    ) -> Result<Self, StoreError> {
        let (send, jobs) = mpsc::channel::<Job>();
        let (answer, opened) = oneshot::channel();
        let path = path.to_path_buf();
        std::thread::Builder::new()
            .name("store".into())
            .spawn(move || match Session::open(path, keys, environment, patience) {
                Ok(mut session) => {
                    let _ = answer.send(Ok(()));
                    while let Ok(job) = jobs.recv() {
                        job(&mut session);
                    }
                }
                Err(error) => {
                    let _ = answer.send(Err(error));
                }
            })
            .map_err(StoreError::Thread)?;
        opened.await.map_err(|_| StoreError::Closed)??;
        Ok(Self { jobs: Mutex::new(Some(send)) })
    }

    /// Goes on with these keys, which open all that is stored.
    pub(crate) async fn use_keys(&self, keys: Keyring) -> Result<(), StoreError> {
        self.run(move |session| {
            session.keys = keys;
            Ok(())
        })
        .await
    }

    /// Runs a job on the store's thread.
    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Session) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, done) = oneshot::channel();
        let job: Job = Box::new(move |session| {
            let _ = answer.send(job(session));
        });
        let sent = match &*self.jobs.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(jobs) => jobs.send(job).is_ok(),
            None => false,
        };
        if !sent {
            return Err(StoreError::Closed);
        }
        done.await.map_err(|_| StoreError::Closed)?
    }
}

impl Session {
    fn open(
        path: PathBuf,
        keys: Keyring,
        environment: Arc<dyn Environment>,
        patience: Duration,
    ) -> Result<Self, StoreError> {
        let at = |source: rusqlite::Error| match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                StoreError::InUse { path: path.clone() }
            }
            _ => StoreError::Database { path: path.clone(), source },
        };
        make_file(&path)?;
        let mut connection = Connection::open(&path).map_err(at)?;
        connection.busy_timeout(patience).map_err(at)?;
        connection.set_prepared_statement_cache_capacity(64);
        // Exclusive before anything else: the mode takes hold with the first lock.
        connection
            .execute_batch(
                "PRAGMA locking_mode = EXCLUSIVE;
                 BEGIN EXCLUSIVE; COMMIT;
                 PRAGMA journal_mode = WAL;
                 PRAGMA synchronous = FULL;
                 PRAGMA secure_delete = ON;
                 PRAGMA cache_size = -16384;",
            )
            .map_err(at)?;
        schema::migrate(&mut connection, &path)?;
        Ok(Self { connection, path, keys, environment })
    }

    fn failed(path: &Path) -> impl Fn(rusqlite::Error) -> StoreError + Copy + '_ {
        move |source| StoreError::Database { path: path.into(), source }
    }
}

impl Store for SqliteStore {
    fn load(&self) -> BoxFuture<'_, Result<Contents, StoreError>> {
        Box::pin(self.run(|session| session.load()))
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Committed, StoreError>> {
        Box::pin(self.run(|session| session.commit(batch)))
    }

    fn events(&self, from: From, most: usize) -> BoxFuture<'_, Result<EventPage, StoreError>> {
        Box::pin(self.run(move |session| session.events(from, most)))
    }

    fn reports(&self, of: InstanceId) -> BoxFuture<'_, Result<Vec<(u64, Body)>, StoreError>> {
        Box::pin(self.run(move |session| session.said("report", &of)))
    }

    fn passwords(&self, of: InstanceId) -> BoxFuture<'_, Result<Vec<(u64, Body)>, StoreError>> {
        Box::pin(self.run(move |session| session.said("password", &of)))
    }

    fn key_requests(
        &self,
        of: InstanceId,
        trail: Trail,
    ) -> BoxFuture<'_, Result<Vec<(u64, Body)>, StoreError>> {
        Box::pin(self.run(move |session| session.said(trail.as_str(), &of)))
    }

    fn reseal(&self, keys: Keyring) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.run(move |session| session.reseal(keys)))
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            // The last job of the queue waits for those before it; then the sender goes, the
            // thread ends, and with it the connection and its lock.
            let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(jobs) = jobs else { return };
            let (answer, done) = oneshot::channel::<()>();
            let _ = jobs.send(Box::new(move |session| {
                if let Ok(spare) = Connection::open_in_memory() {
                    // Closing checkpoints the log and frees the lock before the answer.
                    drop(std::mem::replace(&mut session.connection, spare));
                }
                let _ = answer.send(());
            }));
            drop(jobs);
            let _ = done.await;
        })
    }
}

/// Makes the file before SQLite would, with a mode that lets nobody else read names and events;
/// the log gets the same. A file that is there is not opened: closing it would free the locks
/// that SQLite has on it in this process (fcntl(2), F_SETLK).
fn make_file(path: &Path) -> Result<(), StoreError> {
    match std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Err(source) if source.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(StoreError::File { path: path.into(), source })
        }
        _ => Ok(()),
    }
}

/// What a sealed body is bound to, so that it opens in its own row only.
fn bound_to(parts: &[&str]) -> Vec<u8> {
    parts.join("\0").into_bytes()
}

#[cfg(test)]
mod tests;
