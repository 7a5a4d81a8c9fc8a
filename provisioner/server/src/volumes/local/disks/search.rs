//! Which disk of a pool carries a volume, by what was seen of each. Reads nothing but by who looks.
//!
//! The records say where it was put, and that is looked at first. A disk that was not seen, or whose
//! mark can't be believed, may be the one: that none carries a volume is said only where all were seen.

use mezame_images::{
    carrier::{Carrier, Found, Owner, Seen},
    volume::VolumeId,
};

use super::{ExecutorError, OnDisk, Reason, look::Unseen};
use crate::fault::chain;

/// A volume that is looked for.
pub(super) struct Wanted<'a> {
    pub(super) id: &'a VolumeId,
    pub(super) owner: &'a Owner,
    /// The disk that it was put on, if that is known.
    pub(super) place: Option<&'a str>,
}

impl Wanted<'_> {
    /// Looks for it on the disks of its pool; None where it is on none of them, which is sure.
    ///
    /// # Errors
    /// [`Reason::NoPool`], where it may be on a disk that was not seen; [`Reason::Conflict`], where
    /// several carry it.
    pub(super) fn look_for(
        &self,
        mut carriers: Vec<Carrier>,
        look: impl Fn(&[Carrier]) -> Vec<Result<Seen, Unseen>>,
    ) -> Result<Option<OnDisk>, ExecutorError> {
        let is_first = |it: &Carrier| self.place.is_some_and(|place| place == it.to_string());
        let first = carriers.iter().position(is_first).map(|at| carriers.swap_remove(at));
        let mut elsewhere = match (self.place, &first) {
            (Some(place), None) => {
                Some(format!("{place}, which is no disk of the pool '{}' now", self.owner.pool))
            }
            _ => None,
        };
        if let Some(first) = first {
            let seen = look(std::slice::from_ref(&first)).into_iter().next();
            let seen = seen.unwrap_or_else(|| Err(Unseen::NoEnd { disk: first.to_string() }));
            match seen.map(|seen| seen.found) {
                Ok(Found::Mark(mark)) if mark.owner == *self.owner => {
                    let carried = mark.carried.filter(|it| it.volume == *self.id);
                    if let Some(carried) = carried {
                        let owner = self.owner.clone();
                        return Ok(Some(OnDisk { carrier: first, owner, carried }));
                    }
                }
                // Another may say that it carries it, and be a copy or one of an earlier day.
                Ok(faulty @ Found::Faulty(_)) => {
                    return Err(self.unseen(&format!("{first}: {faulty}")));
                }
                Err(unseen) => return Err(self.unseen(&chain(&unseen))),
                Ok(found) => {
                    elsewhere = Some(format!("{first}, which is another disk now: {found}"));
                }
            }
        }
        let (mut found, mut unseen) = (Vec::new(), Vec::new());
        let looks = look(&carriers);
        for (seen, carrier) in looks.into_iter().zip(carriers) {
            match seen.map(|seen| seen.found) {
                Ok(Found::Mark(mark)) if mark.owner == *self.owner => {
                    let carried = mark.carried.filter(|it| it.volume == *self.id);
                    let owner = self.owner.clone();
                    found.extend(carried.map(|carried| OnDisk { carrier, owner, carried }));
                }
                Ok(faulty @ Found::Faulty(_)) => unseen.push(format!("{carrier}: {faulty}")),
                Ok(_) => {}
                Err(error) => unseen.push(chain(&error)),
            }
        }
        if let [one, other, ..] = &found[..] {
            let message = format!("both {} and {} carry {}", one.carrier, other.carrier, self.id);
            return Err(ExecutorError::new(Reason::Conflict, message));
        }
        match (found.pop(), elsewhere) {
            (Some(found), _) => Ok(Some(found)),
            (None, _) if !unseen.is_empty() => Err(self.unseen(&unseen.join("; "))),
            (None, Some(elsewhere)) => {
                let message = format!("{} was put on {elsewhere}", self.id);
                Err(ExecutorError::new(Reason::NoPool, message))
            }
            (None, None) => Ok(None),
        }
    }

    fn unseen(&self, why: &str) -> ExecutorError {
        let message = format!(
            "{} may be on a disk of the pool '{}' that can't be read: {why}",
            self.id, self.owner.pool
        );
        ExecutorError::new(Reason::NoPool, message)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use mezame_images::carrier::{CarrierError, MarkFault};
    use serde_json::json;

    use super::*;

    fn owner() -> Owner {
        Owner { site: "one".into(), pool: "disks".into() }
    }

    /// A disk's mark that says that it carries this, or nothing.
    fn marked(volume: Option<&str>) -> Found {
        let carried = volume.map(|volume| {
            json!({ "volume": volume, "host": "hv-1", "size": 7, "length": 7, "is_whole": true })
        });
        let mark = json!({ "owner": owner(), "length": 7, "generation": 1, "carried": carried });
        Found::Mark(Box::new(serde_json::from_value(mark).unwrap()))
    }

    /// Looks for `web`, put at this place, on disks of which this is seen; where it is.
    fn look_for(
        place: Option<&str>,
        disks: &[(&str, Option<Found>)],
    ) -> Result<Option<String>, ExecutorError> {
        let look = |carriers: &[Carrier]| {
            let seen = |carrier: &Carrier| {
                let disk = carrier.to_string();
                let found = disks.iter().find(|(name, _)| *name == disk).unwrap().1.clone();
                let found = found.ok_or(Unseen::Fault(CarrierError::InUse { disk }))?;
                Ok(Seen { length: 7, capacity: 7, found })
            };
            carriers.iter().map(seen).collect()
        };
        let carriers = disks.iter().map(|(name, _)| Carrier::device(Path::new(name))).collect();
        let (id, owner) = (VolumeId::parse("web").unwrap(), owner());
        let found = Wanted { id: &id, owner: &owner, place }.look_for(carriers, look)?;
        Ok(found.map(|disk| disk.carrier.to_string()))
    }

    fn reason(found: Result<Option<String>, ExecutorError>) -> Reason {
        found.unwrap_err().reason
    }

    #[test]
    fn it_is_where_it_was_put_or_where_a_mark_says() {
        let disks = [("/dev/a", Some(marked(None))), ("/dev/b", Some(marked(Some("web"))))];
        for place in [None, Some("/dev/a"), Some("/dev/b"), Some("/dev/was-b")] {
            assert_eq!(look_for(place, &disks).unwrap().as_deref(), Some("/dev/b"), "{place:?}");
        }
        // One that was seen there is not looked for elsewhere.
        let away = [("/dev/a", None), ("/dev/b", Some(marked(Some("web"))))];
        assert!(look_for(Some("/dev/b"), &away).is_ok());
    }

    #[test]
    fn it_is_gone_only_where_all_disks_were_seen_and_its_own_is_free() {
        let free = || ("/dev/a", Some(marked(None)));
        let others = ("/dev/b", Some(marked(Some("other"))));
        assert_eq!(look_for(Some("/dev/a"), &[free(), others.clone()]).unwrap(), None);
        assert_eq!(look_for(Some("/dev/b"), &[free(), others]).unwrap(), None);
        assert_eq!(reason(look_for(Some("/dev/c"), &[free()])), Reason::NoPool);
        for found in [None, Some(Found::Faulty(MarkFault::Damaged))] {
            for place in [None, Some("/dev/a"), Some("/dev/b")] {
                let disks = [free(), ("/dev/b", found.clone())];
                assert_eq!(reason(look_for(place, &disks)), Reason::NoPool, "{place:?}");
            }
        }
        // Another disk has that name now.
        for found in [Found::Blank, Found::Other("a file system".into())] {
            let mut disks = vec![free(), ("/dev/b", Some(found))];
            assert_eq!(reason(look_for(Some("/dev/b"), &disks)), Reason::NoPool);
            disks.push(("/dev/c", Some(marked(Some("web")))));
            assert_eq!(look_for(Some("/dev/b"), &disks).unwrap().as_deref(), Some("/dev/c"));
        }
    }

    #[test]
    fn what_is_wrong_with_a_mark_is_told() {
        let disks = [("/dev/a", Some(Found::Faulty(MarkFault::OtherLength(4096))))];
        let told = look_for(Some("/dev/a"), &disks).unwrap_err().message;
        assert!(told.contains("when it had 4096 bytes"), "{told}");
    }

    #[test]
    fn another_disk_of_its_id_is_not_taken_for_the_one_that_is_away() {
        let copy = || ("/dev/b", Some(marked(Some("web"))));
        assert_eq!(reason(look_for(Some("/dev/a"), &[("/dev/a", None), copy()])), Reason::NoPool);
        let two = [("/dev/a", Some(marked(Some("web")))), copy()];
        assert_eq!(reason(look_for(None, &two)), Reason::Conflict);
    }
}
