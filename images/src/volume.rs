//! A guest's volume: where its bytes are, how durable its writes are, and what QEMU is told so
//! that it is so. Pure: a description in, QEMU's `blockdev-add` and `device_add` arguments out.
//!
//! Every host cache but the guest's own is passed by unless that is asked for
//! ([`HostCache::Direct`]), so that a volume can move to another host while its guest runs.
//! Nothing here opens a file; [`flusher`] and [`recovery`] are what some classes need besides.
//!
//! After <https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html> (`BlockdevOptions`); what
//! is asked for here is in QEMU 7.2 and later.

pub mod allocation;
mod durability;
mod file;
pub mod flusher;
mod id;
mod limits;
pub mod recovery;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use durability::{Durability, FlushInterval, IntervalError, Loss};
pub use file::{FileIdentity, Place};
pub use id::{IdError, VolumeId};
pub use limits::Limits;

use crate::{
    encryption::{
        KeyNumber, MissingKey, VolumeKeys,
        secret::{Secrets, key_name, master_name},
    },
    iscsi::InitiatorName,
};

/// How the bytes of a file are arranged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// As they are.
    Raw,
    /// QEMU's copy-on-write format, version 3.
    Qcow2,
}

impl Format {
    /// QEMU's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// What a clone shares: an image that nobody writes any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backing {
    /// Where it is.
    pub place: Place,
    /// How it is arranged.
    pub format: Format,
    /// Whether it is encrypted, with LUKS over the raw file or within the qcow2 file.
    #[serde(default)]
    pub is_encrypted: bool,
}

/// Where a volume's bytes are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// All of them in one raw file, block device or LUN.
    Plain(Place),
    /// What differs from a master, in a qcow2 overlay.
    Overlay {
        /// The overlay.
        place: Place,
        /// The master.
        backing: Backing,
    },
}

/// Whether the host's page cache is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HostCache {
    /// It is passed by (`O_DIRECT`): a write is on the device when the guest is told so.
    #[default]
    Direct,
    /// It is used, for file systems without `O_DIRECT`. Such a volume must not be moved to another
    /// host while its guest runs, unless the two share the cache.
    Buffered,
}

/// A class and a place that don't go together.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum VolumeError {
    /// Only a plain volume is of this class, and it is of no other.
    #[error("{0} is a class of plain volumes, and plain volumes are of no other")]
    PlainAlone(&'static str),
    /// Putting writes back needs a file with holes.
    #[error(
        "{0} needs a file for the overlay: a block device or a LUN has no holes to tell writes by; \
         take synchronous, bounded or flush-honouring, or hydrate onto it"
    )]
    NeedsFile(&'static str),
}

/// A volume of a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    id: VolumeId,
    data: Data,
    durability: Durability,
    cache: HostCache,
    key: Option<KeyNumber>,
    initiator: Option<InitiatorName>,
    /// How much of its place it is, from the first byte on; all of it without.
    within: Option<u64>,
}

impl Volume {
    /// A volume, if its class goes with its place.
    pub fn new(
        id: VolumeId,
        data: Data,
        durability: Durability,
        cache: HostCache,
    ) -> Result<Self, VolumeError> {
        let is_plain = matches!(data, Data::Plain(_));
        if is_plain != (durability == Durability::Plain) {
            return Err(VolumeError::PlainAlone(durability.name()));
        }
        if durability.needs_recovery()
            && matches!(data, Data::Overlay { place: Place::Device(_) | Place::Lun(_), .. })
        {
            return Err(VolumeError::NeedsFile(durability.name()));
        }
        Ok(Self { id, data, durability, cache, key: None, initiator: None, within: None })
    }

    /// The same, encrypted, and opened with its key of this number. A plain volume has its LUKS
    /// header in the place, before its first byte, which makes the place 2 MiB longer than the volume.
    #[must_use]
    pub fn encrypted(self, key: KeyNumber) -> Self {
        Self { key: Some(key), ..self }
    }

    /// The same of a plain volume that is the first so many bytes of its place, its LUKS header among
    /// them: whole sectors, and blocks of 4096 bytes on devices that have such.
    #[must_use]
    pub fn within(self, bytes: u64) -> Self {
        Self { within: Some(bytes), ..self }
    }

    /// The same, of which what is on LUNs is reached as this hypervisor.
    #[must_use]
    pub fn reached_by(self, initiator: &InitiatorName) -> Self {
        Self { initiator: Some(initiator.clone()), ..self }
    }

    /// Which of its keys it is opened with, if it is encrypted.
    pub fn key(&self) -> Option<KeyNumber> {
        self.key
    }

    /// Whether a key is needed to read it: its own, or its master's.
    pub fn is_encrypted(&self) -> bool {
        let of_master = matches!(&self.data, Data::Overlay { backing, .. } if backing.is_encrypted);
        self.key.is_some() || of_master
    }

    /// What QEMU's programs are to be started with to open it.
    ///
    /// # Errors
    /// A key of its own, or its master's, or a CHAP secret, is not among those that are given.
    pub fn secrets(&self, keys: &VolumeKeys) -> Result<Secrets, MissingKey> {
        let mut secrets = Secrets::none();
        if let Some(number) = self.key {
            secrets = secrets.and(Secrets::of(&self.id, number, keys)?);
        }
        if matches!(&self.data, Data::Overlay { backing, .. } if backing.is_encrypted) {
            secrets = secrets.and(Secrets::of_master(&self.id, keys)?);
        }
        if let Place::Lun(lun) = self.place() {
            secrets = secrets.and(Secrets::of_lun(&self.chap("file"), lun, keys)?);
        }
        if let Data::Overlay { backing: Backing { place: Place::Lun(lun), .. }, .. } = &self.data {
            secrets = secrets.and(Secrets::of_lun(&self.chap("master-file"), lun, keys)?);
        }
        Ok(secrets)
    }

