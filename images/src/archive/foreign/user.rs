//! The user that a conversion's program is: another one for each that is at work at the same time.
//!
//! Two programs of one user may look into each other (`/proc/PID/fd` opens what the other has
//! open, ptrace(2) does more), and what they convert may be two tenants'. So a user is taken for the
//! time of a conversion, by flock(2) on a file of its own, which the kernel gives back when its
//! holder ends, however it ends. It is for processes that see the same `/run`.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::{Duration, Instant},
};

use nix::fcntl::OFlag;

/// Of Debian's policy's range 65000 to 65533, which no package and no administrator gives out, and
/// outside of what systemd draws for its services (61184 to 65519). As many conversions run at once;
/// the others wait.
const USERS: std::ops::RangeInclusive<u32> = 65520..=65527;

/// Where the locks are: root alone can write there.
const LOCKS: &str = "/run";

/// A user that no other conversion is.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) user: u32,
    _lock: File,
}

impl Lease {
    /// Takes a user; none where all are taken for longer than this.
    pub(super) fn take(
        patience: Duration,
        is_cancelled: impl Fn() -> bool,
    ) -> io::Result<Option<Self>> {
        Self::take_at(Path::new(LOCKS), patience, is_cancelled)
    }

    pub(super) fn take_at(
        folder: &Path,
        patience: Duration,
        is_cancelled: impl Fn() -> bool,
    ) -> io::Result<Option<Self>> {
        let begin = Instant::now();
        loop {
            for user in USERS {
                let mut options = OpenOptions::new();
                options.write(true).create(true).truncate(false).mode(0o600);
                options.custom_flags(OFlag::O_NOFOLLOW.bits());
                let lock = options.open(folder.join(format!("mezame-conversion-{user}.lock")))?;
                match lock.try_lock() {
                    Ok(()) => return Ok(Some(Self { user, _lock: lock })),
                    Err(TryLockError::WouldBlock) => {}
                    Err(TryLockError::Error(error)) => return Err(error),
                }
            }
            if begin.elapsed() >= patience || is_cancelled() {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_user_is_given_to_one_at_a_time_and_the_next_one_waits() {
        let folder = tempfile::tempdir().unwrap();
        let take = |patience| Lease::take_at(folder.path(), patience, || false).unwrap();
        let all: Vec<Lease> = USERS.map(|_| take(Duration::ZERO).unwrap()).collect();
        let users: BTreeSet<u32> = all.iter().map(|lease| lease.user).collect();
        assert_eq!(users, USERS.collect());
        assert!(take(Duration::ZERO).is_none());
        let cancelled = Lease::take_at(folder.path(), Duration::from_secs(60), || true).unwrap();
        assert!(cancelled.is_none());
        let mut all = all;
        let freed = all.remove(3);
        let user = freed.user;
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| take(Duration::from_secs(60)));
            drop(freed);
            assert_eq!(waiting.join().unwrap().map(|lease| lease.user), Some(user));
        });
        assert_eq!(take(Duration::ZERO).map(|lease| lease.user), Some(user));
    }
}
