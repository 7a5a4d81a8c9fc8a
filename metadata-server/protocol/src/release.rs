//! Giving a volume's key to a guest, once a boot.
//!
//! ```text
//!            ┌ what the record says ┐        ┌ what was given before ┐
//!  request ─►│ revoked? too late?   │─ Claim ─►│ settle: this start? │─► key, wrapped
//!            └──────── no ──────────┘        └───────── no ──────────┘
//!                      └────────────► Withheld ◄──────────┘     and all of it is audited
//! ```
//! A *start* of the machine is what the hypervisor's kernel tells: its tap came, or was taken hold
//! of anew. A *boot* is what the guest says, and it may lie. So [`Once::PerStart`] holds against
//! whoever is in the guest, and [`Once::PerBoot`] holds among those that tell the truth.
//!
//! What was given is kept by the shell, on disk, since it must outlive this process; [`Claim::settle`]
//! is all that it has to ask. A wrapped key opens with the one ephemeral key that the guest made for
//! this request, and names its instance, port, key, version and boot in the associated data. The
//! server is not authenticated by it: a key that somebody else has made up opens no volume.
//!
//! Never reads a clock, never logs a key.

use base64::{Engine, engine::general_purpose::STANDARD};
use mezame_model::{
    BootDigest, Generation, InstanceId, KeyOutcome, KeyRequest, PortId, VolumeKey, VolumeName,
    Withheld,
    report::GuestEventKind,
    volume_key::{self, INFO, KeyAnswer, KeyQuestion, KeyVersion, Once, SealedVersion},
};
use ring::{
    digest::{Context as Hash, SHA256},
    rand::SecureRandom,
};
use serde::{Deserialize, Serialize};

use crate::{
    hpke::{HpkeError, Sender},
    render,
    response::{Audit, JSON, Response, Status},
};

/// A start of the machine, as the hypervisor's kernel tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Differs for each start.
    pub id: BootDigest,
    /// How long ago it was, in seconds.
    pub age_s: u64,
}

impl Start {
    /// None: for who never gives out a key.
    pub const NONE: Self = Self { id: BootDigest::new([0; 16]), age_s: u64::MAX };
}

/// Names a start: the hypervisor's own boot, the port, its device, and how often somebody has taken
/// hold of that.
pub fn start_id(host_boot: &str, port: &PortId, ifindex: u32, carriers: u32) -> BootDigest {
    let (ifindex, carriers) = (ifindex.to_string(), carriers.to_string());
    digest(&["start", host_boot, port.as_str(), &ifindex, &carriers])
}

/// Names a boot by the nonce that the guest gave for it, whose text is kept nowhere.
fn boot_id(instance: &InstanceId, nonce: &str) -> BootDigest {
    digest(&["boot", instance.as_str(), nonce])
}

fn digest(parts: &[&str]) -> BootDigest {
    let mut hash = Hash::new(&SHA256);
    for part in parts {
        hash.update(part.as_bytes());
        hash.update(&[0]);
    }
    let mut bytes = [0; 16];
    // SHA-256 has 32 bytes.
    bytes.copy_from_slice(&hash.finish().as_ref()[..16]);
    BootDigest::new(bytes)
}

/// What was given out of one key: kept on disk by the shell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Released {
    /// The start in which it was given out last.
    start: Option<BootDigest>,
    /// The boots in that start in which it was given out.
    boots: Vec<BootDigest>,
    /// The record's generation then: a snapshot before it does not know that the key is there.
    pub generation: Generation,
}

impl Released {
    /// Most boots in one start of a machine.
    pub const BOOTS_MAX: usize = 256;
}

/// What is wrong with what a guest sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskError {
    #[error("public_key is not 32 bytes in base64")]
    PublicKey,
    #[error("boot_nonce is not 16 to 64 characters of A-Z, a-z, 0-9 and '-'")]
    BootNonce,
}

impl AskError {
    pub(crate) fn response(self) -> Response {
        let code = match self {
            Self::PublicKey => "bad-public-key",
            Self::BootNonce => "bad-boot-nonce",
        };
        render::error(Status::BadRequest, code, self)
    }
}

/// Who asks for which key, in which boot.
#[derive(Debug)]
pub(crate) struct Asker {
    pub(crate) instance: InstanceId,
    pub(crate) port: PortId,
    pub(crate) volume: VolumeName,
    pub(crate) start: Start,
    recipient: [u8; 32],
    nonce: Box<str>,
}

impl Asker {
    /// Checks the form of what a guest sent.
    pub(crate) fn new(
        asked: KeyQuestion,
        (instance, port): (&InstanceId, &PortId),
        volume: VolumeName,
        start: Start,
    ) -> Result<Self, AskError> {
        let recipient = STANDARD.decode(&asked.public_key).map_err(|_| AskError::PublicKey)?;
        let recipient = recipient.try_into().map_err(|_| AskError::PublicKey)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let nonce = asked.boot_nonce;
        if !(16..=64).contains(&nonce.len()) || !nonce.bytes().all(plain) {
            return Err(AskError::BootNonce);
        }
        let (instance, port) = (instance.clone(), port.clone());
        Ok(Self { instance, port, volume, start, recipient, nonce: nonce.into() })
    }

