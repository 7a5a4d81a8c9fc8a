//! Work that gives way to guests: on threads of a low priority of the processor.
//!
//! What is started from such a thread has its priority too. It decides nothing about disks: what
//! waits for those, waits in whoever serves them.

use std::{panic::resume_unwind, thread};

use rustix::process::setpriority_process;

/// As `nice -n 10`: beside threads of usual priority it gets a tenth of what one of them gets, and it
/// is interrupted as soon as one of them has something to do (sched(7)).
const NICENESS: i32 = 10;

/// Does it on a thread of its own, and waits for it. A priority that is lower already stays.
pub(crate) fn in_background<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            if niceness() < NICENESS {
                // Linux gives each thread its own, and takes none for the calling one. Lowering one's
                // own needs no right; where it fails all the same, the work matters more.
                let _ = setpriority_process(None, NICENESS);
            }
            work()
        });
        worker.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

fn niceness() -> i32 {
    rustix::process::getpriority_process(None).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_started_in_the_background_gives_way_too_and_its_caller_does_not() {
        let before = niceness();
        let (own, started) = in_background(|| {
            let started = thread::spawn(niceness).join().unwrap();
            (niceness(), started)
        });
        assert_eq!((own, started), (before.max(NICENESS), before.max(NICENESS)));
        assert_eq!(niceness(), before);
    }
}
