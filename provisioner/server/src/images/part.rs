//! The part of the control plane that works with images, begun once it can be.
//!
//! A folder on a disk that is full, gone or not mounted must not keep the control plane from
//! starting: with `--standalone` guests' metadata comes from the same process. So a beginning that
//! fails is told to who asks for images, and tried again at the next call.

use std::{io, path::PathBuf, sync::Arc};

use tokio::sync::OnceCell;

use super::{Images, ImagesError};
use crate::{
    control::Control, environment::Environment, fault::chain, settings::images::ImageSettings,
};

/// Why the part of the control plane that works with images, or with volumes, can't begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// The folder of uploads or of jobs can't be used.
    #[error("{path}: can't be used")]
    Folder {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There are no threads.
    #[error("no threads can be started")]
    Threads(#[source] io::Error),
}

/// What is needed to begin.
pub(crate) struct Part {
    settings: ImageSettings,
    /// Where uploads lie without a setting.
    uploads: PathBuf,
    /// Where jobs are noted; in memory without.
    journal: Option<PathBuf>,
    control: Arc<Control>,
    environment: Arc<dyn Environment>,
    begun: OnceCell<Arc<Images>>,
}

impl Part {
    /// Begins, and goes on without images where that fails.
    pub(crate) async fn open(
        settings: ImageSettings,
        uploads: PathBuf,
        journal: Option<PathBuf>,
        control: Arc<Control>,
        environment: Arc<dyn Environment>,
    ) -> Arc<Self> {
        let begun = OnceCell::new();
        let part = Arc::new(Self { settings, uploads, journal, control, environment, begun });
        if let Err(error) = part.images().await {
            tracing::error!(
                error = chain(&error),
                "images can't be worked with until this is mended"
            );
        }
        part
    }

    /// What works with images.
    pub(crate) async fn images(self: &Arc<Self>) -> Result<Arc<Images>, ImagesError> {
        let begin = || async {
            let part = Arc::clone(self);
            // Folders are made and read.
            let begun = tokio::task::spawn_blocking(move || part.begin()).await;
            begun.map_err(|_| ImagesError::Ending)?.map_err(ImagesError::NotBegun)
        };
        self.begun.get_or_try_init(begin).await.map(Arc::clone)
    }

    /// What has begun, if it has.
    pub(crate) fn begun(&self) -> Option<Arc<Images>> {
        self.begun.get().map(Arc::clone)
    }

    fn begin(&self) -> Result<Arc<Images>, StartError> {
        Images::start(
            self.settings.clone(),
            self.uploads.clone(),
            self.journal.clone(),
            Arc::clone(&self.control),
            Arc::clone(&self.environment),
        )
    }
}
