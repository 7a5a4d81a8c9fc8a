//! An image on its way out: read by a thread, taken by a connection, a few parts between them.
//!
//! A connection that takes nothing for a while is given up, since the thread is one of few. Where
//! the image is damaged the answer breaks off: who counts its bytes sees that it is not whole.

use std::{
    io::{self, Write},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use mezame_images::archive::{ArchiveError, ImageId, Progress, Visible, Watch};
use mezame_model::ProjectName;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{Images, ImagesError, view};
use crate::fault::chain;

/// Parts that wait for the connection.
const PARTS: usize = 16;
/// Bytes of a part: a chunk.
const PART: usize = 256 << 10;
/// How long a connection may take nothing.
const STALLED: Duration = Duration::from_secs(60);
/// How long the thread rests where the connection is slower.
const REST: Duration = Duration::from_millis(5);

/// What a connection reads; an error breaks the answer off.
pub(crate) type Parts = mpsc::Receiver<io::Result<Bytes>>;

/// An image that is about to be read out.
pub(crate) struct Download {
    visible: Visible,
    permit: OwnedSemaphorePermit,
}

impl Download {
    /// The disk's length in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.visible.image().size
    }

    /// The digest of its contents.
    pub(crate) fn content(&self) -> String {
        self.visible.image().content.to_string()
    }
}

impl Images {
    /// Looks whether an image can be read out.
    pub(crate) async fn prepare_download(
        self: &Arc<Self>,
        project: &ProjectName,
        id: ImageId,
    ) -> Result<Download, ImagesError> {
        let most = self.settings.downloads;
        let permit = Arc::clone(&self.downloads).try_acquire_owned();
        let permit =
            permit.map_err(|_| ImagesError::TooMany { what: "images being read out", most })?;
        let who = project.clone();
        let visible = self.ask(move |archive, keys| view::look(archive, keys, &who, id)).await?;
        Ok(Download { visible, permit })
    }

    /// Reads it out from a place on.
    pub(crate) fn download(
        self: &Arc<Self>,
        download: Download,
        from: u64,
    ) -> Result<Parts, ImagesError> {
        let (parts, taken) = Sink::channel();
        let images = Arc::clone(self);
        let work = move || {
            let Download { visible, permit: _held } = download;
            let mut sink = Sink::new(parts, &images);
            let archive = match images.for_jobs.archive() {
                Ok(archive) => archive,
                Err(error) => return sink.fail(&chain(&error)),
            };
            match archive.stream(&visible, from, &mut sink, &Until(&images)) {
                // The connection has gone, or is given up.
                Ok(_) | Err(ArchiveError::Target { .. } | ArchiveError::Cancelled) => {}
                Err(error) => {
                    let image = visible.image().id;
                    tracing::error!(%image, error = chain(&error), "an image could not be read out");
                    sink.fail("the image can't be read");
                }
            }
        };
        let thread = std::thread::Builder::new().name("image-download".into());
        thread.spawn(work).map_err(ImagesError::Thread)?;
        Ok(taken)
    }
}

/// Until the control plane ends.
struct Until<'a>(&'a Images);

impl Watch for Until<'_> {
    fn tell(&self, _progress: Progress) {}

    fn is_cancelled(&self) -> bool {
        self.0.has_ended.load(Ordering::SeqCst)
    }
}

/// Gives parts to the connection.
pub(super) struct Sink<'a> {
    parts: mpsc::Sender<io::Result<Bytes>>,
    part: Vec<u8>,
    images: &'a Images,
}

impl<'a> Sink<'a> {
    /// Where parts go in, and where they come out.
    pub(super) fn channel() -> (mpsc::Sender<io::Result<Bytes>>, Parts) {
        mpsc::channel(PARTS)
    }

    pub(super) fn new(parts: mpsc::Sender<io::Result<Bytes>>, images: &'a Images) -> Self {
        Self { parts, part: Vec::with_capacity(PART), images }
    }

    fn give(&self, part: io::Result<Bytes>) -> io::Result<()> {
        let begun = Instant::now();
        let mut part = part;
        loop {
            part = match self.parts.try_send(part) {
                Ok(()) => return Ok(()),
                Err(mpsc::error::TrySendError::Closed(_)) => {
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
                Err(mpsc::error::TrySendError::Full(part)) => part,
            };
            if begun.elapsed() > STALLED || self.images.has_ended.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::sleep(REST);
        }
    }

    /// Has the answer break off.
    pub(super) fn fail(&self, why: &str) {
        // A connection that has gone needs no word.
        let _ = self.give(Err(io::Error::other(why.to_owned())));
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(PART - self.part.len());
        self.part.extend_from_slice(&bytes[..taken]);
        if self.part.len() == PART {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.part.is_empty() {
            return Ok(());
        }
        let part = std::mem::replace(&mut self.part, Vec::with_capacity(PART));
        self.give(Ok(part.into()))
    }
}
