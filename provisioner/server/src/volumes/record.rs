//! What the control plane keeps of a volume. The store seals it, keys included.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use mezame_images::{
    encryption::{KeyNumber, VolumeKey, VolumeKeys},
    volume::{FlushInterval, VolumeId},
};
use mezame_model::{
    ProjectName, SecretBytes,
    api::volumes::{Limits, Volume, VolumeClass, VolumeState},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::executor::Facts;

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct VolumeRecord {
    pub(crate) id: VolumeId,
    pub(crate) project: ProjectName,
    /// The caller who had it made.
    pub(crate) owner: Box<str>,
    /// Whose pool it is in.
    pub(crate) host: Box<str>,
    pub(crate) pool: Box<str>,
    /// The disk that it is on, where it has one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) place: Option<Box<str>>,
    /// What the master is called that it is a clone of.
    pub(crate) master: Box<str>,
    /// Which masters it was made with, as those say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) masters: Option<Box<str>>,
    /// The image that it began as, or that it was restored from last; zeros without.
    pub(crate) image: Option<Box<str>>,
    /// Whether that is a backup: its master is of no use to others.
    pub(crate) is_restored: bool,
    pub(crate) size: u64,
    /// How long it is to be, where making it longer was begun and has not ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) growing: Option<u64>,
    pub(crate) class: VolumeClass,
    /// How often it is flushed, in milliseconds; the usual without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) flush_ms: Option<u32>,
    #[serde(default)]
    pub(crate) limits: Limits,
    /// The QEMU that it was opened for last, where that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) opened: Option<OpenedRecord>,
    /// The guest that is seen to, where its class or its limits want that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) guest: Option<GuestRecord>,
    /// Those that may not be forgotten, by number; none of a volume in the clear.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) keys: BTreeMap<u32, SecretBytes>,
    /// That of the master, where that is encrypted: the same for all volumes of one master.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) master_key: Option<SecretBytes>,
    /// Whether a change to the newest of them was begun and not ended.
    #[serde(default)]
    pub(crate) is_rotating: bool,
    pub(crate) state: VolumeState,
    pub(crate) created_ms: u64,
    /// Files that restores have kept of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) kept: Vec<PathBuf>,
}

/// The QEMU that a volume was opened for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OpenedRecord {
    /// Its monitor.
    pub(crate) qmp: PathBuf,
    /// When, in milliseconds since 1970.
    pub(crate) at_ms: u64,
}

/// A guest that is seen to ([`super::attend`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GuestRecord {
    /// Its QEMU's monitor.
    pub(crate) qmp: PathBuf,
    /// When that was said, in milliseconds since 1970.
    pub(crate) asked_ms: u64,
    /// Whether it was there: if it is not any more, it has ended.
    pub(crate) has_run: bool,
}

impl GuestRecord {
    /// That of a QEMU that a volume was opened for, and that is to come.
    pub(crate) fn awaited(opened: OpenedRecord) -> Self {
        Self { qmp: opened.qmp, asked_ms: opened.at_ms, has_run: false }
    }
}

impl VolumeRecord {
    /// How often it is flushed, if its class is.
    pub(crate) fn interval(&self) -> Option<FlushInterval> {
        let told = self.flush_ms.map(|ms| Duration::from_millis(ms.into()));
        let interval = told.and_then(|told| FlushInterval::new(told).ok()).unwrap_or_default();
        self.class.is_flushed().then_some(interval)
    }

    /// The monitor of the guest that runs on it, or of the last one that did, where that is known.
    pub(crate) fn monitor(&self) -> Option<&Path> {
        let opened = self.opened.as_ref().map(|it| &*it.qmp);
        opened.or_else(|| self.guest.as_ref().map(|it| &*it.qmp))
    }

    /// How long it is, or may be by now.
    pub(crate) fn longest(&self) -> u64 {
        self.growing.map_or(self.size, |size| size.max(self.size))
    }

    /// Whether something of it is in the clear nowhere on its host.
    pub(crate) fn is_encrypted(&self) -> bool {
        !self.keys.is_empty() || self.master_key.is_some()
    }

    /// As operators see it, but for what is at work on it ([`super::shown`]) and how it is flushed
    /// ([`super::attend`]).
    pub(crate) fn shown(&self) -> Volume {
        Volume {
            id: self.id.to_string(),
            project: self.project.to_string(),
            owner: self.owner.to_string(),
            host: self.host.to_string(),
            pool: self.pool.to_string(),
            place: self.place.as_ref().map(ToString::to_string),
            image: self.image.as_ref().map(ToString::to_string),
            size: self.size,
            class: self.class,
            flush_ms: self
                .interval()
                .map(|interval| u32::try_from(interval.bound().as_millis()).unwrap_or(u32::MAX)),
            flush: None,
            encrypted: !self.keys.is_empty(),
            keys: self.keys.keys().copied().collect(),
            limits: self.limits,
            qmp: self.monitor().map(Path::to_owned),
            state: self.state,
            created_ms: self.created_ms,
            restoring: None,
            resizing: self.growing,
            rotating: self.is_rotating,
            job: None,
            kept: self.kept.iter().map(|path| path.display().to_string()).collect(),
        }
    }

    /// What whoever has the pool needs to know.
    pub(crate) fn facts(&self) -> Facts {
        let mut keys = VolumeKeys::none();
        for (number, bytes) in &self.keys {
            if let Some(key) = key_of(bytes) {
                keys = keys.with(KeyNumber(*number), key);
            }
        }
        let master_key = self.master_key.as_ref().and_then(key_of);
        if let Some(key) = &master_key {
            keys = keys.with_master(key.clone());
        }
        Facts {
            id: self.id.clone(),
            pool: self.pool.to_string(),
            size: self.size,
            place: self.place.as_ref().map(ToString::to_string),
            master: self.master.to_string(),
            masters: self.masters.as_ref().map(ToString::to_string),
            master_key,
            master_goes: self.is_restored || self.master_key.is_some(),
            class: self.class,
            interval: self.interval().unwrap_or_default(),
            keys,
            newest: self.keys.keys().next_back().copied().map(KeyNumber),
        }
    }
}

fn key_of(bytes: &SecretBytes) -> Option<VolumeKey> {
    bytes.expose().try_into().ok().map(|bytes| VolumeKey::of(Zeroizing::new(bytes)))
}
