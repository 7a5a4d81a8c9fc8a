//! The control plane in this process: opened when this process is in charge, closed before a
//! successor opens the same store.

use std::error::Error;

use mezame_model::BoxFuture;
use mezame_provisioner::{Provisioner, Settings};
use mezame_server::{
    control_plane::{ControlPlane, OpenPlane},
    metrics::storage::Storage,
};
use tokio::sync::oneshot;

/// The provisioner, with its settings.
pub(crate) struct Standalone {
    settings: Settings,
}

impl Standalone {
    /// Opens nothing yet.
    pub(crate) fn new(settings: Settings) -> Self {
        Self { settings }
    }
}

impl ControlPlane for Standalone {
    fn open(&self) -> BoxFuture<'_, Result<OpenPlane, Box<dyn Error + Send + Sync>>> {
        let settings = self.settings.clone();
        Box::pin(async move {
            let provisioner = Provisioner::open(settings).await?;
            let feed = provisioner.feed();
            let (volumes, schedules) = (provisioner.flush_states(), provisioner.schedule_states());
            let oldest_backup = provisioner.oldest_backup();
            let storage = Storage { volumes, schedules, oldest_backup };
            if let Some(address) = provisioner.tls_address() {
                tracing::info!(%address, "operators are served over TLS");
            }
            let (close, closed) = oneshot::channel::<()>();
            let serving = tokio::spawn(async move {
                let shutdown = async {
                    // Dropped without a word means the same.
                    let _ = closed.await;
                };
                if let Err(error) = provisioner.serve(shutdown).await {
                    tracing::error!(
                        error = mezame_server::chain(&error),
                        "the control plane ended early; guests are served on"
                    );
                }
            });
            let close = Box::pin(async move {
                let _ = close.send(());
                let _ = serving.await;
            });
            Ok(OpenPlane { feed, storage, close })
        })
    }
}
