//! Masters: each image is fetched from the archive once, sealed, and found again.
//!
//! ```text
//!   MASTERS/NAME.part   being fetched; of no use once whoever fetches has ended
//!          /NAME.new    being sealed
//!          /NAME        the master
//! ```
//! A master is all of its image, as a raw file with holes, in the clear. Its name says of which image
//! and length it is; an image never changes, so it is right for as long as it is there.

use std::{fs, path::Path, sync::PoisonError, thread, time::Duration};

use mezame_images::{
    archive::{
        Watch,
        target::{FileTarget, Target},
    },
    clone::Master,
    volume::Format,
};

use super::{ExecutorError, Local, Reason, remove};
use crate::volumes::executor::Beginning;

/// Between two looks at whether another job has made it.
const PAUSE: Duration = Duration::from_millis(50);

/// A master that nobody else makes, until this is dropped.
struct Turn<'a> {
    local: &'a Local,
    name: String,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.local.making.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

impl Local {
    /// The master of this name, made where it is missing.
    pub(super) fn master(
        &self,
        name: &str,
        from: &Beginning,
        watch: &dyn Watch,
    ) -> Result<Master, ExecutorError> {
        let directory = self.masters.join(name);
        if !self.masters.is_dir() {
            let message = format!(
                "{} is not there: 'mezame volume pool create' makes it; if it was there, it is \
                 not mounted",
                self.masters.display()
            );
            return Err(ExecutorError::new(Reason::NoPool, message));
        }
        let _turn = self.turn(name, watch)?;
        if directory.is_dir() {
            return Ok(Master::open(&directory)?);
        }
        let part = self.masters.join(format!("{name}.part"));
        let at = |source| failed(&part, &source);
        remove(&part).map_err(at)?;
        // One whose sealing was cut short is whole.
        if !self.masters.join(format!("{name}.new")).join("image").exists() {
            let fetched = self.fetch(&part, from, watch);
            if fetched.is_err() {
                // What is left is removed before the next time.
                let _ = remove(&part);
            }
            fetched?;
        }
        Ok(Master::seal(&part, Format::Raw, &directory)?)
    }

    /// Waits while another job makes the same master.
    fn turn(&self, name: &str, watch: &dyn Watch) -> Result<Turn<'_>, ExecutorError> {
        loop {
            let mut making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
            if making.insert(name.to_owned()) {
                return Ok(Turn { local: self, name: name.to_owned() });
            }
            drop(making);
            if watch.is_cancelled() {
                return Err(ExecutorError::new(Reason::Cancelled, "it was cancelled"));
            }
            thread::sleep(PAUSE);
        }
    }

    fn fetch(&self, part: &Path, from: &Beginning, watch: &dyn Watch) -> Result<(), ExecutorError> {
        let at = |source| failed(part, &source);
        let target = FileTarget::create(part).map_err(at)?;
        match &from.image {
            Some((project, image)) => {
                let (archive, visible) = self.images.look(project, *image)?;
                archive.export(&visible, &target, watch)?;
            }
            None => {
                target.prepare(from.size).map_err(at)?;
                target.finish().map_err(at)?;
            }
        }
        drop(target);
        // What is behind the image's end is a hole.
        let file = fs::File::options().write(true).open(part).map_err(at)?;
        file.set_len(from.size).and_then(|()| file.sync_all()).map_err(at)
    }
}

fn failed(path: &Path, error: &std::io::Error) -> ExecutorError {
    ExecutorError::new(Reason::Failed, format!("{}: {error}", path.display()))
}
