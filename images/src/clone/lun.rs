//! Masters on LUNs, and clones whose overlays are on LUNs.
//!
//! A master on a LUN is a directory like any other, whose manifest says which LUN and what that was
//! ([`LunSeal`]) in place of which file. Its clones are in pools of files, or on LUNs themselves.
//!
//! A clone on a LUN is a qcow2 overlay from its first block on, and takes all of the LUN from the
//! beginning: each cluster has its place, so that it never runs out of room. Its record, which is there
//! before the overlay is, says which LUN and whose it is ([`Ownership`]).
//!
//! After a hard stop it is used as it is: there are no holes to tell lost writes by, so its class is
//! `synchronous`, `bounded` or `flush-honouring`.

mod overlay;

use std::{
    fs,
    path::{Path, PathBuf},
};

use overlay::Expected;
use serde::{Deserialize, Serialize};

use super::{
    CLONES, Claim, CloneError, LOCK, Master, Ownership, Start, beside,
    durable::{self, sync_directory, write_new},
    failed, json,
    pool::{make_lock, private_directory},
    sealing::{MANIFEST, Manifest, Sealed},
};
use crate::{
    environment::{SystemEnvironment, random},
    iscsi::{self, Lun, LunAccess, LunError, LunSeal},
    qcow2,
    volume::{Backing, Data, Durability, Format, HostCache, Place, Volume, VolumeId},
};

const LUNS: &str = "luns";

/// What a master keeps of a clone on a LUN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LunRecord {
    lun: Lun,
    /// The target's number for it, when the clone was made.
    serial: String,
    /// What its head says of which overlay it is.
    mark: String,
    /// Whether the overlay is there whole.
    is_made: bool,
    pub(super) owner: Ownership,
}

/// A clone whose overlay is on a LUN.
#[derive(Debug, Clone)]
pub struct LunClone {
    id: VolumeId,
    record: LunRecord,
}

impl LunClone {
    /// Its id.
    pub fn id(&self) -> &VolumeId {
        &self.id
    }

    /// Its LUN.
    pub fn lun(&self) -> &Lun {
        &self.record.lun
    }

    /// Who may write to it, when it was looked up.
    pub fn ownership(&self) -> &Ownership {
        &self.record.owner
    }

    /// As QEMU is told of it, if a guest may be started on it so by this claim, by the master's record as
    /// it is now. The LUN is asked whether it is the one that the clone was made on, with the clone's
    /// overlay. Its QEMU is started with [`Volume::secrets`] of [`LunAccess::keys`], at once: whoever
    /// claims the clone after this is not noticed.
    ///
    /// # Errors
    /// [`CloneError::NotOwner`], also where it was claimed after it was looked up;
    /// [`CloneError::Replaced`], if another LUN has its number or something else is on it;
    /// [`CloneError::Volume`] for the classes that need a file.
    pub fn volume(
        &self,
        master: &Master,
        durability: Durability,
        cache: HostCache,
        claim: &Claim,
        start: Start,
    ) -> Result<Volume, CloneError> {
        let record = master.lun_record(&self.id)?;
        let record = record.ok_or_else(|| CloneError::NoClone(self.id.clone()))?;
        record.owner.check(&self.id, claim, start)?;
        let access = master.access_to(&record.lun)?;
        let backing = master.backing();
        if iscsi::serial(&record.lun, access)? != record.serial {
            return Err(CloneError::Replaced { path: record.lun.to_string().into() });
        }
        overlay::check(&record.lun, access, &record.overlay(&backing, master.size()))?;
        let data = Data::Overlay { place: Place::Lun(record.lun), backing };
        let volume = Volume::new(self.id.clone(), data, durability, cache)?;
        Ok(volume.reached_by(access.initiator()))
    }
}

impl LunRecord {
    fn overlay<'a>(&'a self, backing: &'a Backing, size: u64) -> Expected<'a> {
        Expected { mark: &self.mark, backing, size, is_made: self.is_made }
    }
}

impl Master {
    /// Makes a master of what is on a LUN, in a directory that is made for it. The LUN is not written;
    /// from then on nobody may. Repeating it after a stop completes it.
    ///
    /// # Errors
    /// [`CloneError::NotAlone`], [`CloneError::Qcow2`]; [`CloneError::MasterExists`], if the directory
    /// is another master's; [`CloneError::Changed`], if this one was sealed there and is not as it was.
    pub fn seal_lun(
        lun: &Lun,
        format: Format,
        directory: &Path,
        access: &LunAccess,
    ) -> Result<Self, CloneError> {
        if directory.try_exists().map_err(failed("finding", directory))? {
            let master = Self::open(directory)?.reached_by(access.clone());
            return match &master.manifest.sealed {
                Sealed::Lun { lun: sealed, .. }
                    if sealed == lun && master.manifest.format == format =>
                {
                    master.check()?;
                    durable::sync_parent(directory).map_err(failed("syncing", directory))?;
                    Ok(master)
                }
                _ => Err(CloneError::MasterExists { path: directory.into() }),
            };
        }
        let (seal, head) = LunSeal::look(lun, access)?;
        let size = match format {
            Format::Raw => seal.length,
            Format::Qcow2 => size_in(&head, lun)?,
        };
        let sealed = Sealed::Lun { lun: lun.clone(), seal };
        let manifest = Manifest { format, is_encrypted: false, size, sealed };
        let stage = beside(directory, ".new");
        private_directory(&stage.join(CLONES)).map_err(failed("making", &stage))?;
        make_lock(&stage.join(LOCK))?;
        let path = stage.join(MANIFEST);
        write_new(&path, &json(&manifest)).map_err(failed("writing", &path))?;
        sync_directory(&stage).map_err(failed("syncing", &stage))?;
        fs::rename(&stage, directory).map_err(failed("making", directory))?;
        durable::sync_parent(directory).map_err(failed("syncing", directory))?;
        Ok(Self { directory: directory.into(), manifest, access: Some(access.clone()) })
    }

