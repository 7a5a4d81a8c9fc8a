//! Making a volume longer that no guest runs on: a file in a directory, or what a disk carries.

use mezame_images::{
    archive::Watch,
    clone::{Growth, GrowthError},
};

use super::{CACHE, ExecutorError, Facts, Local, Reason, durability, room::check_room};
use crate::fault::chain;

impl Local {
    pub(super) fn grow_now(
        &self,
        facts: &Facts,
        size: u64,
        watch: &dyn Watch,
    ) -> Result<(), ExecutorError> {
        self.check_whole(facts)?;
        if let Some(disk) = self.on_disk(facts)? {
            disk.check_whole()?;
            return Ok(disk.carrier.grow(&disk.owner, &facts.id, size, watch).map(drop)?);
        }
        let (master, clone) = self.find(facts)?;
        if clone.hydrated().is_some() {
            // Its guest may fill all of it, as after a hydration.
            check_room(self.pool(&facts.pool)?.path(), size.saturating_sub(facts.size))?;
        }
        let durability = durability(facts);
        let (keys, run, from) = (&facts.keys, &*self.run, facts.size);
        let growth = Growth { from, size, durability, cache: CACHE, keys, run };
        Ok(master.grow(&facts.id, &growth)?)
    }
}

impl From<GrowthError> for ExecutorError {
    fn from(error: GrowthError) -> Self {
        let reason = match error {
            GrowthError::Clone(error) => return error.into(),
            GrowthError::Recovery(error) => return error.into(),
            GrowthError::InUse(_) => Reason::InUse,
            GrowthError::Changing(_)
            | GrowthError::Shorter { .. }
            | GrowthError::Odd(_)
            | GrowthError::NoFile(_) => Reason::Conflict,
            _ => Reason::Failed,
        };
        Self::new(reason, chain(&error))
    }
}
