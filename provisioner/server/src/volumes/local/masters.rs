//! Masters: each image is fetched from the archive once, and found again
//! ([`mezame_images::restore::masters`]).
//!
//! One of an image that is encrypted, or is of an encrypted volume, is encrypted with a key of its own,
//! which is in the records of its volumes; so it goes with the last of them. Others stay, but for those
//! of backups.

use mezame_images::{
    archive::{Archive, Visible, Watch},
    clone::CloneError,
    encryption::VolumeKeys,
    restore::{
        Origin, RestoreError,
        masters::{HeldMaster, Listed, MasterName, Masters, Stage},
    },
};

use mezame_model::api::volumes::{Master, MasterState};

use super::{ExecutorError, Facts, Local, Reason, room::check_image_room};
use crate::volumes::executor::Beginning;

impl Local {
    /// The directory of masters.
    pub(super) fn masters(&self) -> Result<Masters, ExecutorError> {
        Masters::open(&self.masters).map_err(|_| {
            let message = format!(
                "{} is not there: 'mezame volume pool create' makes it; if it was there, it is \
                 not mounted",
                self.masters.display()
            );
            ExecutorError::new(Reason::NoPool, message)
        })
    }

    /// A volume's master, made where it is missing. It is not removed before it has its clone.
    pub(super) fn master(
        &self,
        volume: &Facts,
        from: &Beginning,
        watch: &dyn Watch,
    ) -> Result<HeldMaster, ExecutorError> {
        let masters = self.masters()?;
        let made = match &from.image {
            None => masters.held_zeros(from.size, watch),
            Some((project, image)) => {
                let (archive, visible) = self.images.look(project, *image)?;
                let none = VolumeKeys::none();
                let (archive, image) = (&*archive, &visible);
                self.check_fetch(&masters, &name_of(volume)?, archive, &visible)?;
                let of =
                    Origin { archive, image, keys: &none, may_be_clear: false, run: &self.run };
                masters.held(&of, from.size, volume.master_key.as_ref(), watch)
            }
        };
        if made.is_err()
            && let Err(error) = masters.discard(&name_of(volume)?)
        {
            tracing::warn!(master = volume.master, %error, "what was fetched of a master is left");
        }
        Ok(made?)
    }

    /// That there is room for a master that is about to be fetched, unless it is there.
    fn check_fetch(
        &self,
        masters: &Masters,
        name: &MasterName,
        archive: &Archive,
        image: &Visible,
    ) -> Result<(), ExecutorError> {
        let there = match masters.look(name)? {
            None => 0,
            Some(part) if part.stage == Stage::Partial => part.bytes,
            Some(_) => return Ok(()),
        };
        let data = || Ok(archive.data_bytes(image)?);
        check_image_room(&self.masters, image.image().size, there, Some(data))
    }

    /// Removes a volume's master where that goes with its last volume, and this was it.
    pub(super) fn drop_master(
        &self,
        masters: &Masters,
        volume: &Facts,
    ) -> Result<(), ExecutorError> {
        if !volume.master_goes {
            return Ok(());
        }
        match masters.remove(&name_of(volume)?) {
            // Another volume has it, or is about to.
            Err(RestoreError::Clone(CloneError::HasClones { .. } | CloneError::Busy { .. })) => {
                Ok(())
            }
            removed => Ok(removed?),
        }
    }
}

impl Local {
    pub(super) fn list_masters_now(&self) -> Result<Vec<Master>, ExecutorError> {
        // Of another directory, which is there in place of these, nothing is said.
        self.masters_id()?;
        let shown = |it: Listed| Master {
            name: it.name.to_string(),
            image: match it.name {
                MasterName::Image(image) | MasterName::Longer(image, _) => Some(image.to_string()),
                MasterName::Zeros(_) => None,
            },
            host: self.host.clone(),
            state: match it.stage {
                Stage::Whole => MasterState::Whole,
                Stage::Partial => MasterState::Partial,
                Stage::Damaged => MasterState::Damaged,
            },
            bytes: it.bytes,
            size: it.size,
            encrypted: it.is_encrypted,
            volumes: it.clones,
        };
        Ok(self.masters()?.list()?.into_iter().map(shown).collect())
    }

    /// Removes a master without clones. Who makes a volume of it holds it until that is its clone; who
    /// comes later has it fetched anew.
    pub(super) fn remove_master_now(&self, name: &str) -> Result<bool, ExecutorError> {
        self.masters_id()?;
        let Some(name) = MasterName::parse(name) else { return Ok(false) };
        let masters = self.masters()?;
        if masters.look(&name)?.is_none() {
            return Ok(false);
        }
        let in_use = |message: String| Err(ExecutorError::new(Reason::MasterInUse, message));
        match masters.remove(&name) {
            Err(RestoreError::Clone(CloneError::HasClones { clones, example, .. })) => {
                in_use(format!("{clones} volumes stand on it, such as {example}"))
            }
            Err(RestoreError::Clone(CloneError::Busy { .. })) => {
                in_use("it is being fetched, or a volume is being made of it".into())
            }
            removed => Ok(removed.map(|()| true)?),
        }
    }
}

fn name_of(volume: &Facts) -> Result<MasterName, ExecutorError> {
    let none = || ExecutorError::new(Reason::Failed, format!("no master is '{}'", volume.master));
    MasterName::parse(&volume.master).ok_or_else(none)
}
