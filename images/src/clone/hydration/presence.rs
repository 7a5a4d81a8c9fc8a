//! What has to be so before a hydration is begun, ended or taken back: that this QEMU is the one that
//! has the volume, that nobody has the target open, and that a target's note fits what is in it.
//!
//! Volumes of other guests have monitors too, and which is whose is only said by whoever asks. A
//! command to a wrong one must not reach the note of the right one's target: the key of a volume that
//! comes to be is named there and nowhere else.

use std::{io, os::unix::fs::FileExt};

use serde_json::json;

use super::{Hydration, HydrationError};
use crate::{
    clone::{InstantClone, Locked, Master, handover::Stage, lock, record::Record},
    encryption::header::MAGIC,
    qmp::Qmp,
    volume::{Data, Place},
};

impl InstantClone {
    /// Whether somebody began to hand its guest over who is not known to have ended it: the guest may
    /// stand still until [`Hydration::complete`] is called.
    pub fn is_being_handed_over(&self) -> bool {
        self.record.is_held || matches!(self.record.stage, Stage::HandingOver(_))
    }
}

impl Hydration {
    /// Whether a QEMU has the volume open, before or after its guest went over.
    pub fn is_in(&self, qmp: &mut Qmp) -> Result<bool, HydrationError> {
        let names = [self.id.node(""), self.id.node("plain")];
        Ok(qmp.nodes()?.iter().any(|node| names.contains(&node.name)))
    }

    /// That it does.
    pub(super) fn check_in(&self, qmp: &mut Qmp) -> Result<(), HydrationError> {
        if self.is_in(qmp)? { Ok(()) } else { Err(HydrationError::NoDisk(self.id.clone())) }
    }

    /// That its guest is there, and not on its way to another QEMU: what stands still there is not ours to
    /// let go on.
    pub(super) fn check_here(&self, qmp: &mut Qmp) -> Result<(), HydrationError> {
        if qmp.is_moving()? { Err(HydrationError::Moving(self.id.clone())) } else { Ok(()) }
    }

    /// Notes that a volume is plain whose QEMU ended while its guest was handed over: another one was
    /// started from the plain volume since, as the record has it, and no guest is held any more.
    pub(super) fn note_restart(
        &self,
        qmp: &mut Qmp,
        master: &Locked<'_>,
        record: &Record,
    ) -> Result<(), HydrationError> {
        let Some(place) = record.stage.plain() else { return Ok(()) };
        let is_settled = !record.is_held && matches!(record.stage, Stage::Plain(_));
        if is_settled || self.job(qmp)?.is_some() || !self.is_started_plain(qmp)? {
            return Ok(());
        }
        master.mark(&self.id, Stage::Plain(place.clone()), false)?;
        Ok(())
    }

    /// Whether a QEMU was started with the plain volume: it has it by the name that the clone had.
    fn is_started_plain(&self, qmp: &mut Qmp) -> Result<bool, HydrationError> {
        let nodes = qmp.execute("query-named-block-nodes", json!({ "flat": true }))?;
        let name = self.id.node("");
        let mut nodes = nodes.as_array().into_iter().flatten();
        let found = nodes.find(|node| node["node-name"] == *name);
        Ok(found.is_some_and(|node| matches!(node["drv"].as_str(), Some("raw" | "luks"))))
    }

    /// That nobody has the target open, as the QEMU has that a hydration goes on in. What no file or
    /// device is there is open nowhere; a LUN is not seen from here.
    pub(super) fn check_unused(&self) -> Result<(), HydrationError> {
        let Data::Plain(place) = self.plain.data() else { return Ok(()) };
        match lock::reserve(place) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(_) if matches!(place, Place::Lun(_)) => Ok(()),
            Err(source) => Err(HydrationError::Target { path: place.called(), source }),
        }
    }

    /// That a target without a note is none that has to have one: gone over to, its header would be
    /// what the guest sees.
    pub(super) fn check_note(&self, record: &Record, size: u64) -> Result<(), HydrationError> {
        let is_clear = record.stage == Stage::Overlay && record.plain_keyslots.is_none();
        if is_clear && (record.keyslots.is_some() || self.has_header(size)) {
            return Err(HydrationError::WouldBeClear(self.id.clone()));
        }
        Ok(())
    }

    /// Whether the target is a file with a LUKS header before the volume's first byte. A guest may have
    /// begun its disk with one itself; then the file is no longer than the volume.
    fn has_header(&self, size: u64) -> bool {
        let Data::Plain(place @ Place::File(_)) = self.plain.data() else { return false };
        let Ok((file, length)) = place.open() else { return false };
        let mut head = [0; MAGIC.len()];
        length > size && file.read_exact_at(&mut head, 0).is_ok() && head == *MAGIC
    }

    /// Lets a guest go on that was stopped to be handed over, where it is not handed over after all.
    pub(super) fn let_go(&self, qmp: &mut Qmp, master: &Master) -> Result<(), HydrationError> {
        let locked: Locked<'_> = master.locked()?;
        let record = master.find(&self.id)?.record;
        if record.is_held {
            if super::completion::is_stopped(qmp)? {
                qmp.execute("cont", json!({}))?;
            }
            locked.mark(&self.id, record.stage, false)?;
        }
        Ok(())
    }
}
