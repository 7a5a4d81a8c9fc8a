//! An import: asked for, sent, checked, archived.
//!
//! The file comes over the client's connection and is written by a thread of its own. Once it is
//! whole the client may go: what follows is a worker's.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use mezame_images::archive::{
    Detail, FileImport, KeyOf, Kind, NewImage as NewArchiveImage, Progress, Provenance, Watch,
};
use mezame_model::{
    ProjectName,
    api::{
        images::NewImage,
        jobs::{Job, JobKind, JobState},
    },
};
use tokio::sync::{mpsc, oneshot};

use super::{
    Images, ImagesError, fault,
    order::{Allowed, Order},
    upload::Upload,
};
use crate::{
    fault::{chain, plain},
    jobs::{JobsError, Outcome, Ticket, Unfinished},
};

/// Parts of a file that wait to be written; each is as long as the connection's buffer at most.
const PARTS: usize = 16;

/// An import that waits for its file.
pub(super) struct Asked {
    project: ProjectName,
    order: Order,
}

/// A part of a file, or its end: without one the file is not whole.
enum Part {
    Bytes(Bytes),
    End,
}

/// The way of a file from a connection to the disk.
pub(crate) struct Sending {
    parts: mpsc::Sender<Part>,
    told: oneshot::Receiver<Job>,
}

impl Sending {
    /// Takes the next part; false once nothing more is wanted.
    pub(crate) async fn send(&self, bytes: Bytes) -> bool {
        self.parts.send(Part::Bytes(bytes)).await.is_ok()
    }

    /// The file is whole. Answers the job, which has failed where the file was not as was said.
    pub(crate) async fn finish(self) -> Result<Job, ImagesError> {
        // Whoever wrote it has ended already where this fails, and has told why.
        let _ = self.parts.send(Part::End).await;
        self.told.await.map_err(|_| ImagesError::Ending)
    }

    /// What came of it after nothing more was wanted.
    pub(crate) async fn refused(self) -> Result<Job, ImagesError> {
        drop(self.parts);
        self.told.await.map_err(|_| ImagesError::Ending)
    }
}

impl Images {
    /// Begins an import, which then waits for its file. `projects` is held.
    pub(crate) async fn begin_import(
        self: &Arc<Self>,
        project: &ProjectName,
        new: NewImage,
    ) -> Result<Job, ImagesError> {
        let allowed = Allowed { upload: self.room.most(), disk: self.settings.largest_bytes };
        let order = Order::of(new, allowed).map_err(ImagesError::Faults)?;
        if matches!(self.key_of(project), KeyOf::Away) {
            return Err(ImagesError::Faults(vec![key_away()]));
        }
        let (room, size) = (Arc::clone(&self.room), order.size.unwrap_or(0));
        // A site whose archive is not there takes no files. The folder may hang as the archive may.
        self.ask(move |_, _| room.check(size).map_err(|fault| ImagesError::Site(vec![fault])))
            .await?;
        let mut ticket =
            self.jobs.begin(JobKind::Import, Some(project), None, JobState::Awaiting)?;
        ticket.noted().await?;
        let job = ticket.shown()?;
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        // Those whose files never came.
        orders.retain(|id, _| {
            self.jobs.get(None, id).is_some_and(|job| job.state == JobState::Awaiting)
        });
        orders.insert(job.id.clone(), Asked { project: project.clone(), order });
        ticket.leave();
        Ok(job)
    }

    /// Begins to take the file of an import.
    pub(crate) fn begin_upload(
        self: &Arc<Self>,
        project: &ProjectName,
        id: &str,
    ) -> Result<Sending, ImagesError> {
        let ticket = Ticket::take(&self.jobs, project, id)?;
        let asked = self.orders.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        let asked = asked.ok_or(JobsError::NoJob)?;
        let (parts, coming) = mpsc::channel(PARTS);
        let (tell, told) = oneshot::channel();
        let images = Arc::clone(self);
        let thread = std::thread::Builder::new().name("image-upload".into());
        let receive = move || images.receive(ticket, asked, coming, tell);
        thread.spawn(receive).map_err(ImagesError::Thread)?;
        Ok(Sending { parts, told })
    }

