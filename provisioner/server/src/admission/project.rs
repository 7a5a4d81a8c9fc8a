//! Reading a `kind: Project` document.

use mezame_model::ProjectName;

use super::form::{Node, Object};
use crate::volumes::quota::VolumeQuota;

/// The fields of the document.
pub(crate) const FIELDS: &[&str] =
    &["kind", "name", "description", "encrypted_images", "volume_quota"];

/// The fields of `volume_quota`.
pub(crate) const QUOTA_FIELDS: &[&str] = &["volumes", "bytes"];

/// As many as a project can have.
const MOST_VOLUMES: u64 = 10_000;
/// 1 EiB, which JSON's readers that count by 64-bit floats read as it is.
const MOST_BYTES: u64 = 1 << 60;

/// A project as its document has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProjectForm {
    pub(crate) name: ProjectName,
    pub(crate) description: Option<Box<str>>,
    /// As it is without; of a new project false.
    pub(crate) encrypted_images: Option<bool>,
    /// None without: what limits there were are gone then.
    pub(crate) volume_quota: Option<VolumeQuota>,
}

/// Reads the fields, noting every fault.
pub(super) fn read(node: &Node<'_>) -> Option<ProjectForm> {
    let object = Object::open(node, FIELDS)?;
    let name = object.required("name", "give the project a name", |n| n.parsed(super::NAME_MEND));
    let description = object.field("description", |n| n.text(1024).map(Into::into)).optional();
    let encrypted = object.field("encrypted_images", |n| n.boolean()).optional();
    let quota = object.field("volume_quota", read_quota).optional();
    Some(ProjectForm {
        name: name?,
        description: description?,
        encrypted_images: encrypted?,
        volume_quota: quota?,
    })
}

fn read_quota(node: &Node<'_>) -> Option<VolumeQuota> {
    let object = Object::open(node, QUOTA_FIELDS)?;
    let volumes = object.field("volumes", |n| n.integer(0, MOST_VOLUMES)).optional();
    let bytes = object.field("bytes", |n| n.integer(0, MOST_BYTES)).optional();
    Some(VolumeQuota { volumes: volumes?, bytes: bytes? })
}
