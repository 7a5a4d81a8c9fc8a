//! The destination's side: a QEMU that waits for a guest (`-S -incoming defer`) is made to listen, and
//! the guest that has come is let go on, with its limits.
//!
//! With `-S` it doesn't run before: the source may still take it back, and its limits are not set yet.
//!
//! After <https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html> (`migrate-incoming`).

use std::{
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{Known, MigrationAddress, MigrationError, gate};
use crate::{
    backup::{disk::Disk, point::survey},
    qmp::Qmp,
    volume::{Limits, Volume, VolumeId},
};

/// How long a guest that the source has given up may take to be here.
const ARRIVAL: Duration = Duration::from_secs(60);

/// A guest that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Disks of which it is not known here any more what has changed: their next backup reads all.
    pub lost: Vec<VolumeId>,
}

/// Makes a QEMU that was started with `-S -incoming defer` listen for the guest.
///
/// # Errors
/// [`MigrationError::NotHere`], if it was started otherwise. It is of no use then.
pub fn prepare(qmp: &mut Qmp, listen: &MigrationAddress) -> Result<(), MigrationError> {
    let state = qmp.run_state()?;
    if state != "inmigrate" {
        return Err(MigrationError::NotHere(state));
    }
    gate::add_node(qmp)?;
    qmp.set_capabilities(&["dirty-bitmaps"], true)?;
    qmp.execute("migrate-incoming", json!({ "uri": listen.to_string() }))?;
    Ok(())
}

/// Lets a guest go on that [`super::move_guest`] has moved, unless it stood still before it left; its
/// volumes get their limits first. It may be called again.
///
/// Flushers are to be started here, and the source to be ended.
pub fn settle(
    qmp: &mut Qmp,
    volumes: &[(Volume, Limits)],
    known: &[Known],
) -> Result<Settled, MigrationError> {
    let begin = Instant::now();
    let mut state = qmp.run_state()?;
    while state == "inmigrate" && begin.elapsed() < ARRIVAL {
        thread::sleep(Duration::from_millis(2));
        state = qmp.run_state()?;
    }
    if state == "inmigrate" {
        return Err(MigrationError::NotHere(state));
    }
    for (volume, limits) in volumes {
        limits.apply(qmp, volume)?;
    }
    if gate::find(qmp)?.and_then(|found| found.did_run) == Some(true) {
        qmp.execute("cont", json!({}))?;
    }
    gate::remove(qmp)?;
    let disks: Vec<Disk> = volumes.iter().map(|(volume, _)| Disk::of(volume)).collect();
    let surveys = survey(qmp, &disks, None)?;
    let is_there = |of: &Known| {
        let mut surveys = disks.iter().zip(&surveys);
        let Some((_, survey)) = surveys.find(|(disk, _)| *disk.id() == of.volume) else {
            return false;
        };
        let is_sound = |name| {
            let mut bitmaps = survey.bitmaps.iter();
            bitmaps.any(|b| b.name == name && b.is_recording && !b.is_inconsistent && !b.is_busy)
        };
        of.bitmaps.iter().all(|name| is_sound(*name))
    };
    let lost = known.iter().filter(|of| !is_there(of)).map(|of| of.volume.clone()).collect();
    // Nothing of it is for a migration from here.
    qmp.set_capabilities(&["dirty-bitmaps"], false)?;
    Ok(Settled { lost })
}
