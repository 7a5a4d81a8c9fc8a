//! Making a volume on a disk of its own, and writing another image over it.
//!
//! The smallest free disk that it fits on is taken; of several such, the first by name. Its mark says
//! that it is taken before anything else is written there, and that it is whole once all is durable.

use mezame_images::{
    archive::Watch,
    carrier::{Carried, Carrier, CarrierError, Found, Owner, Seen},
    encryption::Keyslots,
    restore::{Origin, whole_disk},
    volume::VolumeId,
};

use super::{
    ExecutorError, Facts, Local, OnDisk, Reason,
    look::{Unseen, is_late, look_at},
};
use crate::{
    fault::chain,
    volumes::executor::{Beginning, RestoreOrder, Restored},
};

/// What a LUKS header of QEMU's takes, at most.
const HEADER: u64 = 2 << 20;

impl Local {
    /// Writes all of a volume on the disk that was claimed for it.
    pub(in crate::volumes::local) fn create_on_disk(
        &self,
        facts: &Facts,
        from: &Beginning,
        watch: &dyn Watch,
    ) -> Result<(), ExecutorError> {
        let made = self.claimed(facts).and_then(|disk| self.write_all(facts, &disk, from, watch));
        made.map_err(|error| match error.reason {
            // It would say that nothing was made.
            Reason::NoPool | Reason::Exists => ExecutorError::new(Reason::Failed, error.message),
            _ => error,
        })
    }

    /// The disk that was claimed for a volume, and no other that says that it carries it.
    fn claimed(&self, facts: &Facts) -> Result<OnDisk, ExecutorError> {
        let (carrier, owner) = (self.carrier_of(facts)?, self.owner(&facts.pool)?);
        let carried = match carrier.look()?.found {
            Found::Mark(mark) if mark.owner == owner => mark.carried,
            _ => None,
        };
        // What is whole was made by somebody else.
        let is_claimed = |it: &Carried| it.volume == facts.id && !it.is_whole;
        match carried.filter(is_claimed) {
            Some(carried) => Ok(OnDisk { carrier, owner, carried }),
            None => {
                let message = format!("{carrier} is not claimed for {} any more", facts.id);
                Err(ExecutorError::new(Reason::Conflict, message))
            }
        }
    }

    fn carrier_of(&self, facts: &Facts) -> Result<Carrier, ExecutorError> {
        let place = facts.place.as_deref();
        let mut carriers = self.carriers(&facts.pool)?.into_iter();
        let found = carriers.find(|it| place.is_some_and(|place| place == it.to_string()));
        found.ok_or_else(|| {
            let place = place.unwrap_or("no disk");
            let message = format!("{} was put on {place}, which is not in the settings", facts.id);
            ExecutorError::new(Reason::NoPool, message)
        })
    }

