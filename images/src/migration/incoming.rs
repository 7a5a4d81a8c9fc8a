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

use super::{Known, MigrationAddress, MigrationError, Moved, gate};
use crate::{
    backup::{disk::Disk, point::survey},
    qmp::Qmp,
    volume::{Limits, Volume, VolumeId},
};

/// What QEMU is told to do: to take bitmaps, and to take the disks when the guest is let go on and no
/// sooner. Without the second one it would open them for writing, and write to them, as soon as the guest's
/// memory is here, when the source may yet take the guest back.
const CAPABILITIES: [&str; 2] = ["dirty-bitmaps", "late-block-activate"];
/// How long a guest that the source has given up may take to be here.
const ARRIVAL: Duration = Duration::from_secs(60);

/// A guest that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// Whether it runs. One that stood still when it left does so here too, and QEMU takes its disks when
    /// it is let go on (`cont`): until then it is neither backed up nor moved, and nothing of them is
    /// known to be lost. Settle it again after that.
    pub does_run: bool,
    /// Disks of which it is not known here any more what has changed: their next backup reads all.
    pub lost: Vec<VolumeId>,
}

/// Makes a QEMU that was started with `-S -incoming defer` listen for the guest. It may be called again
/// after an error.
///
/// # Errors
/// [`MigrationError::NotHere`], if it was started otherwise. It is of no use then.
pub fn prepare(qmp: &mut Qmp, listen: &MigrationAddress) -> Result<(), MigrationError> {
    listen.check()?;
    let state = qmp.run_state()?;
    if state != "inmigrate" {
        return Err(MigrationError::NotHere(state));
    }
    if gate::find(qmp)?.is_none() {
        gate::add_node(qmp)?;
    }
    qmp.set_capabilities(&CAPABILITIES, true)?;
    qmp.execute("migrate-incoming", json!({ "uri": listen.to_string() }))?;
    Ok(())
}

/// Lets a guest go on that [`super::move_guest`] has moved, unless it stood still before it left; its
/// volumes get their limits first. It may be called again.
///
/// Flushers are to be started here, and the source to be ended.
///
/// # Errors
/// [`MigrationError::NotHere`], if this QEMU has no guest, [`MigrationError::Another`], if it has one that
/// came by another migration, and [`MigrationError::Unknown`], if nothing says how it came. It runs no
/// more than before then.
pub fn settle(
    qmp: &mut Qmp,
    volumes: &[(Volume, Limits)],
    moved: &Moved,
) -> Result<Settled, MigrationError> {
    let state = arrived(qmp)?;
    match gate::find(qmp)?.map(|found| found.mark) {
        Some(Some(mark)) if mark.number == moved.number => {}
        Some(Some(_)) => return Err(MigrationError::Another),
        // It was settled before.
        None if state == "running" => {}
        _ => return Err(MigrationError::Unknown(state)),
    }
    for (volume, limits) in volumes {
        limits.apply(qmp, volume)?;
    }
    // Any other state is one that it came with, such as that its disk was full.
    if moved.did_run && state == "paused" {
        qmp.execute("cont", json!({}))?;
    } else if state != "running" {
        return Ok(Settled { does_run: false, lost: Vec::new() });
    }
    gate::remove(qmp)?;
    let lost = lost(qmp, volumes, &moved.known)?;
    // Nothing of it is for a migration from here.
    qmp.set_capabilities(&CAPABILITIES, false)?;
    Ok(Settled { does_run: true, lost })
}

/// Waits for the guest; the machine's state.
fn arrived(qmp: &mut Qmp) -> Result<String, MigrationError> {
    let begin = Instant::now();
    let mut state = qmp.run_state()?;
    while state == "inmigrate" && begin.elapsed() < ARRIVAL {
        thread::sleep(Duration::from_millis(2));
        state = qmp.run_state()?;
    }
    let is_elsewhere = ["inmigrate", "postmigrate", "finish-migrate"].contains(&&*state);
    if is_elsewhere { Err(MigrationError::NotHere(state)) } else { Ok(state) }
}

/// Disks whose bitmaps are not as they were, once QEMU has taken the disks.
fn lost(
    qmp: &mut Qmp,
    volumes: &[(Volume, Limits)],
    known: &[Known],
) -> Result<Vec<VolumeId>, MigrationError> {
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
    Ok(known.iter().filter(|of| !is_there(of)).map(|of| of.volume.clone()).collect())
}
