//! What a job on volumes fails of: an order that was not done, with how to mend it.

use super::{
    executor::{ExecutorError, Reason},
    plain,
};
use crate::{images::SITE, jobs::Unfinished};

/// What a job fails of, of what was ordered.
pub(super) fn unfinished(path: &str, error: ExecutorError) -> Unfinished {
    if error.reason == Reason::Cancelled {
        return Unfinished::Cancelled;
    }
    let (path, mend) = (place_of(error.reason, path), mend_of(error.reason));
    plain(path, error.message, mend).into()
}

/// Which part of what was asked for it is about, where the reason says it.
fn place_of(reason: Reason, path: &str) -> &str {
    match reason {
        Reason::NotFrozen => "freeze",
        // A schedule tries again what it failed of by this place.
        reason if reason.is_away() => SITE,
        _ => path,
    }
}

/// What is to be done about it.
pub(super) fn mend_of(reason: Reason) -> &'static str {
    match reason {
        Reason::InUse => {
            "stop its guest; backups, captures and changes of keys can be of a running one by its QMP socket"
        }
        Reason::NoPool => "mount it, or make it by 'mezame volume pool create'",
        Reason::Monitor => "name the QMP socket of the QEMU that has the volume open",
        Reason::Exists => "take another id, or move away what is there",
        Reason::MasterInUse | Reason::Conflict => "look at the volume by 'mezame volume show'",
        Reason::HalfRestored => "restore it again, from this image or another",
        Reason::Image => "look at the image by 'mezame image verify'",
        Reason::Archive => "ask the operator whether the archive's place is there and has room",
        Reason::NoKey => "ask the operator for the project's key",
        Reason::NotFrozen => {
            "name the agent of the guest behind the QMP socket, and see that it runs; or have it made \
             though the guest is not frozen"
        }
        Reason::NoDisk => "add a disk to the pool, or delete a volume there",
        Reason::NoRoom => "make room there, and ask for it again",
        Reason::Cancelled | Reason::Failed => "mend the host, and ask for it again",
    }
}
