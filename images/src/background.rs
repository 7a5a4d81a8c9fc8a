//! Work that gives way to guests: on threads of a low priority of the processor.
//!
//! A niceness alone says how much a thread gets beside others, and not how soon they get theirs: a
//! guest's write that has come back from the disk waits until the slice of who compresses is over.
//! Under `SCHED_IDLE` (sched(7)) it does not wait. But such a thread gets next to nothing on a
//! processor that guests use up, so one that starves has a niceness alone for a while.
//!
//! What is started from such a thread has its priority too. It decides nothing about disks: what
//! waits for those, waits in whoever serves them.

use std::{
    cell::RefCell,
    fs, io,
    panic::resume_unwind,
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use nix::libc;
use rustix::process::setpriority_process;

/// As `nice -n 10`: beside threads of usual priority it gets a tenth of what one of them gets.
const NICENESS: i32 = 10;
/// How often a thread looks at how long it has waited for a processor.
const LOOK: Duration = Duration::from_secs(1);
/// How long one that starved has a niceness alone.
const FED: Duration = Duration::from_secs(10);

thread_local! {
    static TURN: RefCell<Option<Turn>> = const { RefCell::new(None) };
}

/// How a thread in the background is scheduled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Policy {
    /// It gets what nobody else wants.
    Idle,
    /// It gets a tenth.
    Nice,
}

/// What a thread has, and since when.
#[derive(Debug, Clone, Copy)]
struct Turn {
    policy: Policy,
    since: Instant,
    /// How long it had waited for a processor in all, then.
    waited: Duration,
}

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

/// For a thread in the background, between two pieces of its work: it runs when nobody else wants to,
/// unless it starves. Any other thread stays as it is.
pub(crate) fn give_way() {
    TURN.with_borrow_mut(|turn| {
        let now = Instant::now();
        if turn.is_some_and(|turn| now - turn.since < LOOK) {
            return;
        }
        // Without knowing how long it waits it would not know whether it starves.
        let may_be = niceness() >= NICENESS && can_come_back();
        let Some(waited) = may_be.then(waited).flatten() else { return };
        let policy = turn.map_or(Policy::Idle, |turn| {
            next(turn.policy, now - turn.since, waited.saturating_sub(turn.waited))
        });
        if turn.is_none_or(|turn| turn.policy != policy) && schedule(policy).is_err() {
            return;
        }
        if policy == Policy::Idle || turn.is_none_or(|turn| turn.policy != policy) {
            *turn = Some(Turn { policy, since: now, waited });
        }
    });
}

/// What a thread is to have that had this for so long, and waited so much of it for a processor.
fn next(policy: Policy, past: Duration, waited: Duration) -> Policy {
    match policy {
        Policy::Idle if waited > past * 4 / 5 => Policy::Nice,
        Policy::Nice if past < FED => Policy::Nice,
        Policy::Idle | Policy::Nice => Policy::Idle,
    }
}

/// How long the calling thread has waited for a processor since it was started, if the kernel tells.
fn waited() -> Option<Duration> {
    // Nanoseconds that it ran and that it waited, and how often it ran.
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split_whitespace().nth(1)?.parse().ok()?))
}

/// Whether a thread may leave `SCHED_IDLE`: with `CAP_SYS_NICE`, or where it may have this niceness
/// (`RLIMIT_NICE`). Tried once, by a thread that ends.
fn can_come_back() -> bool {
    static CAN: OnceLock<bool> = OnceLock::new();
    let tried = || schedule(Policy::Idle).and_then(|()| schedule(Policy::Nice)).is_ok();
    *CAN.get_or_init(|| thread::spawn(tried).join().unwrap_or(false))
}

/// Of the calling thread.
fn schedule(policy: Policy) -> io::Result<()> {
    let policy = match policy {
        Policy::Idle => libc::SCHED_IDLE,
        Policy::Nice => libc::SCHED_OTHER,
    };
    let priority = libc::sched_param { sched_priority: 0 };
    // SAFETY: the parameter outlives the call, which changes nothing but the thread's policy.
    match unsafe { libc::sched_setscheduler(0, policy, &raw const priority) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn niceness() -> i32 {
    rustix::process::getpriority_process(None).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> i32 {
        // SAFETY: it takes no pointer.
        unsafe { libc::sched_getscheduler(0) }
    }

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

    #[test]
    fn a_thread_in_the_background_runs_when_nobody_else_wants_to_and_no_other_thread_does() {
        let kept = in_background(|| {
            give_way();
            policy()
        });
        // Tests run as root, with all capabilities.
        assert_eq!(kept, libc::SCHED_IDLE);
        give_way();
        assert_eq!(policy(), libc::SCHED_OTHER);
    }

    #[test]
    fn one_that_starves_has_a_share_for_a_while() {
        let seconds = Duration::from_secs;
        assert_eq!(next(Policy::Idle, seconds(1), Duration::ZERO), Policy::Idle);
        assert_eq!(next(Policy::Idle, seconds(10), seconds(8)), Policy::Idle);
        assert_eq!(next(Policy::Idle, seconds(10), seconds(9)), Policy::Nice);
        // However long it waits with it, and it is tried again then.
        assert_eq!(next(Policy::Nice, seconds(9), seconds(9)), Policy::Nice);
        assert_eq!(next(Policy::Nice, seconds(10), seconds(9)), Policy::Idle);
    }

    #[test]
    fn a_thread_that_was_idle_has_its_niceness_again() {
        let (back, left) = in_background(|| {
            schedule(Policy::Idle).unwrap();
            schedule(Policy::Nice).unwrap();
            (policy(), niceness())
        });
        assert_eq!(back, libc::SCHED_OTHER);
        assert!(left >= NICENESS);
        assert!(waited().is_some() && can_come_back());
    }
}
