//! Restoring a volume in place, and giving that up ([`mezame_images::restore::in_place`]).
//!
//! The records of what was begun are in the state directory, which is there when a pool is not.

use std::path::PathBuf;

use mezame_images::{
    archive::{Archive, Visible, Watch},
    clone::{InstantClone, Master},
    restore::{
        Origin, RestoreError,
        in_place::{self, Manner, Subject},
    },
    volume::{Data, Place, Volume, VolumeId},
};

use super::{
    CACHE, ExecutorError, Facts, Local, Reason, durability,
    room::{check_image_room, taken},
};
use crate::volumes::executor::{RestoreOrder, Restored};

impl Local {
    /// That a volume is not half of one thing and half of another.
    pub(super) fn check_whole(&self, facts: &Facts) -> Result<(), ExecutorError> {
        Ok(self.records.check(&facts.id)?)
    }

    pub(super) fn restore_now(
        &self,
        facts: &Facts,
        order: &RestoreOrder,
        watch: &dyn Watch,
    ) -> Result<Restored, ExecutorError> {
        let (archive, visible) = self.images.look(&order.project, order.image)?;
        let (master, clone) = self.find(facts)?;
        if !order.is_over {
            self.check_beside(facts, &clone, &archive, &visible)?;
        }
        let of = Origin {
            archive: &archive,
            image: &visible,
            keys: &facts.keys,
            may_be_clear: false,
            run: &self.run,
        };
        let manner = if order.is_over {
            Manner::Over
        } else {
            Manner::Beside { keeps_old: order.keeps_old }
        };
        let subject = subject(&master, facts);
        let restored = in_place::restore(&self.records, &of, subject, manner, watch)?;
        // An overlay goes with its clone.
        let kept = match restored.kept.as_ref().map(Volume::data) {
            Some(Data::Plain(Place::File(path))) => Some(path.clone()),
            _ => None,
        };
        Ok(Restored { size: restored.size, written: restored.written, kept })
    }

    pub(super) fn restoring_now(&self) -> Result<Vec<(VolumeId, bool)>, ExecutorError> {
        let all = self.records.under_way()?.into_iter();
        Ok(all.map(|(id, _)| (id.clone(), self.records.check(&id).is_err())).collect())
    }

    /// That there is room for what is written beside, which has to be in the volume's pool.
    fn check_beside(
        &self,
        facts: &Facts,
        clone: &InstantClone,
        archive: &Archive,
        image: &Visible,
    ) -> Result<(), ExecutorError> {
        // One that the volume has become already is not gone on with.
        let is_other = |new: &PathBuf| clone.hydrated().and_then(Place::path) != Some(new);
        let begun = self.records.begun_at(&facts.id)?.filter(is_other);
        let there = begun.map_or(0, |new| taken(&new));
        // LUKS over a file leaves no holes in it.
        let data = || Ok(archive.data_bytes(image)?);
        let data = facts.newest.is_none().then_some(data);
        check_image_room(self.pool(&facts.pool)?.path(), image.image().size, there, data)
    }

    pub(super) fn give_up_now(&self, facts: &Facts) -> Result<(), ExecutorError> {
        if !self.records.is_under_way(&facts.id)? {
            let message = format!("no restore of {} was cut short", facts.id);
            return Err(ExecutorError::new(Reason::Conflict, message));
        }
        let (master, _) = self.find(facts)?;
        Ok(in_place::cancel(&self.records, subject(&master, facts))?)
    }

    /// Removes what a restore that was begun has left of a volume that is about to be deleted.
    pub(super) fn drop_restore(&self, master: &Master, facts: &Facts) -> Result<(), ExecutorError> {
        if !self.records.is_under_way(&facts.id)? {
            return Ok(());
        }
        match in_place::cancel(&self.records, subject(master, facts)) {
            // Half of it is as good as nothing now.
            Err(RestoreError::HalfRestored { .. }) => Ok(self.records.forget(&facts.id)?),
            cancelled => Ok(cancelled?),
        }
    }
}

fn subject<'a>(master: &'a Master, facts: &'a Facts) -> Subject<'a> {
    let durability = durability(facts);
    Subject::Clone { master, id: &facts.id, durability, cache: CACHE }
}
