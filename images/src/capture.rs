//! Capture: a guest's system storage becomes an image in the archive, which clones are made of.
//!
//! What is captured is the whole volume as its guest sees it, a clone with its master's bytes: an
//! overlay alone would be of no use without that master. A volume that nobody has open is
//! [held](crate::stopped) meanwhile; one that a guest runs on is read
//! at a [point in time](crate::backup::point), as a backup is, which it is not: the next backup
//! goes on from the last one.
//!
//! Whether the guest's agent has forgotten who the guest was (`guest-agent seal`) is the caller's
//! word. It writes to no volume but what [recovery](crate::volume::recovery) puts back, and mounts
//! none.

mod error;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::Path};

use mezame_model::ProjectName;

pub use error::CaptureError;

use crate::{
    archive::{Archive, Detail, Imported, Kind, NewImage, ProjectKey, Provenance, Watch},
    backup::{
        offer::Offer,
        pull::{self, Exceptions, Pulled},
    },
    encryption::VolumeKeys,
    stopped::{Held, Stopped},
    volume::Volume,
};

/// Labels of a captured image: its volume, when that was as it is here (milliseconds since 1970), who
/// had it captured, `stopped` or what a [backup's consistency](pull::CONSISTENCY) is called, and
/// `agent` or `no`.
pub const VOLUME: &str = "capture.volume";
/// See [`VOLUME`].
pub const TAKEN: &str = "capture.taken-ms";
/// See [`VOLUME`].
pub const BY: &str = "capture.by";
/// See [`VOLUME`].
pub const STATE: &str = "capture.state";
/// As [`pull::WHY_CRASH`] and [`pull::LEFT_OUT`], of a running guest's.
pub const WHY_CRASH: &str = "capture.why-crash";
/// See [`WHY_CRASH`].
pub const LEFT_OUT: &str = "capture.left-out";
/// See [`VOLUME`].
pub const SEALED: &str = "capture.sealed";
/// `yes` of a volume that was encrypted at the hypervisor, or whose master was; what it is restored to
/// should be, too ([`crate::restore`]).
pub const ENCRYPTED: &str = "capture.encrypted";

/// What a captured image is to be.
#[derive(Debug)]
pub struct Capture<'a> {
    /// Whose it is.
    pub project: &'a ProjectName,
    /// The project's key, if it is encrypted.
    pub key: Option<&'a ProjectKey>,
    /// What it is called.
    pub name: String,
    /// Labels beside those of every captured image.
    pub labels: BTreeMap<String, String>,
    /// Who has it captured: a person, an instance, a program.
    pub by: String,
    /// Whether the guest's agent has forgotten who the guest was, before it stopped.
    pub is_sealed: bool,
}

/// Captures a volume that no guest runs on. `run` is a directory that only we may enter, for sockets.
/// The image is there when this returns, whole and durable, or not at all.
///
/// # Errors
/// [`StoppedError::InUse`], while QEMU has it open; [`CaptureError::WouldBeClear`].
pub fn stopped(
    archive: &Archive,
    capture: &Capture<'_>,
    stopped: Stopped<'_>,
    keys: &VolumeKeys,
    run: &Path,
    watch: &dyn Watch,
) -> Result<Imported, CaptureError> {
    check_key(&stopped.volume()?, capture)?;
    let held = Held::take(stopped, keys, run)?;
    let detail = detail(capture, held.volume(), archive.now_ms(), "stopped");
    let Capture { project, key, .. } = *capture;
    let new = NewImage { project, kind: Kind::Captured, detail, key, base: None };
    Ok(held.import(archive, &new, keys, run, watch)?)
}

/// Captures a running guest's disk at a point in time that was opened for it. `offer` must be one of
/// everything ([`plan::decide`](crate::backup::plan::decide) with `all`), or of what has changed since
/// the last backup; the disk is none of those that are published when the point is closed.
///
/// # Errors
/// [`CaptureError::Pull`], as of a backup for which no [exception](Exceptions) is made: an encrypted
/// volume is captured into an encrypted project alone, and over a network by TLS alone.
pub fn running(
    archive: &Archive,
    capture: &Capture<'_>,
    offer: &Offer,
    watch: &dyn Watch,
) -> Result<Pulled, CaptureError> {
    let to = pull::Destination {
        project: capture.project,
        key: capture.key,
        name: capture.name.clone(),
        labels: BTreeMap::new(),
        exceptions: Exceptions::default(),
    };
    let mut labels =
        labels(capture, offer.volume.as_str(), offer.taken_ms, offer.consistency.name());
    pull::label_freeze(&mut labels, offer, WHY_CRASH, LEFT_OUT);
    mark_encrypted(&mut labels, offer.encrypted);
    Ok(pull::pull_as(archive, &to, Kind::Captured, Some(labels), offer, watch)?)
}

/// What is secret in the volume is not to be in the clear in the archive.
fn check_key(volume: &Volume, capture: &Capture<'_>) -> Result<(), CaptureError> {
    if volume.is_encrypted() && capture.key.is_none() {
        return Err(CaptureError::WouldBeClear(volume.id().clone()));
    }
    Ok(())
}

fn labels(
    capture: &Capture<'_>,
    volume: &str,
    taken_ms: u64,
    state: &str,
) -> BTreeMap<String, String> {
    let mut labels = capture.labels.clone();
    let sealed = if capture.is_sealed { "agent" } else { "no" };
    labels.extend([
        (VOLUME.into(), volume.into()),
        (TAKEN.into(), taken_ms.to_string()),
        (BY.into(), capture.by.clone()),
        (STATE.into(), state.into()),
        (SEALED.into(), sealed.into()),
    ]);
    labels
}

fn mark_encrypted(labels: &mut BTreeMap<String, String>, is_encrypted: bool) {
    if is_encrypted {
        labels.insert(ENCRYPTED.into(), "yes".into());
    }
}

fn detail(capture: &Capture<'_>, volume: &Volume, taken_ms: u64, state: &str) -> Detail {
    let source = Some(format!("volume {}", volume.id()));
    let mut labels = labels(capture, volume.id().as_str(), taken_ms, state);
    mark_encrypted(&mut labels, volume.is_encrypted());
    Detail {
        name: capture.name.clone(),
        labels,
        provenance: Provenance { format: Some("raw".into()), source, ..Provenance::default() },
    }
}
