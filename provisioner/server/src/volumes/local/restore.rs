//! Restoring a volume in place, and giving that up ([`mezame_images::restore::in_place`]).
//!
//! The records of what was begun are in the state directory, which is there when a pool is not.

use mezame_images::{
    archive::Watch,
    clone::Master,
    restore::{
        Origin, RestoreError,
        in_place::{self, Manner, Subject},
    },
    volume::{Data, Place, Volume},
};

use super::{CACHE, ExecutorError, Facts, Local, Reason, durability};
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
        let (master, _) = self.find(facts)?;
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
        if let Some(Data::Plain(Place::File(path))) = restored.kept.as_ref().map(Volume::data) {
            tracing::info!(volume = %facts.id, path = %path.display(), "the old contents are kept");
        }
        Ok(Restored { size: restored.size, written: restored.written })
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
