//! What operators do to the keys of an instance's encrypted volumes. Pure.
//!
//! ```text
//!            create                 rotate: version n + 1 joins version n
//!   (none) ─────────► active [1] ◄──────────────────────────────► active [n + 1, n]
//!      ▲                │   ▲                revoke one version: its bytes are gone
//!      │         revoke │   │ restore
//!      │                ▼   │
//!      └── destroy ── revoked   its bytes stay here, sealed; hypervisors have only its name
//! ```
//! A key that is rotated opens the volume with either version until the old one is taken away, so
//! that the volume's header can be changed in between, whatever happens meanwhile.

use std::sync::Arc;

use mezame_model::{
    Instance, SecretBytes, VolumeKey, VolumeName,
    api::{Fault, NewVolumeKey, VolumeKeyView},
    volume_key::{KeyState, KeyVersion},
};

use crate::record::InstanceRecord;

/// What is to be done to one of an instance's keys.
#[derive(Debug)]
pub(crate) enum Action {
    /// Add it to its name.
    Create(NewVolumeKey),
    /// Add this as its next version.
    Rotate(SecretBytes),
    /// Give it out no more; or, of several versions, forget this one.
    Revoke(Option<u32>),
    /// Give it out again.
    Restore,
    /// Forget it.
    Destroy,
}

impl Action {
    /// As the event stream tells it.
    pub(crate) fn what(&self) -> &'static str {
        match self {
            Self::Create(_) => "volume-key-created",
            Self::Rotate(_) => "volume-key-rotated",
            Self::Revoke(_) => "volume-key-revoked",
            Self::Restore => "volume-key-restored",
            Self::Destroy => "volume-key-destroyed",
        }
    }
}

/// Why nothing is done.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The instance has no key of this name.
    NotFound,
    /// It can't be done to this key.
    Fault(Fault),
}

/// The record after the action; None where it is so already.
pub(crate) fn change(
    record: &InstanceRecord,
    name: &VolumeName,
    action: Action,
) -> Result<Option<InstanceRecord>, Refused> {
    let mut after =
        InstanceRecord { instance: Arc::clone(&record.instance), revision: None, ..record.clone() };
    let mut instance = Instance::clone(&record.instance);
    let keys = &mut instance.volume_keys;
    match action {
        Action::Create(new) => {
            if keys.contains_key(name) {
                let mend = "choose another name, or rotate the key that is there";
                return Err(fault("name", format!("there is a key '{name}' already"), mend));
            }
            if keys.len() >= VolumeKey::COUNT_MAX {
                let message = format!("an instance has at most {} keys", VolumeKey::COUNT_MAX);
                return Err(fault("name", message, "destroy one that is not used"));
            }
            keys.insert(name.clone(), of_new(new)?);
        }
        Action::Rotate(bytes) => rotate(keys.get_mut(name).ok_or(Refused::NotFound)?, bytes)?,
        Action::Revoke(Some(number)) => {
            forget(keys.get_mut(name).ok_or(Refused::NotFound)?, number)?;
        }
        Action::Revoke(None) => {
            let key = keys.get_mut(name).ok_or(Refused::NotFound)?;
            if key.state == KeyState::Revoked {
                return Ok(None);
            }
            key.state = KeyState::Revoked;
            after.kept_back.insert(name.clone(), std::mem::take(&mut key.versions));
        }
        Action::Restore => {
            let key = keys.get_mut(name).ok_or(Refused::NotFound)?;
            if key.state == KeyState::Active {
                return Ok(None);
            }
            key.state = KeyState::Active;
            key.versions = after.kept_back.remove(name).unwrap_or_default();
        }
        Action::Destroy => {
            keys.remove(name).ok_or(Refused::NotFound)?;
            after.kept_back.remove(name);
        }
    }
    after.instance = Arc::new(instance);
    Ok(Some(after))
}

/// Adds a version to a key.
fn rotate(key: &mut VolumeKey, bytes: SecretBytes) -> Result<(), Refused> {
    if key.state == KeyState::Revoked {
        return Err(fault("", "the key is revoked".into(), "restore it first"));
    }
    if key.versions.len() >= VolumeKey::VERSIONS_MAX {
        let mend = "revoke the version that the volume's header no longer has";
        return Err(fault("", "both of its versions are in use".into(), mend));
    }
    if key.versions.iter().any(|version| version.key == bytes) {
        return Err(fault("key", "it is the key that there is".into(), "give another"));
    }
    let Some(number) = key.last.checked_add(1) else {
        let mend = "make another key";
        return Err(fault("", "it has no number for a further version".into(), mend));
    };
    key.versions.insert(0, KeyVersion { number, key: checked(bytes)? });
    key.last = number;
    Ok(())
}

/// Takes one of several versions away for good.
fn forget(key: &mut VolumeKey, number: u32) -> Result<(), Refused> {
    let at = key.versions.iter().position(|version| version.number == number);
    let Some(at) = at else {
        let message = format!("the key has no version {number} in use");
        return Err(fault("version", message, "list the keys to see their versions"));
    };
    if key.versions.len() == 1 {
        let mend = "revoke the key without naming a version, or destroy it";
        return Err(fault("version", "it is the key's only version".into(), mend));
    }
    key.versions.remove(at);
    Ok(())
}

/// All of an instance's keys, without what is secret.
pub(crate) fn views(record: &InstanceRecord) -> Vec<VolumeKeyView> {
    let view = |(name, key): (&VolumeName, &VolumeKey)| {
        let versions = record.kept_back.get(name).unwrap_or(&key.versions);
        VolumeKeyView {
            name: name.clone(),
            state: key.state,
            versions: versions.iter().map(|version| version.number).collect(),
            once: key.once,
            window_seconds: key.window_seconds,
            not_after: key.not_after,
        }
    };
    record.instance.volume_keys.iter().map(view).collect()
}

fn of_new(new: NewVolumeKey) -> Result<VolumeKey, Refused> {
    if new.window_seconds == Some(0) {
        let mend = "give a number of seconds, or leave it out";
        return Err(fault("window_seconds", "no time at all is left".into(), mend));
    }
    Ok(VolumeKey {
        versions: vec![KeyVersion { number: 1, key: checked(new.key)? }],
        last: 1,
        state: KeyState::Active,
        once: new.once,
        window_seconds: new.window_seconds,
        not_after: new.not_after,
    })
}

fn checked(key: SecretBytes) -> Result<SecretBytes, Refused> {
    let (least, most) = (VolumeKey::LENGTH_MIN, VolumeKey::LENGTH_MAX);
    if (least..=most).contains(&key.expose().len()) {
        return Ok(key);
    }
    let message = format!("the key has {} bytes", key.expose().len());
    Err(fault("key", message, &format!("give {least} to {most} bytes, best 32 random ones")))
}

fn fault(path: &str, message: String, mend: &str) -> Refused {
    Refused::Fault(Fault { document: 0, path: path.into(), message, mend: mend.into() })
}

#[cfg(test)]
mod tests;
