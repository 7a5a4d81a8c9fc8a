//! The operator API's wire types, shared by the provisioner and its clients.
//!
//! What the control plane answers carries no secret: passwords, secrets and user-data are shown
//! only as "(sealed)" or by their length. What it is sent, [`Apply`], does, and has no Debug of it.
//!
//! | Call | Answer |
//! |---|---|
//! | `GET /v1/projects` · `/v1/projects/P/{networks,ports,instances}` `[?limit=N&after=NAME]` | [`List`] |
//! | `GET …/NAME` | [`Resource`], `ETag` |
//! | `PUT …/NAME` (a document's fields) with `If-Match` or `If-None-Match: *` | [`Resource`], 201 or 200 |
//! | `DELETE …/NAME` with `If-Match` | 204, or 409 with faults while others refer to it |
//! | `POST /v1/apply[?dry_run=true]` ([`Apply`]) | [`Applied`], all or nothing |
//! | `PUT`, `DELETE /v1/projects/P/ports/NAME/device` ([`Device`]) | [`Resource`] |
//! | `GET /v1/projects/P/instances/NAME/reports` | `[`[`StoredReport`]`]`, newest first |
//! | `GET /v1/projects/P/instances/NAME/passwords` | `[`[`StoredPassword`]`]` |
//! | `POST /v1/projects/P/instances/NAME/passwords/USER/reset` ([`NewPasswordReset`]) | [`PasswordReset`] |
//! | `GET /v1/projects/P/instances/NAME/volume-keys` | `[`[`VolumeKeyView`]`]` |
//! | `POST /v1/projects/P/instances/NAME/volume-keys` ([`NewVolumeKey`]) | [`VolumeKeyView`], 201 |
//! | `POST …/volume-keys/KEY/rotate` ([`NewVersion`]), `…/revoke` ([`Revocation`]), `…/restore` | [`VolumeKeyView`] |
//! | `DELETE …/volume-keys/KEY` | 204 |
//! | `GET /v1/projects/P/instances/NAME/key-requests` | `[`[`StoredKeyRequest`]`]`, newest first |
//! | `GET /v1/events?after=GENERATION` | one [`Event`] a line (NDJSON), without end |
//! | `POST /v1/keys/{sealing,tokens}/rotate` | 204 |
//! | `GET /v1/identity-certificate` | PEM |
//! | `/v1/projects/P/images`, `/v1/archive` | see [`images`] |
//! | `/v1/projects/P/jobs`, `/v1/jobs` | see [`jobs`] |
//! | `/v1/projects/P/{volumes,backups}`, `/v1/pools` | see [`volumes`] |
//! | `/v1/projects/P/backup-schedules` | see [`schedules`] |
//! | `GET /v1/openapi.json` · `/v1/version` · `/v1/whoami` · `/healthz` | |
//!
//! A page of a list has `Link: <…>; rel="next"` while there are more (RFC 8288). Where events of the
//! asked time are gone, the stream answers 410: list, and watch from the list's generation.
//! Every failure is [`Problem`] (RFC 9457).

pub mod freezing;
pub mod image_files;
pub mod images;
pub mod jobs;
pub mod schedules;
pub mod volumes;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    Generation, KeyRequest, PortId, SecretBytes, UserName, VolumeName,
    report::{Report, SealedPassword},
    volume_key::{KeyState, Once},
};

/// The kinds of documents that an operator writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// A tenant.
    Project,
    /// A layer-2 network.
    Network,
    /// A guest's attachment.
    Port,
    /// A guest.
    Instance,
}

impl Kind {
    /// All, in the order in which they depend on each other.
    pub const ALL: [Self; 4] = [Self::Project, Self::Network, Self::Port, Self::Instance];

    /// As in a document's `kind`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Project => "Project",
            Self::Network => "Network",
            Self::Port => "Port",
            Self::Instance => "Instance",
        }
    }

    /// As in paths and on the command line.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Project => "projects",
            Self::Network => "networks",
            Self::Port => "ports",
            Self::Instance => "instances",
        }
    }
}

/// One stored thing as operators see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Resource {
    /// What it is.
    pub kind: Kind,
    /// The fields of the document that made it, defaults filled in, secrets as "(sealed)". Can be
    /// applied again and changes nothing.
    pub spec: Value,
    /// What the provisioner adds: ids, addresses of use, whether the guest reported, …
    pub status: Value,
    /// The generation of its last change; its ETag.
    pub revision: Generation,
}

/// Several resources at one generation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct List {
    /// Sorted by name.
    pub items: Vec<Resource>,
    /// The state that was read.
    pub generation: Generation,
}

/// Documents to be applied together, all or none.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Apply {
    /// In any order; each has `kind` and its fields.
    pub documents: Vec<Value>,
}