    /// That a LUN is what was sealed, and that its target still keeps it from being written if it did.
    pub(super) fn check_lun(&self, lun: &Lun, sealed: &LunSeal) -> Result<(), CloneError> {
        if LunSeal::of(lun, self.access_to(lun)?)? == *sealed {
            return Ok(());
        }
        Err(CloneError::Changed { path: self.directory.clone() })
    }

    /// That the target of the master's LUN, if it is on one, answers at all. Asked before a lock is taken,
    /// which everybody else would wait for.
    pub(super) fn answers(&self) -> Result<(), CloneError> {
        if let Sealed::Lun { lun, .. } = &self.manifest.sealed {
            iscsi::serial(lun, self.access_to(lun)?)?;
        }
        Ok(())
    }

    /// Makes a clone on a LUN that is blank: its first MiB is zeroes. It is the length of the master, and
    /// nobody's until it is [claimed](Self::claim). A call that was stopped is completed by the same call,
    /// if nothing else is on the LUN by then.
    ///
    /// # Errors
    /// [`LunError::TooSmall`] says how long the LUN must be; [`LunError::NotBlank`];
    /// [`CloneError::LunTaken`]; [`CloneError::WouldBeClear`] for an encrypted master.
    pub fn clone_onto(&self, lun: &Lun, id: &VolumeId) -> Result<LunClone, CloneError> {
        if self.manifest.is_encrypted {
            return Err(CloneError::WouldBeClear { path: self.directory.clone() });
        }
        let access = self.access_to(lun)?;
        self.answers()?;
        iscsi::serial(lun, access)?;
        let _lock = self.lock()?;
        self.check()?;
        let begun = self.begun(lun, id)?;
        let seal = LunSeal::of(lun, access)?;
        let begun = begun.filter(|record| record.serial == seal.serial);
        let backing = self.backing();
        let ours = begun.as_ref().map(|record| record.overlay(&backing, self.size()));
        overlay::check_room(lun, access, self.size(), ours.as_ref())?;
        let mark = match &begun {
            Some(begun) => begun.mark.clone(),
            None => new_mark(id)?,
        };
        let record = LunRecord {
            lun: lun.clone(),
            serial: seal.serial,
            mark,
            is_made: false,
            owner: Ownership::default(),
        };
        let directory = self.directory.join(LUNS);
        private_directory(&directory).map_err(failed("making", &directory))?;
        sync_directory(&self.directory).map_err(failed("syncing", &self.directory))?;
        self.write_lun(id, &record)?;
        overlay::make(lun, access, &record.overlay(&backing, self.size()))?;
        let record = LunRecord { is_made: true, ..record };
        self.write_lun(id, &record)?;
        Ok(LunClone { id: id.clone(), record })
    }

    /// The record of a cloning of this id onto this LUN that was stopped. That the id and the LUN are
    /// no other clone's.
    fn begun(&self, lun: &Lun, id: &VolumeId) -> Result<Option<LunRecord>, CloneError> {
        if self.record_path(id).exists() {
            return Err(CloneError::Exists(id.clone()));
        }
        if let Sealed::Lun { lun: master, .. } = &self.manifest.sealed
            && master.is_same_unit(lun)
        {
            return Err(LunError::NotBlank(Box::new(lun.clone())).into());
        }
        let mut begun = None;
        for (of, record) in self.lun_records()? {
            match (of == *id, record.lun.is_same_unit(lun)) {
                (true, true) if !record.is_made => begun = Some(record),
                (true, _) => return Err(CloneError::Exists(of)),
                (false, true) => {
                    return Err(CloneError::LunTaken { lun: Box::new(lun.clone()), id: of });
                }
                (false, false) => {}
            }
        }
        Ok(begun)
    }

    /// Its clones on LUNs, by their ids.
    pub fn lun_clones(&self) -> Result<Vec<LunClone>, CloneError> {
        let records = self.lun_records()?.into_iter().filter(|(_, record)| record.is_made);
        Ok(records.map(|(id, record)| LunClone { id, record }).collect())
    }

