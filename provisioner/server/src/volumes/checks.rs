//! What is refused of a call's words before anything is done.

use std::{path::Path, time::Duration};

use mezame_images::volume::FlushInterval;
use mezame_model::api::{
    Fault,
    volumes::{Limits, VolumeClass},
};

use super::{VolumesError, plain};

/// `THROTTLE_VALUE_MAX` in QEMU's include/qemu/throttle.h.
const MOST_BYTES: u64 = 1_000_000_000_000_000;

/// That limits are not nothing at all, and no more than QEMU takes.
pub(super) fn check_limits(limits: Limits) -> Result<(), VolumesError> {
    if limits.iops == Some(0) || limits.bytes == Some(0) {
        return Err(VolumesError::fault("limits", "a limit of 0", "leave it out for no limit"));
    }
    if limits.bytes.is_some_and(|bytes| bytes > MOST_BYTES) {
        let message = format!("more than {MOST_BYTES} bytes a second, which QEMU refuses");
        return Err(VolumesError::fault("limits", message, "leave it out for no limit"));
    }
    Ok(())
}

/// That a monitor's path is one that means the same to whoever connects.
pub(super) fn check_monitor(qmp: &Path) -> Result<(), VolumesError> {
    if qmp.is_absolute() {
        return Ok(());
    }
    Err(VolumesError::fault("qmp", "it is no whole path", "begin it with '/'"))
}

/// Of whom to freeze where no guest's monitor is known.
pub(super) fn not_running() -> VolumesError {
    let mend = "name the QMP socket of the guest's QEMU, or have 'volume open' told it";
    VolumesError::fault("freeze", "no guest is known to run on it", mend)
}

/// What is wrong with how often a volume is to be flushed.
pub(super) fn interval_fault(class: VolumeClass, flush_ms: Option<u32>) -> Option<Fault> {
    let flush_ms = flush_ms?;
    if !class.is_flushed() {
        let message = format!("a volume of the class '{}' is not flushed", class.as_str());
        return Some(plain("flush_ms", message, "leave it out, or take 'recovered' or 'bounded'"));
    }
    let interval = FlushInterval::new(Duration::from_millis(flush_ms.into()));
    interval.err().map(|error| plain("flush_ms", error.to_string(), "100 to 60000"))
}
