//! The typed records behind the store's rows, and their bodies.
//!
//! A body is JSON, with secrets in the clear: the store seals it.

use std::{collections::BTreeMap, sync::Arc};

use mezame_model::{
    Generation, Instance, Network, Port, ProjectName, SecretBytes, SecretDigest, SecretName,
    UserName, VolumeName,
    api::Kind,
    report::{HostKey, Outcome},
    volume_key::KeyVersion,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::{
    schedules::record::ScheduleRecord,
    store::{Body, Key, RowKind, StoreError},
    volumes::{quota::VolumeQuota, record::VolumeRecord},
};

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Project {
    pub(crate) name: ProjectName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<Box<str>>,
    /// Whether its images are encrypted. It is from its beginning on, or never.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) encrypted_images: bool,
    /// What it may have of volumes; no limit without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) volume_quota: Option<VolumeQuota>,
    /// The key that they are encrypted with, 32 bytes; none of an encrypted project whose key is
    /// gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) image_key: Option<SecretBytes>,
}

/// Read-once secrets that the guest has acknowledged, with the values' digests, so that the same
/// document applied again does not hand the value out again, and another value does.
pub(crate) type Consumed = BTreeMap<SecretName, SecretDigest>;

/// The bytes of volume keys that are revoked, so that they can be restored. Hypervisors don't have
/// them.
pub(crate) type KeptBack = BTreeMap<VolumeName, Vec<KeyVersion>>;

/// The passwords that guests made because their operators asked for others, by user.
pub(crate) type Renewed = BTreeMap<UserName, Renewal>;

/// Which ask a guest has answered last, and when; both in milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Renewal {
    pub(crate) reset: u64,
    pub(crate) at_ms: u64,
}

/// An instance and what became of its secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct InstanceRecord {
    pub(crate) instance: Arc<Instance>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) consumed: Consumed,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) kept_back: KeptBack,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) renewed: Renewed,
    /// The revision that operators know, where the guest itself has written since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) revision: Option<Generation>,
}

/// What the guest said last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Observed {
    /// When the last report came, in milliseconds since 1970.
    pub(crate) at_ms: u64,
    pub(crate) outcome: Outcome,
    pub(crate) agent: String,
    pub(crate) boot_id: String,
    pub(crate) run: u32,
    pub(crate) done: u32,
    pub(crate) unchanged: u32,
    pub(crate) skipped: u32,
    pub(crate) failed: u32,
    /// The first steps that failed, with their reasons: what an operator looks for.
    pub(crate) failures: Vec<Failure>,
    pub(crate) configured_ms: Option<u64>,
    pub(crate) total_ms: u64,
    pub(crate) host_keys: Vec<HostKey>,
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    pub(crate) step: String,
    pub(crate) reason: String,
}

/// One record of any kind, as it is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    Project(Arc<Project>),
    Network(Arc<Network>),
    Port(Arc<Port>),
    Instance(Arc<InstanceRecord>),
    Volume(Arc<VolumeRecord>),
    Schedule(Arc<ScheduleRecord>),
}

impl Record {
    /// What names it in the store.
    pub(crate) fn key(&self) -> Key {
        let (kind, project, name): (RowKind, _, _) = match self {
            Self::Project(it) => (Kind::Project.into(), "", it.name.as_str()),
            Self::Network(it) => (Kind::Network.into(), it.project.as_str(), it.name.as_str()),
            Self::Port(it) => (Kind::Port.into(), it.project.as_str(), it.name.as_str()),
            Self::Instance(it) => {
                (Kind::Instance.into(), it.instance.project.as_str(), it.instance.name.as_str())
            }
            Self::Volume(it) => (RowKind::Volume, it.project.as_str(), it.id.as_str()),
            Self::Schedule(it) => (RowKind::Schedule, it.project.as_str(), &*it.name),
        };
        Key { kind, project: project.into(), name: name.into() }
    }

    /// The body to be stored.
    pub(crate) fn body(&self) -> Result<Body, StoreError> {
        match self {
            Self::Project(it) => encode(&**it),
            Self::Network(it) => encode(&**it),
            Self::Port(it) => encode(&**it),
            Self::Instance(it) => encode(&**it),
            Self::Volume(it) => encode(&**it),
            Self::Schedule(it) => encode(&**it),
        }
    }

    /// The record of a stored body.
    pub(crate) fn of_body(kind: RowKind, body: &Body) -> Result<Self, StoreError> {
        Ok(match kind {
            RowKind::Document(Kind::Project) => Self::Project(decode(body, "project")?),
            RowKind::Document(Kind::Network) => Self::Network(decode(body, "network")?),
            RowKind::Document(Kind::Port) => Self::Port(decode(body, "port")?),
            RowKind::Document(Kind::Instance) => Self::Instance(decode(body, "instance")?),
            RowKind::Volume => Self::Volume(decode(body, "volume")?),
            RowKind::Schedule => Self::Schedule(decode(body, "schedule")?),
        })
    }
}

/// Writes a body.
pub(crate) fn encode(value: &impl Serialize) -> Result<Body, StoreError> {
    serde_json::to_vec(value)
        .map(Zeroizing::new)
        .map_err(|_| StoreError::Spoilt { what: "value of ours" })
}

/// Reads a body. serde_json's own error is dropped, since it may quote a secret.
pub(crate) fn decode<T: DeserializeOwned>(
    body: &Body,
    what: &'static str,
) -> Result<T, StoreError> {
    serde_json::from_slice(body).map_err(|_| StoreError::Spoilt { what })
}
