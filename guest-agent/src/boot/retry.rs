//! When a change of the network that was taken back is tried once more. Pure: the time and the
//! random number are passed in.
//!
//! The change may have been right and only early: a switch, a router or a firewall of the
//! operator's followed a minute later, and nothing in the document tells of that. So it is tried
//! again, each time after a longer pause, as each attempt cuts the guest off for some seconds.
//! Where the service is lost meanwhile, the old network may be what is wrong now: it is tried at
//! once, but never sooner than [`FIRST`] after the last attempt. A service that is silent for less
//! than [`SILENCE`] is not lost: it is restarted, or one connection broke. While a change waits,
//! the document is not done again for another reason either, as that would change the network, too.
//!
//! ```text
//!   rolled back ──► wait 10 s … 30 min ──► tried ──► good: forgotten
//!        ▲               │ service lost: now           │
//!        └───────────────┴─────────────────────────────┘ rolled back
//! ```

use std::time::{Duration, Instant};

use crate::backoff::Backoff;

/// The first pause, and the shortest after which a lost service makes it tried again.
pub(super) const FIRST: Duration = Duration::from_secs(10);

/// A service that does not answer for so long is lost.
const SILENCE: Duration = Duration::from_secs(5);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// The change that waits, if one does.
#[derive(Debug)]
pub(super) struct Retry {
    backoff: Backoff,
    waits: Option<Waits>,
    /// Since when the service does not answer.
    silent: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Waits {
    since: Instant,
    until: Duration,
}

impl Retry {
    pub(super) fn new() -> Self {
        Self { backoff: Backoff::new(FIRST, LONGEST), waits: None, silent: None }
    }

    /// After a run: whether it took a change of the network back, and whether its document was
    /// another one than before, with which the counting begins anew.
    pub(super) fn after_run(&mut self, rolled_back: bool, is_new: bool, now: Instant, random: u64) {
        if is_new || !rolled_back {
            self.backoff.reset();
        }
        self.silent = None;
        self.waits =
            rolled_back.then(|| Waits { since: now, until: self.backoff.next(random, None) });
    }

    /// The service has answered, whatever it said.
    pub(super) fn answered(&mut self) {
        self.silent = None;
    }

    /// The service did not answer.
    pub(super) fn unanswered(&mut self, now: Instant) {
        let since = *self.silent.get_or_insert(now);
        if now.saturating_duration_since(since) >= SILENCE
            && let Some(waits) = &mut self.waits
        {
            waits.until = waits.until.min(FIRST);
        }
    }

    /// Whether the document may be done again for another reason.
    pub(super) fn lets_run(&self, now: Instant) -> bool {
        self.left(now).is_none_or(|left| left.is_zero())
    }

    /// How long it still waits; none where nothing waits, zero where it is to be tried now.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        let waits = self.waits?;
        Some(waits.until.saturating_sub(now.saturating_duration_since(waits.since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_back_is_tried_again_ever_more_seldom_and_never_given_up() {
        let mut retry = Retry::new();
        let mut now = Instant::now();
        assert_eq!(retry.left(now), None);
        let mut whole = FIRST;
        for attempt in 0..30_u64 {
            retry.after_run(true, attempt == 0, now, attempt * 97);
            let left = retry.left(now).unwrap();
            assert!(left >= whole / 2 && left <= whole, "{left:?} of {whole:?}");
            now += left;
            assert_eq!(retry.left(now), Some(Duration::ZERO));
            whole = (whole * 2).min(LONGEST);
        }
        retry.after_run(false, false, now, 0);
        assert_eq!(retry.left(now), None);
        retry.after_run(true, false, now, 0);
        assert!(retry.left(now).unwrap() <= FIRST);
    }

    #[test]
    fn another_document_is_tried_as_soon_as_the_first() {
        let (mut retry, now) = (Retry::new(), Instant::now());
        for _ in 0..10 {
            retry.after_run(true, false, now, 0);
        }
        assert!(retry.left(now).unwrap() > FIRST);
        retry.after_run(true, true, now, 0);
        assert!(retry.left(now).unwrap() <= FIRST);
    }

    #[test]
    fn a_lost_service_brings_it_forward_but_not_into_a_busy_loop() {
        let (mut retry, now) = (Retry::new(), Instant::now());
        retry.unanswered(now);
        retry.unanswered(now + SILENCE);
        assert_eq!(retry.left(now), None, "nothing waits");
        for _ in 0..10 {
            retry.after_run(true, false, now, 0);
        }
        retry.unanswered(now);
        retry.unanswered(now + SILENCE);
        assert_eq!(retry.left(now), Some(FIRST));
        assert_eq!(retry.left(now + FIRST), Some(Duration::ZERO));
    }

    #[test]
    fn a_service_that_is_silent_for_a_moment_is_not_lost() {
        let (mut retry, now) = (Retry::new(), Instant::now());
        for _ in 0..10 {
            retry.after_run(true, false, now, 0);
        }
        let whole = retry.left(now).unwrap();
        assert!(whole > FIRST);
        retry.unanswered(now);
        retry.unanswered(now + SILENCE / 2);
        assert_eq!(retry.left(now), Some(whole));
        retry.answered();
        retry.unanswered(now + SILENCE);
        assert_eq!(retry.left(now), Some(whole), "counted from the last answer");
        retry.unanswered(now + SILENCE * 2);
        assert_eq!(retry.left(now), Some(FIRST));
    }
}
