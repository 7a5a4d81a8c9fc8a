//! Why the service can't start or go on: each part's own failures under one roof.

use mezame_ebpf_loader::LoadError;

use crate::{
    ledger::LedgerError,
    metrics::serve::MetricsError,
    namespace::NamespaceError,
    takeover::TakeoverError,
    taps::{plane::PlaneError, watch::WatchError},
};

/// Why the service can't start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The namespace is not to be had.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// The data path is not to be had.
    #[error("the data path can't be loaded")]
    DataPath(#[source] LoadError),
    /// The data path can't be read.
    #[error(transparent)]
    Plane(#[from] PlaneError),
    /// The state directory can't be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Devices can't be watched.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The takeover failed.
    #[error(transparent)]
    Takeover(#[from] TakeoverError),
    /// The operator's side is not to be had.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The socket by which guests are frozen can't be opened.
    #[error("{}: opening the freeze socket failed", path.display())]
    FreezeSocket {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The control plane in this process can't be opened.
    #[error("the control plane can't be opened")]
    ControlPlane(#[source] Box<dyn std::error::Error + Send + std::marker::Sync>),
    /// A thread can't be started.
    #[error("starting a thread failed")]
    Thread(#[source] std::io::Error),
}
