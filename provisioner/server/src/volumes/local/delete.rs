//! Deleting a volume: what is left of its keys on the disk, and the master that goes with its last one.
//!
//! It forgets no key in the database: its caller does, once this has said that the volume is gone.

use mezame_images::{
    clone::{CloneError, Master},
    encryption::erasure::Erased,
    volume::Place,
};

use super::{ExecutorError, Facts, Local, hydration};
use crate::volumes::executor::Erasure;

impl Local {
    /// Deletes it; nothing where it is gone.
    pub(super) fn delete_now(&self, volume: &Facts) -> Result<Erasure, ExecutorError> {
        self.check_masters(volume)?;
        let at = self.masters.join(&volume.master);
        let masters = self.masters()?;
        let nothing = Erasure { what: "nothing", doubt: None };
        let master = match Master::open(&at) {
            // It may have gone with another volume in this moment.
            Err(_) if !at.is_dir() => {
                self.check_gone(volume)?;
                return self.drop_master(&masters, volume).map(|()| nothing);
            }
            opened => opened?,
        };
        let erasure = match master.find(&volume.id) {
            Err(CloneError::NoClone(_)) => self.check_gone(volume).map(|()| nothing)?,
            Err(error) => return Err(error.into()),
            Ok(clone) => {
                self.drop_restore(&master, volume)?;
                // The plain volume first: the clone's record is what names it.
                let plain = master.erase_plain(&clone)?;
                // A hydration that was not ended has made it; it has what the volume has.
                let target = clone.path().with_file_name(hydration::target_name(volume));
                let target = master.erase_target(&clone, &Place::File(target))?;
                worst([plain, target, master.erase_clone(&clone)?])
            }
        };
        self.drop_master(&masters, volume)?;
        Ok(erasure)
    }
}

/// What erasures of one volume are worth together.
pub(super) fn worst<const N: usize>(all: [Erased; N]) -> Erasure {
    let doubt = all.iter().find_map(|erased| match erased {
        Erased::Unsure(doubt) => Some(doubt.to_string()),
        Erased::InPlace | Erased::Nothing => None,
    });
    let what = match doubt {
        Some(_) => "unsure",
        None if all.contains(&Erased::InPlace) => "in-place",
        None => "nothing",
    };
    Erasure { what, doubt }
}

#[cfg(test)]
mod tests {
    use mezame_images::encryption::erasure::Doubt;

    use super::*;

    #[test]
    fn an_erasure_is_as_sure_as_its_least_sure_part() {
        let unsure = Erased::Unsure(Doubt::Shared);
        let what = |all: [Erased; 3]| worst(all).what;
        assert_eq!(what([Erased::Nothing; 3]), "nothing");
        assert_eq!(what([Erased::InPlace, Erased::Nothing, Erased::Nothing]), "in-place");
        assert_eq!(what([Erased::Nothing, Erased::Nothing, Erased::InPlace]), "in-place");
        let mixed = worst([Erased::InPlace, unsure, Erased::Nothing]);
        assert_eq!((mixed.what, mixed.doubt.is_some()), ("unsure", true));
    }
}
