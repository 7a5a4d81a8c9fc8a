//! Making a volume: checked at once, recorded, then made by a job.

use std::{collections::BTreeMap, sync::Arc};

use mezame_images::{
    archive::{Kind, Visible},
    backup::pull,
    capture,
    restore::masters::MasterName,
    volume::VolumeId,
};
use mezame_model::{
    ProjectName, SecretBytes,
    api::{
        Fault,
        jobs::{Job, JobKind},
        volumes::{NewVolume, PoolKind, VolumeClass, VolumeState},
    },
};
use zeroize::Zeroizing;

use super::{
    Unfinished, Volumes, VolumesError, check_limits,
    checks::interval_fault,
    claim::Claim,
    executor::{Beginning, ExecutorError, Facts, Reason},
    plain,
    record::VolumeRecord,
    unfinished,
};
use crate::{
    environment::{Environment, NoRandomness, random},
    images::ImagesError,
    jobs::{Outcome, Ticker, Ticket},
};

/// Sizes are whole such.
pub(super) const MEBIBYTE: u64 = 1 << 20;
/// As an overlay can have: its first table is bounded.
pub(super) const LARGEST: u64 = 8 << 50;

impl Volumes {
    /// Begins to make a volume.
    pub(crate) async fn create(
        self: &Arc<Self>,
        project: &ProjectName,
        owner: &str,
        new: NewVolume,
    ) -> Result<Job, VolumesError> {
        check_limits(new.limits)?;
        let id = VolumeId::parse(&new.id)
            .map_err(|error| VolumesError::fault("id", error.to_string(), "take another id"))?;
        let pool = new.pool.clone().unwrap_or_else(|| self.default_pool.clone());
        let known = self.ask(|executor| Ok(executor.pools_in_brief())).await?;
        let found = known.iter().find(|it| it.name == pool);
        match found {
            None => {
                let names: Vec<_> = known.iter().map(|pool| pool.name.as_str()).collect();
                let mend = format!("one of: {}", names.join(", "));
                return Err(VolumesError::fault("pool", "there is no such pool", &mend));
            }
            Some(it) if !it.is_there => {
                let why = it.why.clone().unwrap_or_default();
                return Err(ExecutorError::new(Reason::NoPool, why).into());
            }
            Some(_) => {}
        }
        let masters = self.ask(|executor| executor.masters()).await?;
        let image = match new.image.as_deref() {
            Some(image) => Some(self.image_of(project, image).await?),
            None => None,
        };
        let kind = found.map_or(PoolKind::Directory, |it| it.kind);
        let new = on_disk(new, kind).map_err(VolumesError::Faults)?;
        let size = size_of(&new, image.as_ref(), kind != PoolKind::Directory)
            .map_err(VolumesError::Faults)?;
        // What is on a disk of its own is a clone of no master.
        let is_clone = kind == PoolKind::Directory;
        let is_sealed = is_clone && image.as_ref().is_some_and(is_sealed);
        let master_key = is_sealed.then(|| new_key(&*self.environment)).transpose()?;
        let keys = if new.encrypted { first_key(&*self.environment)? } else { BTreeMap::new() };
        let record = VolumeRecord {
            id: id.clone(),
            project: project.clone(),
            owner: owner.into(),
            host: self.executor.host().into(),
            pool: pool.into(),
            place: None,
            master: master_name(image.as_ref(), size).into(),
            masters: masters.map(Into::into),
            image: image.as_ref().map(|image| image.image().id.to_string().into()),
            is_restored: is_clone
                && image.as_ref().is_some_and(|it| it.image().kind == Kind::Backup),
            size,
            growing: None,
            class: new.class,
            flush_ms: new.flush_ms,
            limits: new.limits,
            opened: None,
            guest: None,
            keys,
            master_key,
            is_rotating: false,
            state: VolumeState::Creating,
            created_ms: self.environment.now_ms(),
            kept: Vec::new(),
        };
        let claim = self.claim(std::slice::from_ref(&id))?;
        let image = image.map(|image| (project.clone(), image.image().id));
        let volumes = Arc::clone(self);
        // Where who asked goes meanwhile, no record is left without its job.
        let begun = tokio::spawn(async move {
            volumes.begin_making(record, Beginning { image, size }, claim).await
        });
        begun.await.map_err(|_| ImagesError::Ending)?
    }

    async fn begin_making(
        self: &Arc<Self>,
        record: VolumeRecord,
        from: Beginning,
        claim: Claim,
    ) -> Result<Job, VolumesError> {
        let (project, id) = (record.project.clone(), record.id.clone());
        let record = self.control.add_volume(record).await?;
        let make =
            move |volumes: &Self, ticket: &Ticket| volumes.make(&record, &from, ticket.ticker());
        let (of, made) = (project.clone(), id.clone());
        let give_up = move |volumes: &Self| {
            if volumes.wait(volumes.control.forget_volume(&of, &made)).is_err() {
                tracing::warn!(volume = %made, "a volume that is not made stays in the records");
            }
        };
        let begun = self.begin_or(JobKind::CreateVolume, &project, claim, make, give_up).await;
        if begun.is_err() {
            self.control.forget_volume(&project, &id).await?;
        }
        begun
    }

