//! The control plane: what operators want, checked, kept and fed to the hypervisors.

mod feed;
mod provisioner;
mod settings;

pub use provisioner::{OpenError, Provisioner, ServeError};
pub use settings::{Settings, TlsIdentity, TlsSettings};