    pub(crate) fn is_overlay(&self) -> bool {
        matches!(self.data, Data::Overlay { .. })
    }

    /// The file or device that its own bytes are in.
    pub(crate) fn place(&self) -> &Place {
        match &self.data {
            Data::Plain(place) | Data::Overlay { place, .. } => place,
        }
    }

    /// Its own file alone, without its master, opened with one of its keys.
    pub(crate) fn header_node(&self, key: KeyNumber) -> Value {
        let mut node = self.clone().encrypted(key).blockdev();
        if self.is_overlay() {
            node["backing"] = Value::Null;
        }
        node
    }

    /// Whether it is a part of its place alone.
    pub(crate) fn is_part(&self) -> bool {
        self.within.is_some()
    }

    /// Its id, which is the name of its node in QEMU too.
    pub fn id(&self) -> &VolumeId {
        &self.id
    }

    /// Where its bytes are.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// Its class.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// Whether the host's cache is used.
    pub(crate) fn cache_mode(&self) -> HostCache {
        self.cache
    }

    /// The argument of `blockdev-add`, of `-blockdev` and of the storage daemon's `--blockdev`: a
    /// tree of nodes whose root is named after the volume.
    pub fn blockdev(&self) -> Value {
        match &self.data {
            Data::Plain(place) => {
                let mut plain = json!({
                    "driver": "raw",
                    "node-name": self.id.node(""),
                    "discard": "unmap",
                    "cache": self.cache(),
                    "file": self.protocol("file", place, "unmap"),
                });
                match (self.within, self.key) {
                    (None, _) => {}
                    (Some(bytes), None) => plain["size"] = bytes.into(),
                    // LUKS takes all of what it lies on.
                    (Some(bytes), Some(_)) => {
                        plain["file"] = json!({
                            "driver": "raw",
                            "node-name": self.id.node("part"),
                            "size": bytes,
                            "discard": "unmap",
                            "cache": self.cache(),
                            "file": plain["file"],
                        });
                    }
                }
                if let Some(key) = self.key {
                    encrypt(&mut plain, Format::Raw, key_name(&self.id, key));
                }
                plain
            }
            Data::Overlay { place, backing } => {
                let discard = self.discard();
                let mut overlay = json!({
                    "driver": "qcow2",
                    "node-name": self.id.node(""),
                    "discard": discard,
                    "cache": self.cache(),
                    "file": self.protocol("file", place, discard),
                    "backing": self.master(backing),
                });
                if self.durability == Durability::Synchronous {
                    // A piece of an L2 table is written with each write that allocates: the
                    // smallest piece that there is.
                    overlay["l2-cache-entry-size"] = json!(4096);
                }
                if let Some(key) = self.key {
                    encrypt(&mut overlay, Format::Qcow2, key_name(&self.id, key));
                }
                overlay
            }
        }
    }

    /// The argument of `device_add` and of `-device`: a virtio disk on PCI.
    pub fn device(&self) -> Value {
        let is_synchronous = self.durability == Durability::Synchronous;
        // What a guest zeroes or discards would be marked in the table alone, and there is no
        // telling from the file that it was.
        let forgets = !self.durability.needs_recovery();
        json!({
            "driver": "virtio-blk-pci",
            "id": self.id.node("disk"),
            "drive": self.id.node(""),
            "serial": self.id.serial(),
            "write-cache": if is_synchronous { "off" } else { "on" },
            "discard": forgets,
            "write-zeroes": forgets,
            // The flusher's export is another writer, which never writes.
            "share-rw": self.durability.flush_interval().is_some(),
        })
    }

    fn discard(&self) -> &'static str {
        if self.durability.needs_recovery() { "ignore" } else { "unmap" }
    }

    fn cache(&self) -> Value {
        json!({ "direct": self.cache == HostCache::Direct, "no-flush": false })
    }

    fn protocol(&self, part: &str, place: &Place, discard: &str) -> Value {
        let mut node = match place {
            Place::File(path) => json!({ "driver": "file", "filename": path }),
            Place::Device(path) => json!({ "driver": "host_device", "filename": path }),
            Place::Lun(lun) => lun.node(self.initiator.as_ref(), &self.chap(part)),
        };
        node["node-name"] = self.id.node(part).into();
        node["discard"] = discard.into();
        node["cache"] = self.cache();
        node
    }

    /// The secret of one of its nodes on a LUN.
    fn chap(&self, part: &str) -> String {
        self.id.node(&format!("{part}-chap"))
    }

    fn master(&self, backing: &Backing) -> Value {
        let mut master = json!({
            "driver": backing.format.name(),
            "node-name": self.id.node("master"),
            "read-only": true,
            "cache": self.cache(),
            "file": self.protocol("master-file", &backing.place, "ignore"),
        });
        master["file"]["read-only"] = true.into();
        if backing.format == Format::Qcow2 {
            // A master stands alone: what its header may name is not opened.
            master["backing"] = Value::Null;
        }
        if backing.is_encrypted {
            encrypt(&mut master, backing.format, master_name(&self.id));
        }
        master
    }
}

/// Makes a node one that deciphers what it reads, with the secret of this name.
fn encrypt(node: &mut Value, format: Format, secret: String) {
    match format {
        Format::Raw => {
            node["driver"] = "luks".into();
            node["key-secret"] = secret.into();
        }
        Format::Qcow2 => node["encrypt"] = json!({ "format": "luks", "key-secret": secret }),
    }
}