    /// Frees the disk that was claimed for a volume, and no other; of a volume in files, removes them.
    pub(in crate::volumes::local) fn undo_making(
        &self,
        facts: &Facts,
    ) -> Result<(), ExecutorError> {
        if !self.has_disks(facts) {
            return self.delete_now(facts).map(drop);
        }
        if facts.place.is_none() {
            return Ok(());
        }
        let (carrier, owner) = (self.carrier_of(facts)?, self.owner(&facts.pool)?);
        let _claims = self.claims(&facts.pool)?;
        match carrier.release(&owner, &facts.id) {
            // It is this pool's, and free, or carries another.
            Ok(_) | Err(CarrierError::Replaced { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn write_all(
        &self,
        facts: &Facts,
        disk: &OnDisk,
        from: &Beginning,
        watch: &dyn Watch,
    ) -> Result<(), ExecutorError> {
        let mut carried = disk.carried.clone();
        if let Some(number) = facts.newest {
            let length = disk.carrier.encrypt(&disk.carried, (number, &facts.keys))?;
            carried = self.note_on(disk, |it| Carried { length, ..it })?;
        }
        let (volume, keys) = (disk.carrier.volume(&carried)?, disk.keys(facts));
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
        self.note_on(disk, |it| Carried { is_whole: true, ..it }).map(drop)
    }

    /// Has a disk carry a volume of which nothing is written yet; which disk. Where the disk does not tell
    /// whether it was claimed, it is it, and whoever writes there sees.
    pub(in crate::volumes::local) fn claim_disk(
        &self,
        facts: &Facts,
        size: u64,
    ) -> Result<String, ExecutorError> {
        self.check_masters(facts)?;
        let (owner, carriers) = (self.owner(&facts.pool)?, self.carriers(&facts.pool)?);
        if facts.newest.is_some()
            && let Some(lun) = carriers.iter().find(|carrier| carrier.is_lun())
        {
            return Err(CarrierError::NotEncrypted { disk: lun.to_string() }.into());
        }
        let needed = size + facts.newest.map_or(0, |_| HEADER);
        let seen = look_at(&carriers);
        let (free, mut why) = candidates(carriers.into_iter().zip(seen), &facts.id, &owner)?;
        let _claims = self.claims(&facts.pool)?;
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
            match carrier.claim(&owner, carried) {
                Ok(()) => return Ok(carrier.to_string()),
                Err(CarrierError::Unsure { disk, source }) => {
                    tracing::warn!(disk, error = chain(&source), "a claim may have been written");
                    return Ok(carrier.to_string());
                }
                // Somebody else was faster, or has it open, or it can't be written.
                Err(error) => {
                    why.push(chain(&error));
                    if is_late(&error) {
                        break;
                    }
                }
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
            (disk.carried.length.saturating_sub(disk.carried.size), disk.carrier.look()?.capacity);
        if size.checked_add(header).is_none_or(|needed| needed > capacity) {
            return conflict(format!(
                "{} can take {} bytes, and the image has {size}",
                disk.carrier,
                capacity.saturating_sub(header)
            ));
        }
        let length = header + size;
        let half = |it| Carried { is_whole: false, size, length, ..it };
        let volume = disk.carrier.volume(&half(disk.carried.clone()))?;
        // From here on no guest is started on it; of one that was, nothing is noted.
        let held = whole_disk::Held::of(&of, &volume)?;
        whole_disk::verify(&of, disk.carried.keyslots.is_some(), watch)?;
        // The disk says it, too, where this host's records are lost.
        whole_disk::begin(&self.records, &facts.id, order.image)?;
        self.note_on(disk, half)?;
        let done = held.fill(&of, watch)?;
        self.note_on(disk, |it| Carried { is_whole: true, ..it })?;
        whole_disk::end(&self.records, &facts.id)?;
        Ok(Restored { size, written: done.written, kept: None })
    }

    pub(in crate::volumes::local) fn note_on(
        &self,
        disk: &OnDisk,
        change: impl FnOnce(Carried) -> Carried,
    ) -> Result<Carried, ExecutorError> {
        let _claims = self.claims(&disk.owner.pool)?;
        Ok(disk.carrier.note(&disk.owner, &disk.carried.volume, change)?)
    }
}

/// Free disks, and how much a volume can take of each.
type Free = Vec<(u64, Carrier)>;

/// The free disks, the smallest first, and why others are not among them.
///
/// # Errors
/// [`Reason::Exists`], where one of them carries this volume; [`Reason::NoPool`], where one may.
fn candidates(
    disks: impl Iterator<Item = (Carrier, Result<Seen, Unseen>)>,
    id: &VolumeId,
    owner: &Owner,
) -> Result<(Free, Vec<String>), ExecutorError> {
    let (mut free, mut others, mut unseen) = (Vec::new(), Vec::new(), Vec::new());
    for (carrier, seen) in disks {
        match seen {
            // There is no room for a mark.
            Err(Unseen::Fault(short @ CarrierError::TooShort { .. })) => others.push(chain(&short)),
            Err(error) => unseen.push(chain(&error)),
            Ok(seen) => match seen.found {
                Found::Mark(mark) if mark.owner == *owner => match mark.carried {
                    None => free.push((seen.capacity, carrier)),
                    Some(carried) if carried.volume == *id => {
                        let message = format!(
                            "{carrier} carries a volume {} already, which is not known; it is left alone",
                            id
                        );
                        return Err(ExecutorError::new(Reason::Exists, message));
                    }
                    Some(_) => {}
                },
                faulty @ Found::Faulty(_) => unseen.push(format!("{carrier}: {faulty}")),
                found => others.push(format!("{carrier}: {found}")),
            },
        }
    }
    if !unseen.is_empty() {
        let message = format!(
            "a disk of the pool '{}' that can't be read may carry a volume {}: {}",
            owner.pool,
            id,
            unseen.join("; ")
        );
        return Err(ExecutorError::new(Reason::NoPool, message));
    }
    free.sort_by_key(|(capacity, carrier)| (*capacity, carrier.to_string()));
    Ok((free, others))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use mezame_images::carrier::MarkFault;
    use serde_json::json;

    use super::*;

    fn owner() -> Owner {
        Owner { site: "one".into(), pool: "disks".into() }
    }

    fn free(capacity: u64) -> Result<Seen, Unseen> {
        let mark = json!({ "owner": owner(), "length": 7, "generation": 1, "carried": null });
        let found = Found::Mark(Box::new(serde_json::from_value(mark).unwrap()));
        Ok(Seen { length: capacity + 1, capacity, found })
    }

    fn found(found: Found) -> Result<Seen, Unseen> {
        Ok(Seen { length: 8, capacity: 7, found })
    }

    fn of(disks: Vec<Result<Seen, Unseen>>) -> Result<(Vec<String>, Vec<String>), ExecutorError> {
        let id = VolumeId::parse("web").unwrap();
        let name = |at: usize| Carrier::device(Path::new(&format!("/dev/{at}")));
        let disks = disks.into_iter().enumerate().map(|(at, seen)| (name(at), seen));
        let (free, others) = candidates(disks, &id, &owner())?;
        Ok((free.into_iter().map(|(_, carrier)| carrier.to_string()).collect(), others))
    }

    #[test]
    fn the_smallest_free_disk_is_the_first_and_of_several_the_first_by_name() {
        let disks = vec![free(9), free(3), found(Found::Blank), free(3)];
        let (free, others) = of(disks).unwrap();
        assert_eq!(free, ["/dev/1", "/dev/3", "/dev/0"]);
        assert!(others.len() == 1 && others[0].contains("was not taken in"), "{others:?}");
    }

    #[test]
    fn nothing_is_claimed_while_a_disk_that_is_not_seen_may_carry_a_volume_of_this_id() {
        let away = || Err(Unseen::GivenUp { disk: "/dev/1".into() });
        for unseen in [away(), found(Found::Faulty(MarkFault::Damaged))] {
            let error = of(vec![free(9), unseen]).unwrap_err();
            assert_eq!(error.reason, Reason::NoPool, "{error}");
            assert!(error.message.contains("/dev/1"), "{error}");
        }
        let short = CarrierError::TooShort { disk: "/dev/1".into(), length: 0 };
        let (free, others) = of(vec![free(9), Err(short.into())]).unwrap();
        assert_eq!((free.len(), others.len()), (1, 1));
    }
}