    fn make(
        &self,
        record: &VolumeRecord,
        from: &Beginning,
        ticker: &Ticker,
    ) -> Result<Outcome, Unfinished> {
        let (project, id) = (&record.project, &record.id);
        let mut facts = record.facts();
        match self.executor.claim(&facts, from) {
            Ok(None) => {}
            Ok(Some(place)) => {
                facts.place = Some(place.clone());
                // From now on it is looked for there, whatever becomes of the rest.
                let note = self.control.change_volume(project, id, move |it| {
                    it.place = Some(place.into());
                });
                if let Err(fault) = self.wait(note) {
                    self.undo(record, &facts)?;
                    return Err(fault);
                }
            }
            Err(error) => {
                self.wait(self.control.forget_volume(project, id))?;
                return Err(unfinished("volume", error));
            }
        }
        if let Err(error) = self.executor.create(&facts, from, ticker) {
            // What was there before is not this order's to remove.
            if matches!(error.reason, Reason::Exists | Reason::NoPool | Reason::NoDisk) {
                self.wait(self.control.forget_volume(project, id))?;
            } else {
                self.undo(record, &facts)?;
            }
            return Err(unfinished("volume", error));
        }
        self.wait(self.control.change_volume(project, id, |it| it.state = VolumeState::Ready))?;
        Ok(Outcome { image: record.image.as_ref().map(ToString::to_string), ..Outcome::default() })
    }

    /// Removes what is made of a volume. Nothing is known of one of which nothing is left; where that is
    /// not so it can be deleted by hand.
    fn undo(&self, record: &VolumeRecord, facts: &Facts) -> Result<(), Unfinished> {
        match self.executor.undo(facts) {
            Ok(()) => self.wait(self.control.forget_volume(&record.project, &record.id)).map(drop),
            Err(left) => {
                let (volume, error) = (&record.id, left.message);
                tracing::warn!(%volume, error, "a volume is half made");
                Ok(())
            }
        }
    }
}

/// What is asked for of a volume on a disk of its own: it is plain, whatever class is the default.
fn on_disk(new: NewVolume, kind: PoolKind) -> Result<NewVolume, Vec<Fault>> {
    let mut faults = Vec::new();
    if kind == PoolKind::Directory {
        return Ok(new);
    }
    if !matches!(new.class, VolumeClass::Recovered | VolumeClass::Plain) {
        let message = "a volume on a disk of its own has no overlay, and is plain";
        faults.push(plain("class", message, "leave it out"));
    }
    if kind == PoolKind::Luns && new.encrypted {
        let message = "volumes on LUNs are not encrypted";
        faults.push(plain("encrypted", message, "take a pool of devices or a directory"));
    }
    if faults.is_empty() { Ok(NewVolume { class: VolumeClass::Plain, ..new }) } else { Err(faults) }
}

/// How long a volume is to be, in bytes.
fn size_of(new: &NewVolume, image: Option<&Visible>, is_on_disk: bool) -> Result<u64, Vec<Fault>> {
    let mut faults = Vec::new();
    if new.class == VolumeClass::Plain && !is_on_disk {
        let mend = "'recovered', 'bounded', 'synchronous' or 'flush-honouring'; hydrate it later";
        faults.push(plain("class", "a volume becomes plain by hydration", mend));
    }
    faults.extend(interval_fault(new.class, new.flush_ms));
    if image.is_some_and(|image| label(image, pull::VOLUME) == Some(&new.id)) {
        let message = "the image is a backup of the volume that had this id";
        let mend = "take another; or make one of this id and length without an image, and have \
                    'mezame volume restore' replace what it holds";
        faults.push(plain("id", message, mend));
    }
    if !new.encrypted && image.is_some_and(is_sealed) {
        let message = "the image is encrypted, or of an encrypted volume, and this would not be";
        faults.push(plain("encrypted", message, "have it encrypted, too"));
    }
    let least = image.map(|image| image.image().size);
    match (new.size, least) {
        (None, None) => faults.push(plain("size", "it is missing", "say it, or name an image")),
        (Some(size), _) if size % MEBIBYTE != 0 || !(MEBIBYTE..=LARGEST).contains(&size) => {
            faults.push(plain("size", "it is no good size", "whole MiB, up to 8 PiB"));
        }
        (Some(size), Some(least)) if size < least => {
            let message = format!("the image has {least} bytes");
            faults.push(plain("size", message, "at least so many"));
        }
        _ => {}
    }
    // QEMU counts sectors; disks, blocks of as many as eight.
    let unit = if is_on_disk { 4096 } else { 512 };
    let size = new.size.or(least).unwrap_or_default().next_multiple_of(unit);
    if faults.is_empty() { Ok(size) } else { Err(faults) }
}

/// Whether an image is nowhere in the clear: it is encrypted in the archive, or was where it was taken.
pub(super) fn is_sealed(image: &Visible) -> bool {
    let is_marked = |name| label(image, name).is_some();
    image.image().key.is_some() || is_marked(pull::ENCRYPTED) || is_marked(capture::ENCRYPTED)
}

fn label<'a>(image: &'a Visible, name: &str) -> Option<&'a String> {
    image.image().detail.as_ref()?.labels.get(name)
}

/// What a master is called. One of an image at its own length is shared by all of its volumes that have
/// this length.
fn master_name(image: Option<&Visible>, size: u64) -> String {
    let image = image.map(Visible::image);
    let name = image.map_or(MasterName::Zeros(size), |it| MasterName::of(it.id, it.size, size));
    name.to_string()
}

fn first_key(from: &dyn Environment) -> Result<BTreeMap<u32, SecretBytes>, NoRandomness> {
    Ok([(1, new_key(from)?)].into())
}

/// 32 bytes that nobody can guess.
pub(super) fn new_key(from: &dyn Environment) -> Result<SecretBytes, NoRandomness> {
    let bytes: Zeroizing<[u8; 32]> = Zeroizing::new(random(from)?);
    Ok(SecretBytes::new(bytes.to_vec()))
}
