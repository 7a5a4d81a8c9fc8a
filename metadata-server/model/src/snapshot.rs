//! The whole state that a hypervisor serves from.
//!
//! A snapshot is complete: what it does not name does not exist. Unchanged records are the same
//! `Arc` in the next snapshot of the same process, so a receiver finds the changes cheaply.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Generation, Instance, Network, Port, SecretBytes};

/// A key that session tokens are sealed with (256 bits).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenKey {
    /// Its number, written in each token; only goes forward.
    pub number: u32,
    /// 32 bytes.
    pub key: SecretBytes,
}

/// The key that instance-identity documents are signed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    /// The private key, PKCS #8 in DER.
    pub pkcs8: SecretBytes,
    /// The self-signed certificate that third parties verify with, X.509 in DER.
    #[serde(with = "crate::user_data::base64_text")]
    pub certificate: Vec<u8>,
}

/// What is the same for every guest of an installation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// The region's name, such as `jp-east-1`. A zone is a region's name and a letter.
    pub region: Box<str>,
    /// The DNS suffix that EC2's `services/domain` answers.
    pub domain: Box<str>,
    /// Keys for session tokens: the newest first seals, all open.
    pub token_keys: Vec<TokenKey>,
    /// Signs instance-identity documents.
    pub signing_key: SigningKey,
}

/// Everything a metadata-server needs, at one generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Only goes forward.
    pub generation: Generation,
    /// The installation.
    pub site: Arc<Site>,
    /// Sorted by id.
    pub networks: Vec<Arc<Network>>,
    /// Sorted by id.
    pub ports: Vec<Arc<Port>>,
    /// Sorted by id.
    pub instances: Vec<Arc<Instance>>,
}
