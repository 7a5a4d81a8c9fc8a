//! Hydration into an encrypted plain volume, whether the clone is encrypted or not.
//!
//! The target is LUKS over a file or a device, with a header of its own. Which key opens it is in the
//! clone's record before it is made; so that key is not forgotten while the volume may become it.

use std::io;

use super::{Hydration, HydrationError, prepare, unmake};
use crate::{
    clone::{InstantClone, Master, durable, record::Record},
    encryption::{
        KeyNumber, Keyslots, VolumeKeys,
        header::{HEAD, Luks},
        image::{self, Form},
    },
    qmp::Qmp,
    volume::{HostCache, Place},
};

/// An encrypted plain volume that is to be made.
pub struct EncryptedTarget<'a> {
    /// Where: a file that is made, or a block device, 2 MiB longer than the volume.
    pub place: Place,
    /// As of the clone.
    pub cache: HostCache,
    /// Which key is to open it. The clone's QEMU was started with this one: with
    /// [`Volume::secrets`](crate::volume::Volume::secrets) of a clone that it opens, or with
    /// [`Secrets::of`](crate::encryption::secret::Secrets::of).
    pub number: KeyNumber,
    /// The key.
    pub keys: &'a VolumeKeys,
}

impl Hydration {
    /// [`start`](Self::start) with an encrypted target.
    ///
    /// # Errors
    /// [`HydrationError::Begun`] where one was begun and not cancelled, whatever became of it. After
    /// any other, all is as it was, unless QEMU's answer is not known: [`cancel`](Self::cancel) what
    /// [`of`](Self::of) makes of the clone's record then.
    pub fn start_encrypted(
        qmp: &mut Qmp,
        master: &Master,
        clone: &InstantClone,
        target: &EncryptedTarget<'_>,
        speed: Option<u64>,
    ) -> Result<Self, HydrationError> {
        let noted = Some(Keyslots::One(target.number));
        master.locked()?.change(clone.id(), |record| {
            // What the caller has of it may be old; the key of a volume that is there, or comes to
            // be, is never written over.
            if record.stage.plain().is_some() {
                return Err(HydrationError::Plain(clone.id().clone()));
            }
            if record.plain_keyslots.is_some() {
                return Err(HydrationError::Begun(clone.id().clone()));
            }
            Ok(Record { plain_keyslots: noted, ..record })
        })?;
        let noted = master.find(clone.id())?;
        let hydration = Self::of(&noted, target.place.clone(), target.cache)?;
        let begun = noted.size().map_err(HydrationError::from).and_then(|size| {
            make(&noted, size, target)?;
            hydration.begin_in(qmp, &target.place, size, speed)
        });
        if begun.as_ref().is_err_and(HydrationError::is_answer) {
            // The first error is what counts. A note that stays can be taken away by a cancel.
            let _ = hydration.note_target(master, None);
        }
        begun.map(|()| hydration)
    }

    /// Notes which keys open the target.
    pub(super) fn note_target(
        &self,
        master: &Master,
        keyslots: Option<Keyslots>,
    ) -> Result<(), HydrationError> {
        let locked = master.locked()?;
        locked.change(&self.id, |record| {
            Ok::<_, HydrationError>(Record { plain_keyslots: keyslots, ..record })
        })?;
        Ok(())
    }
}

/// Makes the target; nothing is left of it after an error.
fn make(
    clone: &InstantClone,
    size: u64,
    target: &EncryptedTarget<'_>,
) -> Result<(), HydrationError> {
    let failed = |source| HydrationError::Target { path: target.place.called(), source };
    let Some(path) = target.place.path() else {
        let said = "a LUN is not made an encrypted volume";
        return Err(failed(io::Error::new(io::ErrorKind::Unsupported, said)));
    };
    // A file must not be there; qemu-img gives one its length, behind the header.
    prepare(&target.place, if matches!(target.place, Place::File(_)) { 0 } else { size }, None)
        .map_err(failed)?;
    let key = (clone.id(), target.number, target.keys);
    let made = image::make(path, size, &Form::Luks, key, || match &target.place {
        Place::File(path) => {
            durable::remove(path).and_then(|()| durable::create_private(path)).map(drop)
        }
        Place::Device(_) | Place::Lun(_) => Ok(()),
    });
    made.map_err(HydrationError::from)
        .and_then(|()| check(&target.place, size).map_err(failed))
        .inspect_err(|_| unmake(&target.place))
}

/// That the volume has room behind the header, and that all is durable.
fn check(place: &Place, size: u64) -> io::Result<()> {
    let (file, length) = place.open()?;
    let mut head = vec![0; HEAD];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut head, 0)?;
    let invalid = |said: String| io::Error::new(io::ErrorKind::InvalidInput, said);
    let luks = Luks::parse(&head).map_err(|fault| invalid(fault.to_string()))?;
    if luks.payload.checked_add(size).is_none_or(|end| end > length) {
        return Err(invalid("it is shorter than the volume and its header".into()));
    }
    file.sync_all()?;
    place.path().map_or(Ok(()), durable::sync_parent)
}
