//! Keys of a guest's encrypted volumes: what is kept of them, and why one is not given out.
//!
//! A key is given to its instance's guest while that starts, and at no other time; who may have it
//! when is decided in the protocol crate. Here are the nouns alone. A key that was revoked has no
//! bytes in a hypervisor's snapshot, only its name and that it is revoked, so that the guest can be
//! told why its volume stays locked.

mod exchange;
pub mod hpke;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use self::exchange::{KeyAnswer, KeyQuestion, SealedVersion};
use crate::{InstanceId, PortId, SecretBytes, VolumeName};

/// A key of one volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeKey {
    /// What opens the volume, newest first: two of them while a key is being replaced by another,
    /// none where it is revoked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<KeyVersion>,
    /// The number of the version that was made last. No number is used again.
    pub last: u32,
    /// Whether it is given out at all.
    #[serde(default)]
    pub state: KeyState,
    /// How often it is given out.
    #[serde(default)]
    pub once: Once,
    /// For how long after the start of the machine it is given out, in seconds. Without, for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<u32>,
    /// Until when it is given out, in seconds since 1970-01-01T00:00:00Z. Without, for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<u64>,
}

impl VolumeKey {
    /// Most versions that open a volume at the same time: the old one and the new one.
    pub const VERSIONS_MAX: usize = 2;
    /// The shortest key, in bytes: 128 bits.
    pub const LENGTH_MIN: usize = 16;
    /// The longest key, in bytes: what cryptsetup takes as a passphrase.
    pub const LENGTH_MAX: usize = 512;
    /// Most keys of an instance.
    pub const COUNT_MAX: usize = 16;
}

/// What HPKE's context is bound to, where a key is sealed to the guest that asks for it.
pub const INFO: &[u8] = b"mezame volume key v1";

/// What a sealed version is bound to: a line each, none of which can hold a newline.
pub fn associated(
    instance: &InstanceId,
    port: &PortId,
    volume: &VolumeName,
    version: u32,
    boot_nonce: &str,
) -> String {
    format!("{instance}\n{port}\n{volume}\n{version}\n{boot_nonce}")
}

/// One version of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyVersion {
    /// From 1; only goes forward.
    pub number: u32,
    /// [`VolumeKey::LENGTH_MIN`] to [`VolumeKey::LENGTH_MAX`] bytes.
    pub key: SecretBytes,
}

/// Whether a key is given out at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyState {
    /// It is, within its limits.
    #[default]
    Active,
    /// It is not.
    Revoked,
}

impl KeyState {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Revoked => "revoked",
        }
    }
}

/// How often a key is given out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Once {
    /// Once a start of the machine, which the hypervisor's kernel tells and no guest can feign. A
    /// guest that reboots by itself, in the same machine, stays locked until that is started anew.
    #[default]
    PerStart,
    /// Once for each boot that the guest says it is in. A guest may reboot by itself, and whoever
    /// is in the running guest may say that it did.
    PerBoot,
}

impl Once {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::PerStart, Self::PerBoot];

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PerStart => "per-start",
            Self::PerBoot => "per-boot",
        }
    }
}

/// Why a guest was not given a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
pub enum Withheld {
    /// The instance has none of this name.
    #[error("this instance has no key of this name")]
    NoSuchKey,
    /// The operator has revoked it.
    #[error("the key is revoked")]
    Revoked,
    /// Its deadline has passed.
    #[error("the key's deadline has passed")]
    DeadlineOver,
    /// The machine was started too long ago.
    #[error("the machine was started too long ago for its key to be given out")]
    WindowOver,
    /// It was given out already.
    #[error("the key was given out in this boot already; start the machine anew")]
    AlreadyReleased,
    /// So many boots in one start are none.
    #[error("the machine says that it was booted too often; start the machine anew")]
    TooManyBoots,
    /// It came by another port than the instance's first.
    #[error("keys are given out through the instance's first port alone")]
    OtherPort,
}

impl Withheld {
    /// A stable word for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoSuchKey => "no-such-key",
            Self::Revoked => "revoked",
            Self::DeadlineOver => "deadline-over",
            Self::WindowOver => "window-over",
            Self::AlreadyReleased => "already-released",
            Self::TooManyBoots => "too-many-boots",
            Self::OtherPort => "other-port",
        }
    }
}

/// The digest of something that tells one boot or start from another: 128 bits, as 32 lower-case
/// hexadecimal digits. No secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BootDigest([u8; 16]);

/// The text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a boot's digest has 32 lower-case hexadecimal digits")]
pub struct BootDigestError;

impl BootDigest {
    /// Takes the bytes of the digest.
    pub const fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for BootDigest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for BootDigest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl From<BootDigest> for String {
    fn from(digest: BootDigest) -> String {
        digest.to_string()
    }
}

impl TryFrom<String> for BootDigest {
    type Error = BootDigestError;
    fn try_from(text: String) -> Result<Self, BootDigestError> {
        let plain = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 32 || !text.bytes().all(plain) {
            return Err(BootDigestError);
        }
        let number = u128::from_str_radix(&text, 16).map_err(|_| BootDigestError)?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// What became of a guest's request for a key: a line of the audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRequest {
    /// The key that it asked for.
    pub volume: VolumeName,
    /// The start of the machine, as the hypervisor's kernel tells.
    pub start: BootDigest,
    /// The boot, as the guest says.
    pub boot: BootDigest,
    /// What it got.
    pub outcome: KeyOutcome,
}

/// What a guest that asked for a key got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyOutcome {
    /// These versions of it.
    Released(Vec<u32>),
    /// Nothing.
    Withheld(Withheld),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_key() {
        let key = VolumeKey {
            versions: vec![KeyVersion { number: 1, key: SecretBytes::new(vec![77; 32]) }],
            last: 1,
            state: KeyState::Active,
            once: Once::PerStart,
            window_seconds: None,
            not_after: None,
        };
        assert!(!format!("{key:?}").contains("77"));
    }

    #[test]
    fn a_digest_is_32_small_hexadecimal_digits_and_nothing_else() {
        let digest = BootDigest::new(std::array::from_fn(|at| at as u8));
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, "\"000102030405060708090a0b0c0d0e0f\"");
        assert_eq!(serde_json::from_str::<BootDigest>(&json).unwrap(), digest);
        for other in
            ["", "00", "000102030405060708090A0b0c0d0e0f", "+00102030405060708090a0b0c0d0e0f"]
        {
            assert!(
                serde_json::from_str::<BootDigest>(&format!("\"{other}\"")).is_err(),
                "{other}"
            );
        }
    }

    #[test]
    fn words_are_as_they_are_written() {
        for once in Once::ALL {
            assert_eq!(serde_json::to_value(once).unwrap(), once.as_str());
        }
        for state in [KeyState::Active, KeyState::Revoked] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for withheld in [
            Withheld::NoSuchKey,
            Withheld::Revoked,
            Withheld::DeadlineOver,
            Withheld::WindowOver,
            Withheld::AlreadyReleased,
            Withheld::TooManyBoots,
            Withheld::OtherPort,
        ] {
            let written = serde_json::json!({ "withheld": withheld.code() });
            assert_eq!(serde_json::to_value(KeyOutcome::Withheld(withheld)).unwrap(), written);
        }
    }
}