    /// One of its clones on LUNs.
    pub fn find_lun_clone(&self, id: &VolumeId) -> Result<LunClone, CloneError> {
        let record = self.lun_record(id)?.ok_or_else(|| CloneError::NoClone(id.clone()))?;
        Ok(LunClone { id: id.clone(), record })
    }

    /// What is kept of a clone on a LUN that was made whole.
    pub(super) fn lun_record(&self, id: &VolumeId) -> Result<Option<LunRecord>, CloneError> {
        Ok(read(&self.lun_path(id))?.filter(|record| record.is_made))
    }

    /// Removes a clone that is nobody's: its LUN is blank then. What is behind the LUN's first MiB stays.
    ///
    /// # Errors
    /// [`CloneError::NotOwner`], until it is [released](Self::release); [`CloneError::Replaced`], if another LUN has its
    /// number, or something else is on it. Nothing is written then; see
    /// [`forget_lun_clone`](Self::forget_lun_clone).
    pub fn remove_lun_clone(&self, id: &VolumeId) -> Result<(), CloneError> {
        let path = self.lun_path(id);
        let find = || read(&path)?.ok_or_else(|| CloneError::NoClone(id.clone()));
        let found: LunRecord = find()?;
        iscsi::serial(&found.lun, self.access_to(&found.lun)?)?;
        let _lock = self.lock()?;
        let record = find()?;
        let LunRecord { lun, serial, owner, .. } = &record;
        let access = self.access_to(lun)?;
        if !matches!(owner, Ownership::Nobody { .. }) {
            return Err(owner.refuses(id));
        }
        let backing = self.backing();
        if iscsi::serial(lun, access)? != *serial
            || !overlay::blank(lun, access, &record.overlay(&backing, self.size()))?
        {
            return Err(CloneError::Replaced { path: lun.to_string().into() });
        }
        forget(&path)
    }

    /// Forgets a clone that is nobody's and whose LUN is gone, or is another one's by now: its record
    /// goes, made whole or not, and the LUN is neither asked nor written. What is on it stays there.
    ///
    /// # Errors
    /// [`CloneError::NotOwner`], until it is [released](Self::release).
    pub fn forget_lun_clone(&self, id: &VolumeId) -> Result<(), CloneError> {
        let _lock = self.lock()?;
        let path = self.lun_path(id);
        let record: LunRecord = read(&path)?.ok_or_else(|| CloneError::NoClone(id.clone()))?;
        if !matches!(record.owner, Ownership::Nobody { .. }) {
            return Err(record.owner.refuses(id));
        }
        forget(&path)
    }

    /// The ids of its clones on LUNs, those that were not made whole among them.
    pub(super) fn on_luns(&self) -> Result<Vec<VolumeId>, CloneError> {
        Ok(self.lun_records()?.into_iter().map(|(id, _)| id).collect())
    }

    pub(super) fn lun_path(&self, id: &VolumeId) -> PathBuf {
        self.directory.join(LUNS).join(format!("{id}.json"))
    }

    fn access_to(&self, lun: &Lun) -> Result<&LunAccess, LunError> {
        self.access.as_ref().ok_or_else(|| LunError::NoAccess(Box::new(lun.clone())))
    }

    pub(super) fn write_lun(&self, id: &VolumeId, record: &LunRecord) -> Result<(), CloneError> {
        let path = self.lun_path(id);
        write_new(&path, &json(record))
            .and_then(|()| durable::sync_parent(&path))
            .map_err(failed("writing", &path))
    }

    fn lun_records(&self) -> Result<Vec<(VolumeId, LunRecord)>, CloneError> {
        let directory = self.directory.join(LUNS);
        // It is made with the first one.
        if !directory.try_exists().map_err(failed("finding", &directory))? {
            return Ok(Vec::new());
        }
        super::record::read_all(&directory)
    }
}

fn read(path: &Path) -> Result<Option<LunRecord>, CloneError> {
    super::record::read(path)
}

fn forget(path: &Path) -> Result<(), CloneError> {
    durable::remove(path)
        .and_then(|()| durable::sync_parent(path))
        .map_err(failed("removing", path))
}

/// What no other overlay says of itself: the volume, for people, and a number that is drawn.
fn new_mark(id: &VolumeId) -> Result<String, CloneError> {
    let number = u128::from_le_bytes(random(&SystemEnvironment::new())?);
    Ok(format!("{id} {number:032x}"))
}

/// The length of a volume in a qcow2 that begins so and stands alone.
fn size_in(head: &[u8], lun: &Lun) -> Result<u64, CloneError> {
    let head = &head[..head.len().min(qcow2::HEAD)];
    match qcow2::Header::parse(head) {
        Ok(header) => Ok(header.size),
        Err(qcow2::Qcow2Fault::BackingFile | qcow2::Qcow2Fault::DataFile) => {
            Err(CloneError::NotAlone { path: lun.to_string().into() })
        }
        Err(source) => Err(CloneError::Qcow2 { path: lun.to_string().into(), source }),
    }
}
