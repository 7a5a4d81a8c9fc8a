//! An instance: what a guest is told about itself, and how it may ask.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    certificate::Certificate,
    dialect::Dialect,
    guest_attributes::GuestAttributes,
    id::{InstanceId, InstanceName, PortId, ProjectName, SecretName, UserName, VolumeName},
    remote_access::{RemoteDesktop, Winrm},
    secret::SecretString,
    tags::Tags,
    user_data::UserData,
    volume_key::VolumeKey,
    windows_key::WindowsKey,
};

/// Whether a guest's requests need a session token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TokenPolicy {
    /// A request without a valid token is refused with 401 (EC2's IMDSv2 "required").
    Required,
    /// A request without a token is answered; one with a bad token is refused.
    #[default]
    Optional,
    /// The endpoint is off for this instance: everything is refused with 403.
    Off,
}

/// The IP TTL that the reply with a session token leaves with, 1 to 64.
///
/// 1 keeps the token inside the guest itself; containers behind a bridge in the guest need 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct HopLimit(u8);

/// The number is no hop limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("hop limit {0} is not between 1 and 64")]
pub struct HopLimitError(pub u8);

impl TryFrom<u8> for HopLimit {
    type Error = HopLimitError;
    fn try_from(number: u8) -> Result<Self, HopLimitError> {
        if (1..=64).contains(&number) { Ok(Self(number)) } else { Err(HopLimitError(number)) }
    }
}

impl From<HopLimit> for u8 {
    fn from(limit: HopLimit) -> u8 {
        limit.0
    }
}

impl Default for HopLimit {
    fn default() -> Self {
        Self(1)
    }
}

/// How a user's password comes about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Password {
    /// A crypt(3) hash such as `$6$…` or `$y$…`, made by the operator.
    Hash(SecretString),
    /// The guest makes one, seals it to the user's first SSH key and posts it.
    Generate,
}

/// An account in the guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The login name.
    pub name: UserName,
    /// Lines of `authorized_keys`.
    #[serde(default)]
    pub ssh_keys: Vec<Box<str>>,
    /// The password, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
    /// Whether it may become root without a password.
    #[serde(default)]
    pub sudo: bool,
    /// Groups besides its own.
    #[serde(default)]
    pub groups: Vec<Box<str>>,
    /// The login shell; the guest's default without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<Box<str>>,
    /// The account stays, with all that it has, and nobody gets in by it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub stopped: bool,
    /// When the operator asked last for another password, in milliseconds since
    /// 1970-01-01T00:00:00Z; each ask has another, later one. Only of a user whose password the
    /// guest makes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_reset: Option<u64>,
}

impl User {
    /// The most of an instance.
    pub const COUNT_MAX: usize = 100;
}

/// So that what is told of others stays as it was before there was such a field.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
fn is_false(value: &bool) -> bool {
    !value
}

/// As [`is_false`].
#[allow(clippy::borrowed_box, reason = "as serde wants it")]
fn none<T>(list: &Box<[T]>) -> bool {
    list.is_empty()
}

/// A guest, as the control plane wants it to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Made by the provisioner; another one means another first boot.
    pub id: InstanceId,
    /// The owner.
    pub project: ProjectName,
    /// Unique in the project.
    pub name: InstanceName,
    /// The host name; may be fully qualified.
    pub hostname: Box<str>,
    /// Its ports, the first of them the primary one.
    pub ports: Vec<PortId>,
    /// Keys of the image's default user, as `authorized_keys` lines.
    #[serde(default)]
    pub ssh_keys: Vec<Box<str>>,
    /// Further accounts.
    #[serde(default)]
    pub users: Vec<User>,
    /// What the tenant hands to the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<UserData>,
    /// What the provider hands to the guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor_data: Option<UserData>,
    /// The tenant's labels, readable by the guest.
    #[serde(default)]
    pub tags: Tags,
    /// Values that the guest may read until it has acknowledged them, and never after.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<SecretName, SecretString>,
    /// Whether requests need a session token.
    #[serde(default)]
    pub tokens: TokenPolicy,
    /// The TTL of replies that carry a token.
    #[serde(default)]
    pub hop_limit: HopLimit,
    /// What it answers in. Never empty.
    pub dialects: BTreeSet<Dialect>,
    /// The instance type that the guest is told, such as `m1.small`.
    pub instance_type: Box<str>,
    /// The image that it was made from, as `ami-` and 17 hexadecimal digits.
    pub image_id: Box<str>,
    /// The zone's letter within the region (EC2: a region's name plus a letter).
    pub zone: char,
    /// When it was made, in seconds since 1970-01-01T00:00:00Z.
    pub launched_at: u64,
    /// Its place in a launch of several, from 0.
    #[serde(default)]
    pub launch_index: u32,
    /// What the guest has set of its own attributes.
    #[serde(default, skip_serializing_if = "GuestAttributes::is_empty")]
    pub guest_attributes: GuestAttributes,
    /// Certificates that it is to trust besides its system's own.
    #[serde(default, skip_serializing_if = "none")]
    pub trusted_certificates: Box<[Certificate]>,
    /// Who gets into a Windows by Remote Desktop; None: as its image has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_desktop: Option<RemoteDesktop>,
    /// Who gets into a Windows by WinRM; None: as its image has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub winrm: Option<Winrm>,
    /// Asks for passwords as Google's tools make them.
    #[serde(default, skip_serializing_if = "none")]
    pub windows_keys: Box<[WindowsKey]>,
    /// A password that the guest has posted as OpenStack's clients do: encrypted to one of its
    /// keys, in base64. By them it is set once; our agent sets it whenever it makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nova_password: Option<SecretString>,
    /// Keys of its encrypted volumes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub volume_keys: BTreeMap<VolumeName, VolumeKey>,
    /// Disks that the guest is told of: name (`root`, `ebs1`, …) to device (`vda`, …).
    #[serde(default)]
    pub block_devices: BTreeMap<Box<str>, Box<str>>,
}
