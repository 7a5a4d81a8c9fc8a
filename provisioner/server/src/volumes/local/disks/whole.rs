//! Making a volume on a disk of its own, and writing another image over it.
//!
//! The smallest free disk that it fits on is taken; of several such, the first by name. Its mark says
//! that it is taken before anything else is written there, and that it is whole once all is durable.

use mezame_images::{
    archive::Watch,
    carrier::{Carried, Carrier, CarrierError, Found, Owner},
    encryption::Keyslots,
    restore::{Origin, whole_disk},
    volume::Volume,
};

use super::{ExecutorError, Facts, Local, OnDisk, Reason};
use crate::{
    images::chain,
    volumes::executor::{Beginning, RestoreOrder, Restored},
};

/// What a LUKS header of QEMU's takes, at most.
const HEADER: u64 = 2 << 20;

impl Local {
    /// Claims a disk, and writes all of the volume there.
    pub(in crate::volumes::local) fn create_on_disk(
        &self,
        facts: &Facts,
        from: &Beginning,
        watch: &dyn Watch,
    ) -> Result<(), ExecutorError> {
        let disk = self.claim_disk(facts, from.size)?;
        self.write_all(facts, &disk, from, watch).map_err(|error| match error.reason {
            // It would say that nothing was made.
            Reason::NoPool | Reason::Exists => ExecutorError::new(Reason::Failed, error.message),
            _ => error,
        })
    }

    fn write_all(
        &self,
        facts: &Facts,
        disk: &OnDisk,
        from: &Beginning,
        watch: &dyn Watch,
    ) -> Result<(), ExecutorError> {
        if let Some(number) = facts.newest {
            let length = disk.carrier.encrypt(&disk.carried, (number, &facts.keys))?;
            self.note_on(disk, |it| Carried { length, ..it })?;
        }
        let disk = self.on_disk(facts)?.ok_or_else(gone)?;
        let (volume, keys) = (disk.volume()?, disk.keys(facts));
        match &from.image {
            None => whole_disk::clear(&volume, 0, (&keys, &self.run), watch)?,
            Some((project, image)) => {
                let (archive, visible) = self.images.look(project, *image)?;
                let of = Origin {
                    archive: &archive,
                    image: &visible,
                    keys: &keys,
                    may_be_clear: false,
                    run: &self.run,
                };
                whole_disk::fill(&of, &volume, watch)?;
            }
        }
        self.note_on(&disk, |it| Carried { is_whole: true, ..it })
    }

    /// Where it is.
    pub(in crate::volumes::local) fn place_on_disk(
        &self,
        facts: &Facts,
    ) -> Result<Option<String>, ExecutorError> {
        Ok(self.on_disk(facts)?.map(|disk| disk.carrier.to_string()))
    }

    fn claim_disk(&self, facts: &Facts, size: u64) -> Result<OnDisk, ExecutorError> {
        let _claims = self.claims();
        let (owner, carriers) = (self.owner(&facts.pool)?, self.carriers(&facts.pool)?);
        if facts.newest.is_some()
            && let Some(lun) = carriers.iter().find(|carrier| carrier.is_lun())
        {
            return Err(CarrierError::NotEncrypted { disk: lun.to_string() }.into());
        }
        let needed = size + facts.newest.map_or(0, |_| HEADER);
        let (free, others) = candidates(carriers, facts, &owner)?;
        let mut why = others;
        for (capacity, carrier) in free {
            if capacity < needed {
                why.push(format!("{carrier} can take {capacity} bytes"));
                continue;
            }
            let carried = Carried {
                volume: facts.id.clone(),
                host: self.host.clone(),
                size,
                length: needed,
                keyslots: facts.newest.map(Keyslots::One),
                is_whole: false,
            };
            match carrier.claim(&owner, carried.clone()) {
                Ok(()) => return Ok(OnDisk { carrier, owner, carried }),
                // Somebody else was faster, or has it open.
                Err(error @ (CarrierError::Taken { .. } | CarrierError::InUse { .. })) => {
                    why.push(chain(&error));
                }
                Err(error) => return Err(error.into()),
            }
        }
        let message = format!(
            "no free disk of the pool '{}' takes {needed} bytes: {}",
            facts.pool,
            if why.is_empty() { "each carries a volume".into() } else { why.join("; ") }
        );
        Err(ExecutorError::new(Reason::NoDisk, message))
    }

