//! The provisioner's settings, as they stand under `provisioner:` in the daemon's file.
//!
//! Every field has a default, so that an empty file runs on one machine. Unknown fields are
//! refused, since a misspelt setting that is ignored is found too late.

pub(crate) mod images;
pub(crate) mod pools;
pub(crate) mod volumes;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// How the control plane is set up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the database and the keys lie. Made with mode 0700 where it is missing.
    pub state_dir: PathBuf,
    /// How the state is kept.
    pub storage: Storage,
    /// The operators' unix socket; none with `socket: null`.
    pub socket: Option<PathBuf>,
    /// The group that may use the socket besides root and the provisioner's own user.
    pub socket_group: Option<String>,
    /// The operators' TLS listener, if there is to be one.
    pub tls: Option<TlsSettings>,
    /// The file of bearer tokens' digests that the TLS listener asks for.
    pub tokens_file: PathBuf,
    /// The file of keys that secrets in the database are sealed with; `sealing.key` in
    /// [`Settings::state_dir`] without one.
    pub key_file: Option<PathBuf>,
    /// The region's name that guests are told. A zone is a region's name and a letter.
    pub region: String,
    /// The DNS suffix that guests are told.
    pub domain: String,
    /// How long session tokens are sealed with one key, in hours, at least 1.
    pub token_rotation_hours: u32,
    /// How long to wait for another process to let go of the database, in seconds. An upgrade
    /// starts the new process before the old one ends.
    pub takeover_seconds: u32,
    /// The longest body of `POST /v1/apply`, in bytes.
    pub apply_bytes: usize,
    /// The image archive; none without.
    pub images: Option<images::ImageSettings>,
    /// The pools of volumes; none without.
    pub volumes: Option<volumes::VolumeSettings>,
}

impl Settings {
    /// The file of sealing keys.
    pub fn key_path(&self) -> PathBuf {
        self.key_file.clone().unwrap_or_else(|| self.state_dir.join("sealing.key"))
    }

    /// The database.
    pub fn database_path(&self) -> PathBuf {
        self.state_dir.join("provisioner.db")
    }

    /// Settings for one directory: state and socket lie in it, nothing listens on the network.
    pub fn in_directory(directory: &Path) -> Self {
        Self {
            state_dir: directory.to_path_buf(),
            socket: Some(directory.join("provisioner.sock")),
            tokens_file: directory.join("tokens"),
            ..Self::default()
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            state_dir: "/var/lib/mezame".into(),
            storage: Storage::Sqlite,
            socket: Some("/run/mezame/provisioner.sock".into()),
            socket_group: None,
            tls: None,
            tokens_file: "/etc/mezame/tokens".into(),
            key_file: None,
            region: "local-1".into(),
            domain: "mezame.internal".into(),
            token_rotation_hours: 24,
            takeover_seconds: 10,
            apply_bytes: 256 << 20,
            images: None,
            volumes: None,
        }
    }
}

/// How the state is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// In a database in the state directory.
    Sqlite,
    /// In memory, and forgotten at the end: for trying things out.
    Memory,
}

/// The TLS listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Certificate chain and key; a self-signed pair is made in the state directory without.
    #[serde(default)]
    pub identity: Option<TlsIdentity>,
    /// Further DNS names and addresses that a self-made certificate is good for.
    #[serde(default)]
    pub names: Vec<String>,
}

/// A certificate and its key, both PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsIdentity {
    /// The chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key; mode 0600 or 0400.
    pub key: PathBuf,
}
