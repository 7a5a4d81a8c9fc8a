//! A look at many disks: some at a time, and no more at a target that does not answer.

use std::thread;

use mezame_images::{
    carrier::{Carrier, CarrierError, Seen},
    iscsi::LunError,
    storage_daemon::DaemonError,
};

/// LUNs that are looked at at once: each takes a daemon of QEMU's, and a dead target half a minute.
const AT_ONCE: usize = 8;

/// Why a disk was not seen.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unseen {
    /// It can't be read.
    #[error(transparent)]
    Fault(#[from] CarrierError),
    /// Its target has left others without an answer.
    #[error("{disk} was not asked, since its target has not answered for others")]
    GivenUp {
        /// Which.
        disk: String,
    },
    /// Whoever looked panicked.
    #[error("the look at {disk} has come to no end")]
    NoEnd {
        /// Which.
        disk: String,
    },
}

/// Looks at disks of one pool, whose LUNs are of one target.
pub(super) fn look_at(carriers: &[Carrier]) -> Vec<Result<Seen, Unseen>> {
    look_by(carriers, Carrier::look)
}

fn look_by(
    carriers: &[Carrier],
    look: impl Fn(&Carrier) -> Result<Seen, CarrierError> + Sync,
) -> Vec<Result<Seen, Unseen>> {
    let mut all = Vec::with_capacity(carriers.len());
    let mut is_silent = false;
    for some in carriers.chunks(AT_ONCE) {
        if is_silent {
            let given_up = |it: &Carrier| Err(Unseen::GivenUp { disk: it.to_string() });
            all.extend(some.iter().map(given_up));
            continue;
        }
        let looks: Vec<_> = thread::scope(|scope| {
            let look = &look;
            let looks: Vec<_> = some.iter().map(|it| scope.spawn(move || look(it))).collect();
            looks.into_iter().map(thread::ScopedJoinHandle::join).collect()
        });
        for (look, carrier) in looks.into_iter().zip(some) {
            let no_end = || Unseen::NoEnd { disk: carrier.to_string() };
            let seen = look.map_err(|_| no_end()).and_then(|seen| Ok(seen?));
            is_silent |= matches!(&seen, Err(Unseen::Fault(error)) if is_late(error));
            all.push(seen);
        }
    }
    all
}

/// Whether a target takes the connection, or not even that, and does not answer.
pub(super) fn is_late(error: &CarrierError) -> bool {
    let CarrierError::Lun(error) = error else { return false };
    matches!(error, LunError::Silent { .. } | LunError::Open { source: DaemonError::Late, .. })
}

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use mezame_images::{carrier::Found, iscsi::Lun};

    use super::*;

    #[test]
    fn a_target_that_does_not_answer_is_given_up_and_no_disk_is_left_out() {
        let carriers: Vec<_> =
            (0..20).map(|number| Carrier::device(Path::new(&format!("/dev/x{number}")))).collect();
        let asked = AtomicUsize::new(0);
        let looks = look_by(&carriers, |carrier| {
            asked.fetch_add(1, Ordering::SeqCst);
            if carrier.to_string() == "/dev/x9" {
                let lun = Lun::parse("iscsi://10.0.0.5/iqn.2026-01.net.example:pool/9").unwrap();
                let (lun, source) = (Box::new(lun), DaemonError::Late);
                return Err(LunError::Open { lun, source }.into());
            }
            Ok(Seen { length: 2 << 20, capacity: 1 << 20, found: Found::Blank })
        });
        assert_eq!((looks.len(), asked.into_inner()), (20, 16));
        let given_up: Vec<_> =
            looks.iter().map(|it| matches!(it, Err(Unseen::GivenUp { .. }))).collect();
        assert!(given_up[..16].iter().all(|it| !it) && given_up[16..].iter().all(|it| *it));
        assert!(looks[9].as_ref().is_err_and(|it| !matches!(it, Unseen::GivenUp { .. })));
    }

    #[test]
    fn a_device_that_is_away_keeps_nobody_from_looking_at_others() {
        let carriers = vec![Carrier::device(Path::new("/dev/none")); AT_ONCE + 1];
        let is_away = |it: &Result<Seen, Unseen>| matches!(it, Err(Unseen::Fault(_)));
        assert!(look_at(&carriers).iter().all(is_away));
    }
}