    /// Writes another image over it, half of each until it is done.
    pub(in crate::volumes::local) fn restore_on_disk(
        &self,
        facts: &Facts,
        disk: &OnDisk,
        order: &RestoreOrder,
        watch: &dyn Watch,
    ) -> Result<Restored, ExecutorError> {
        let conflict = |message: String| Err(ExecutorError::new(Reason::Conflict, message));
        if disk.carrier.is_lun() {
            // No lock tells whether a guest runs on it.
            return conflict(format!(
                "{} is on the LUN {}, which is not restored in place: nobody could tell that a guest \
                 runs on it. Restore to a new volume",
                facts.id, disk.carrier
            ));
        }
        if !order.is_over {
            return conflict(format!(
                "{} is all of {}, and there is no place beside: restore it with --over",
                facts.id, disk.carrier
            ));
        }
        disk.carrier.check_unused()?;
        let (archive, visible) = self.images.look(&order.project, order.image)?;
        let keys = disk.keys(facts);
        let of = Origin {
            archive: &archive,
            image: &visible,
            keys: &keys,
            may_be_clear: false,
            run: &self.run,
        };
        let size = visible.image().size;
        let (header, capacity) =
            (disk.carried.length - disk.carried.size, disk.carrier.look()?.capacity);
        if size.checked_add(header).is_none_or(|needed| needed > capacity) {
            return conflict(format!(
                "{} can take {} bytes, and the image has {size}",
                disk.carrier,
                capacity.saturating_sub(header)
            ));
        }
        whole_disk::verify(&of, disk.carried.keyslots.is_some(), watch)?;
        let length = header + size;
        // The disk says it, too, where this host's records are lost.
        whole_disk::begin(&self.records, &facts.id, order.image)?;
        self.note_on(disk, |it| Carried { is_whole: false, size, length, ..it })?;
        let volume: Volume = self.on_disk(facts)?.ok_or_else(gone)?.volume()?;
        let done = whole_disk::fill(&of, &volume, watch)?;
        self.note_on(disk, |it| Carried { is_whole: true, ..it })?;
        whole_disk::end(&self.records, &facts.id)?;
        Ok(Restored { size, written: done.written, kept: None })
    }

    pub(in crate::volumes::local) fn note_on(
        &self,
        disk: &OnDisk,
        change: impl FnOnce(Carried) -> Carried,
    ) -> Result<(), ExecutorError> {
        let _claims = self.claims();
        disk.carrier.note(&disk.owner, &disk.carried.volume, change)?;
        Ok(())
    }
}

/// Free disks, and how much a volume can take of each.
type Free = Vec<(u64, Carrier)>;

/// The free disks, the smallest first, and why others are not among them.
///
/// # Errors
/// [`Reason::Exists`], where one of them carries this volume.
fn candidates(
    carriers: Vec<Carrier>,
    facts: &Facts,
    owner: &Owner,
) -> Result<(Free, Vec<String>), ExecutorError> {
    let (mut free, mut others) = (Vec::new(), Vec::new());
    for carrier in carriers {
        match carrier.look() {
            Err(error) => others.push(chain(&error)),
            Ok(seen) => match seen.found {
                Found::Mark(mark) if mark.owner == *owner => match mark.carried {
                    None => free.push((seen.capacity, carrier)),
                    Some(carried) if carried.volume == facts.id => {
                        let message = format!(
                            "{carrier} carries a volume {} already, which is not known; it is left alone",
                            facts.id
                        );
                        return Err(ExecutorError::new(Reason::Exists, message));
                    }
                    Some(_) => {}
                },
                found => others.push(format!("{carrier}: {found}")),
            },
        }
    }
    free.sort_by_key(|(capacity, carrier)| (*capacity, carrier.to_string()));
    Ok((free, others))
}

fn gone() -> ExecutorError {
    ExecutorError::new(Reason::Conflict, "no disk carries it any more")
}