/// Without the documents: an operator's secrets stand in them as they were written.
impl std::fmt::Debug for Apply {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Apply({} documents)", self.documents.len())
    }
}

/// What applying did, or would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// After the change; as it is, for a dry run.
    pub generation: Generation,
    /// One for each document, in their order.
    pub changes: Vec<Change>,
}

/// What became of one document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// What it is.
    pub kind: Kind,
    /// Absent for a project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Its name.
    pub name: String,
    /// What was done.
    pub action: Action,
    /// The fields that differ; secrets only as "(changed)".
    #[serde(default)]
    pub fields: Vec<FieldChange>,
}

/// What applying a document does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It was not there.
    Created,
    /// Some fields differed.
    Updated,
    /// It was so already.
    Unchanged,
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FieldChange {
    /// Such as `users[0].ssh_keys[1]`.
    pub path: String,
    /// Null where it was not set.
    pub before: Value,
    /// Null where it is unset.
    pub after: Value,
}

/// Something wrong with what an operator sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Which document, from 0.
    pub document: usize,
    /// Where in it, such as `users[0].ssh_keys[1]`; empty for the document as a whole.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub mend: String,
}

/// A failure, as `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A stable word, such as `faults` or `conflict`.
    #[serde(rename = "type")]
    pub kind: String,
    /// For people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened here.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// All faults at once, where the request's body had any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
}

/// The tap that a port has on its hypervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Such as `vnet7`.
    pub device: String,
}

/// A report with what the control plane knows about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredReport {
    /// When it came, in milliseconds since 1970-01-01T00:00:00Z.
    pub at_ms: u64,
    /// What the guest said.
    pub report: Report,
}

/// A password that only its owner's key opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPassword {
    /// When it came, in milliseconds since 1970-01-01T00:00:00Z.
    pub at_ms: u64,
    /// What the guest posted.
    pub password: SealedPassword,
}

/// How another password is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewPasswordReset {
    /// Ask anew even where the guest has not answered the last ask yet. Without it nothing
    /// changes then, so that the call can be repeated.
    #[serde(default)]
    pub again: bool,
}

/// What became of an operator's ask for another password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PasswordReset {
    /// Whose password.
    pub user: UserName,
    /// When it was asked for, in milliseconds since 1970-01-01T00:00:00Z.
    pub asked_ms: u64,
    /// Whether the guest has answered.
    pub state: ResetState,
    /// When its password came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_ms: Option<u64>,
}

/// Whether a guest has made the password that it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResetState {
    /// Not yet.
    Pending,
    /// It has, and has sent it sealed.
    Done,
}

/// A key that a volume is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewVolumeKey {
    /// Unique in its instance.
    pub name: VolumeName,
    /// 16 to 512 bytes, in base64.
    pub key: SecretBytes,
    /// How often it is given out.
    #[serde(default)]
    pub once: Once,
    /// For how long after a start of the machine, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<u32>,
    /// Until when, in seconds since 1970-01-01T00:00:00Z.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<u64>,
}

/// The next version of a volume's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewVersion {
    /// 16 to 512 bytes, in base64.
    pub key: SecretBytes,
}

/// What of a volume's key is to be taken away.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// This version alone, for good; all of it without, until it is restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
}

/// A volume's key as operators see it: all but what is secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeKeyView {
    /// Its name.
    pub name: VolumeName,
    /// Whether it is given out.
    pub state: KeyState,
    /// The numbers of its versions, newest first.
    pub versions: Vec<u32>,
    /// How often it is given out.
    pub once: Once,
    /// For how long after a start of the machine, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<u32>,
    /// Until when, in seconds since 1970-01-01T00:00:00Z.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<u64>,
}

/// A guest's request for a volume's key, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredKeyRequest {
    /// When it came, in milliseconds since 1970-01-01T00:00:00Z.
    pub at_ms: u64,
    /// The port that it came through.
    pub port: PortId,
    /// What was asked for, in which boot, and what came of it.
    pub request: KeyRequest,
}

/// A line of the event stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// After it.
    pub generation: Generation,
    /// When, in milliseconds since 1970-01-01T00:00:00Z.
    pub at_ms: u64,
    /// Which project.
    pub project: String,
    /// Which kind of resource.
    pub kind: Kind,
    /// Which one.
    pub name: String,
    /// `created`, `updated`, `deleted`, `reported`, `password`, `password-reset`, `secret-acknowledged`,
    /// `volume-key-created`, `-rotated`, `-revoked`, `-restored`, `-destroyed`, `-released`.
    pub what: String,
    /// For people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_what_is_applied_shows_no_document() {
        let documents = vec![serde_json::json!({ "secrets": { "db": "hunter2" } })];
        assert_eq!(format!("{:?}", Apply { documents }), "Apply(1 documents)");
    }
}
