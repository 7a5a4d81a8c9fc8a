//! The part of the control plane that works with volumes, begun once it can be.
//!
//! As with images ([`crate::images::part`]), which it needs: a folder that can't be used must not
//! keep the control plane from starting. So a beginning that fails is told to who asks for volumes,
//! and tried again at the next call.

use std::sync::Arc;

use tokio::sync::OnceCell;

use super::{Manner, Volumes, VolumesError, executor::Executor};
use crate::{
    control::Control,
    environment::Environment,
    fault::chain,
    images::{Images, ImagesError, StartError, part::Part},
};

/// Finds whoever has the pools. It blocks.
pub(crate) type OpenExecutor =
    Box<dyn Fn(Arc<Images>) -> Result<Arc<dyn Executor>, StartError> + Send + Sync>;

/// What is needed to begin.
pub(crate) struct VolumePart {
    images: Arc<Part>,
    executor: OpenExecutor,
    control: Arc<Control>,
    environment: Arc<dyn Environment>,
    manner: Manner,
    begun: OnceCell<Arc<Volumes>>,
}

impl VolumePart {
    /// Begins, and goes on without volumes where that fails.
    pub(crate) async fn open(
        images: Arc<Part>,
        executor: OpenExecutor,
        control: Arc<Control>,
        environment: Arc<dyn Environment>,
        manner: Manner,
    ) -> Arc<Self> {
        let begun = OnceCell::new();
        let part = Arc::new(Self { images, executor, control, environment, manner, begun });
        if let Err(error) = part.volumes().await {
            tracing::error!(
                error = chain(&error),
                "volumes can't be worked with until this is mended"
            );
        }
        part
    }

    /// What works with volumes.
    pub(crate) async fn volumes(self: &Arc<Self>) -> Result<Arc<Volumes>, VolumesError> {
        let begin = || async {
            let images = self.images.images().await?;
            let part = Arc::clone(self);
            // Folders are made.
            let begun = tokio::task::spawn_blocking(move || part.begin(images)).await;
            begun.map_err(|_| ImagesError::Ending)?.map_err(VolumesError::NotBegun)
        };
        self.begun.get_or_try_init(begin).await.map(Arc::clone)
    }

    /// What has begun, if it has.
    pub(crate) fn begun(&self) -> Option<Arc<Volumes>> {
        self.begun.get().map(Arc::clone)
    }

    fn begin(&self, images: Arc<Images>) -> Result<Arc<Volumes>, StartError> {
        let executor = (self.executor)(Arc::clone(&images))?;
        let (control, environment) = (Arc::clone(&self.control), Arc::clone(&self.environment));
        Volumes::start(control, images, executor, environment, self.manner.clone())
    }
}
