//! What guests send back: the agent's reports, sealed passwords, acknowledgements.
//!
//! All of it was written by a guest and is believed only as far as "this port's guest says so".

use serde::{Deserialize, Serialize};

use crate::{
    GuestAttribute, InstanceId, KeyRequest, PortId, SecretDigest, SecretName, SecretString,
    UserName,
};

/// How a run of the agent, or a step of it, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Done in this run.
    Done,
    /// Nothing to do: it was so already, or had run once before.
    Unchanged,
    /// Not attempted, and why is in the detail (an unsupported key, say).
    Skipped,
    /// Attempted, and it went wrong.
    Failed,
}

/// One step of a plan, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepReport {
    /// What was to be done, such as `hostname` or `user admin`.
    pub step: String,
    /// What became of it.
    pub outcome: Outcome,
    /// A stable word for a failure, such as `script-exit`; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// For people; at most 4 KiB, the end of a longer text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// How long it took.
    #[serde(default)]
    pub milliseconds: u64,
}

/// A guest's SSH host key, so that an operator can check the fingerprint before the first login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostKey {
    /// As in `/etc/ssh/*.pub`: type, base64, comment.
    pub public_key: String,
}

/// What the agent says at the end of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Which record the agent acted on. A report for another instance is refused.
    pub instance_id: InstanceId,
    /// The agent's version.
    pub agent: String,
    /// A value that differs for each boot of the guest.
    pub boot_id: String,
    /// Counts the runs of the agent in one boot, from 1.
    pub run: u32,
    /// Failed if any step did.
    pub outcome: Outcome,
    /// In the order in which they were done.
    pub steps: Vec<StepReport>,
    /// From the first packet that the agent sent to the end of the configuration, scripts
    /// excluded.
    #[serde(default)]
    pub configured_ms: Option<u64>,
    /// The same with scripts.
    #[serde(default)]
    pub total_ms: u64,
    /// Of the guest's SSH server.
    #[serde(default)]
    pub host_keys: Vec<HostKey>,
}

/// A password that the guest made, sealed to its user's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedPassword {
    /// Whose password.
    pub user: UserName,
    /// The `authorized_keys` line that it is sealed to.
    pub recipient: String,
    /// An age file in its ASCII armor (age-encryption.org/v1), readable by `age -d -i KEY` and by
    /// `mezame get password`. At most 8 KiB.
    pub sealed: String,
    /// The ask ([`crate::User::password_reset`]) that it was made for; none of the first password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<u64>,
    /// The same password as OpenStack's clients encrypt one: to the first RSA key of the user's, by
    /// RSAES-PKCS1-v1_5 (RFC 8017, section 7.2), in base64. At most [`NovaPassword::LENGTH_MAX`]
    /// characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nova: Option<String>,
}

/// A password as OpenStack's clients post it: by custom encrypted by the guest to its first RSA key
/// (PKCS #1 v1.5), in base64. Whether it is, only the key's owner can say; so it is kept as a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NovaPassword {
    /// At most [`NovaPassword::LENGTH_MAX`] characters.
    pub ciphertext: SecretString,
}

impl NovaPassword {
    /// The longest, in characters: nova's four pieces of 255.
    pub const LENGTH_MAX: usize = 1020;
}

/// Which value of a read-once secret a guest has received. An operator may have set another value
/// by the time that the control plane hears of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "WrittenAcknowledgement")]
pub struct Acknowledgement {
    /// The secret.
    pub name: SecretName,
    /// The value. None in what was written before values were told apart: any value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<SecretDigest>,
}

/// An acknowledgement as it may lie in an outbox: earlier versions wrote the name alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenAcknowledgement {
    Name(SecretName),
    Value {
        name: SecretName,
        #[serde(default)]
        digest: Option<SecretDigest>,
    },
}

impl From<WrittenAcknowledgement> for Acknowledgement {
    fn from(written: WrittenAcknowledgement) -> Self {
        match written {
            WrittenAcknowledgement::Name(name) => Self { name, digest: None },
            WrittenAcknowledgement::Value { name, digest } => Self { name, digest },
        }
    }
}

/// Something that a guest did, on its way up to the control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestEvent {
    /// The port that it came through: the only part that is known and not merely said.
    pub port: PortId,
    /// The instance that the port belonged to when it came.
    pub instance: InstanceId,
    /// When it came, in milliseconds since 1970-01-01T00:00:00Z.
    pub at_ms: u64,
    /// Different for each event, the same when one is delivered again.
    pub key: u128,
    /// What it is.
    pub kind: GuestEventKind,
}

/// The kinds of [`GuestEvent`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestEventKind {
    /// The agent's report.
    Report(Report),
    /// A password was made.
    Password(SealedPassword),
    /// A read-once secret was received and must not be handed out again.
    SecretAcknowledged(Acknowledgement),
    /// A password was made and posted as OpenStack's clients do.
    NovaPassword(NovaPassword),
    /// An attribute of the guest's own was set or removed.
    GuestAttribute(GuestAttribute),
    /// A volume's key was asked for.
    VolumeKey(KeyRequest),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acknowledgement_of_an_earlier_version_is_of_any_value() {
        let old = r#"{"secret-acknowledged":"one"}"#;
        let GuestEventKind::SecretAcknowledged(read) = serde_json::from_str(old).unwrap() else {
            panic!()
        };
        assert_eq!((read.name.as_str(), read.digest), ("one", None));
    }

    #[test]
    fn an_acknowledgement_comes_back_with_its_value() {
        let name = SecretName::parse("one").unwrap();
        for digest in [None, Some(SecretDigest::new([7; 32]))] {
            let kind =
                GuestEventKind::SecretAcknowledged(Acknowledgement { name: name.clone(), digest });
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(serde_json::from_str::<GuestEventKind>(&json).unwrap(), kind, "{json}");
        }
        // A digest that is none must not become "any value".
        let spoilt = r#"{"secret-acknowledged":{"name":"one","digest":"abc"}}"#;
        assert!(serde_json::from_str::<GuestEventKind>(spoilt).is_err());
    }
}