    /// Writes a file as it comes, then gives it to a worker.
    fn receive(
        self: &Arc<Self>,
        ticket: Ticket,
        asked: Asked,
        coming: mpsc::Receiver<Part>,
        tell: oneshot::Sender<Job>,
    ) {
        let id = ticket.id().to_owned();
        match self.written(&ticket, &asked.order, coming) {
            Err(failed) => ticket.finish(Err(failed)),
            Ok(upload) => {
                ticket.enter(JobState::Queued);
                let images = Arc::clone(self);
                let work = move || {
                    ticket.enter(JobState::Running);
                    let result = images.import(&ticket, &asked, &upload);
                    drop(upload);
                    ticket.finish(result);
                };
                // As many may wait as jobs may be; where the end has come the ticket tells so.
                let _ = self.workers.submit(work);
            }
        }
        if let Ok(job) = self.job(None, &id) {
            // Who sent it may be gone.
            let _ = tell.send(job);
        }
    }

    fn written(
        &self,
        ticket: &Ticket,
        order: &Order,
        mut coming: mpsc::Receiver<Part>,
    ) -> Result<Upload, Unfinished> {
        let mut upload = Upload::begin(&self.room, ticket.id(), order)?;
        let total = order.size.unwrap_or(0);
        loop {
            let part = coming.blocking_recv();
            if ticket.ticker().is_cancelled() {
                return Err(Unfinished::Cancelled);
            }
            match part {
                Some(Part::Bytes(bytes)) => upload.write(&bytes, order)?,
                Some(Part::End) => break,
                None => {
                    let message =
                        format!("the connection ended after {} bytes of the file", upload.length());
                    return Err(plain("", message, "import it again").into());
                }
            }
            ticket.ticker().tell(Progress { done: upload.length(), total, written: 0 });
        }
        upload.check(order)?;
        Ok(upload)
    }

    fn import(
        &self,
        ticket: &Ticket,
        asked: &Asked,
        upload: &Upload,
    ) -> Result<Outcome, Unfinished> {
        let archive = self.for_jobs.archive().map_err(|error| {
            Unfinished::from(plain("archive", chain(&error), "ask the operator"))
        })?;
        let Asked { project, order } = asked;
        let key = match self.key_of(project) {
            KeyOf::Open => None,
            KeyOf::Key(key) => Some(key),
            KeyOf::Away => return Err(key_away().into()),
        };
        let provenance = Provenance { source: order.source.clone(), ..Provenance::default() };
        let (name, labels) = (order.name.clone(), order.labels.clone());
        let new = NewArchiveImage {
            project,
            kind: Kind::Imported,
            detail: Detail { name, labels, provenance },
            key: key.as_ref(),
            base: None,
        };
        let file = FileImport {
            path: upload.path(),
            format: order.format,
            sha256: order.sha256,
            signature: order.signature.as_ref().map(|(signature, keys)| (signature, &**keys)),
            largest: order.largest,
            scratch: self.room.folder(),
            reserve: self.room.reserve(),
            patience: Duration::from_secs(u64::from(self.settings.conversion_minutes) * 60),
        };
        match archive.import_file(&file, new, ticket.ticker()) {
            Ok(imported) => Ok(Outcome {
                image: Some(imported.image.id.to_string()),
                figures: [("written".to_owned(), imported.written)].into(),
                faults: Vec::new(),
                ..Outcome::default()
            }),
            Err(error) => Err(fault::of_foreign(&error, upload.path())),
        }
    }
}

fn key_away() -> mezame_model::api::Fault {
    plain("project", "the key of this encrypted project is not at hand", "ask the operator")
}
