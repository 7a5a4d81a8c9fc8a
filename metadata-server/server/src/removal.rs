//! What the service leaves in the kernel and on its sockets, taken away again.

use std::os::unix::net::UnixStream;

use mezame_ebpf_loader::{DataPath, PinRoot, RemoveError};

use crate::{
    namespace::{Namespace, NamespaceError},
    settings::Settings,
};

/// Why the service's traces could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum RemovalError {
    /// A process serves with them.
    #[error("a metadata-server is running with {run}; stop it first")]
    Running {
        /// Its run directory.
        run: std::path::PathBuf,
    },
    /// Programs, maps or pins stay.
    #[error("the data path can't be removed")]
    DataPath(#[source] RemoveError),
    /// The namespace or the veth stays.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
}

/// Takes programs, maps, pins, veth, namespace and sockets away. The state stays.
pub async fn remove(settings: &Settings) -> Result<(), RemovalError> {
    if UnixStream::connect(settings.takeover_socket()).is_ok() {
        return Err(RemovalError::Running { run: settings.run.clone() });
    }
    DataPath::remove(&PinRoot::new(&settings.pins)).map_err(RemovalError::DataPath)?;
    Namespace::remove(&settings.names).await?;
    for socket in [settings.takeover_socket(), settings.metrics_socket()] {
        // Left by a process that was killed; or not there.
        let _ = std::fs::remove_file(socket);
    }
    Ok(())
}