    /// For the audit trail.
    fn event(&self, outcome: KeyOutcome) -> GuestEventKind {
        GuestEventKind::VolumeKey(KeyRequest {
            volume: self.volume.clone(),
            start: self.start.id,
            boot: boot_id(&self.instance, &self.nonce),
            outcome,
        })
    }

    /// A refusal: what is audited, and what the guest is told.
    pub(crate) fn refused(&self, why: Withheld) -> (GuestEventKind, Response) {
        let status = match why {
            Withheld::NoSuchKey => Status::NotFound,
            Withheld::Revoked
            | Withheld::DeadlineOver
            | Withheld::WindowOver
            | Withheld::OtherPort => Status::Forbidden,
            Withheld::AlreadyReleased | Withheld::TooManyBoots => Status::Conflict,
        };
        (self.event(KeyOutcome::Withheld(why)), render::error(status, why.code(), why))
    }
}

/// A guest's right to a key, as far as its record goes.
#[derive(Debug)]
pub struct Claim {
    asker: Asker,
    once: Once,
    versions: Vec<KeyVersion>,
    generation: Generation,
}

impl Claim {
    pub(crate) fn new(asker: Asker, key: &VolumeKey, generation: Generation) -> Self {
        Self { asker, once: key.once, versions: key.versions.clone(), generation }
    }

    /// Whose key it is.
    pub fn key(&self) -> (&InstanceId, &VolumeName) {
        (&self.asker.instance, &self.asker.volume)
    }

    /// Whether the key may be given out, after what was given out before; and what was given out
    /// then.
    pub fn settle(&self, before: &Released) -> Result<Released, Withheld> {
        let boot = boot_id(&self.asker.instance, &self.asker.nonce);
        let start = Some(self.asker.start.id);
        let mut boots = Vec::new();
        if before.start == start {
            if self.once == Once::PerStart || before.boots.contains(&boot) {
                return Err(Withheld::AlreadyReleased);
            }
            if before.boots.len() >= Released::BOOTS_MAX {
                return Err(Withheld::TooManyBoots);
            }
            boots.clone_from(&before.boots);
        }
        boots.push(boot);
        Ok(Released { start, boots, generation: self.generation.max(before.generation) })
    }

    /// What is audited of giving it out.
    pub fn released(&self) -> GuestEventKind {
        let numbers = self.versions.iter().map(|version| version.number);
        self.asker.event(KeyOutcome::Released(numbers.collect()))
    }

    /// What is audited of not giving it out, and what the guest is told.
    pub fn refused(&self, why: Withheld) -> (GuestEventKind, Response) {
        self.asker.refused(why)
    }

    /// The reply with the key's versions, each sealed to the guest's ephemeral key. To be sent only
    /// once the claim is settled. Where the guest's key is none that can be sealed to, the reply
    /// says so, and nothing is to be noted.
    pub fn seal(&self, random: &dyn SecureRandom) -> Result<Response, Box<Response>> {
        self.sealed(random).map_err(|error| {
            let code = "unusable-public-key";
            Box::new(match error {
                HpkeError::Agreement => render::error(Status::BadRequest, code, error),
                HpkeError::Seal => Response::internal(),
            })
        })
    }

    fn sealed(&self, random: &dyn SecureRandom) -> Result<Response, HpkeError> {
        let asker = &self.asker;
        let mut sender = Sender::new(&asker.recipient, INFO, random)?;
        let mut keys = Vec::with_capacity(self.versions.len());
        for version in &self.versions {
            let bound = associated(asker, version.number);
            let sealed = sender.seal(bound.as_bytes(), version.key.expose())?;
            keys.push(SealedVersion { sealed: STANDARD.encode(sealed), version: version.number });
        }
        let answer = KeyAnswer {
            encapsulated_key: STANDARD.encode(sender.encapsulated),
            instance_id: asker.instance.clone(),
            keys,
            port_id: asker.port.clone(),
            volume: asker.volume.clone(),
        };
        // Names and texts alone: it always becomes JSON.
        let body = serde_json::to_string(&answer).unwrap_or_default();
        let mut reply = Response::new(Status::Ok, JSON, (body + "\n").into());
        reply.no_store = true;
        reply.audit = Some(Audit::VolumeKey(asker.volume.clone()));
        Ok(reply)
    }
}

fn associated(asker: &Asker, version: u32) -> String {
    let Asker { instance, port, volume, nonce, .. } = asker;
    volume_key::associated(instance, port, volume, version, nonce)
}

#[cfg(test)]
mod tests;
