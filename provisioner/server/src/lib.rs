//! The control plane: what operators want, checked, kept, and fed to the hypervisors.
//!
//! ```text
//! operator ─► routes ─► admission ─► store ─► state ─► feed ─► metadata-server
//!                          (all faults at once)  (generation + 1)     │
//! status ◄─────────────────────── lifecycle ◄── what guests did ◄─────┘
//! ```
//! A library: its host program opens a [`Provisioner`], hands [`Provisioner::feed`] to the
//! metadata-server, and runs [`Provisioner::serve`]. Operators come over a unix socket or TLS;
//! nothing here ever listens on plain TCP. No log line carries a secret, and no answer but a guest's
//! disk, which only who may write gets.

mod access;
mod admission;
mod control;
mod crew;
mod disk;
mod environment;
mod fault;
mod feed;
mod images;
mod jobs;
mod lifecycle;
mod listen;
mod password_resets;
mod provisioner;
mod record;
mod rehearsal;
mod resource;
mod routes;
mod schedules;
mod sealing;
mod settings;
mod site_keys;
mod spec;
mod state;
mod store;
#[cfg(test)]
mod testing;
mod volume_keys;
mod volumes;

pub use access::tokens::TokensError;
pub use control::ControlError;
pub use environment::NoRandomness;
pub use listen::{tls::TlsError, unix::SocketError};
pub use provisioner::{
    OpenError, Provisioner, ServeError,
    states::{Moment, States},
};
pub use rehearsal::Rehearsal;
pub use sealing::{SealError, key_file::KeyFileError};
pub use settings::{
    Settings, Storage, TlsIdentity, TlsSettings,
    images::{ImageSettings, S3Settings},
    pools::{ChapSettings, IscsiSettings, PoolSettings},
    volumes::VolumeSettings,
};
pub use site_keys::KeyError;
pub use store::StoreError;
