//! Who still takes what guests send, and the wait until nobody does and all of it is done.
//!
//! What is taken is counted a moment after it was taken. An ending process that only looked at the
//! count could find nothing there, and end with a connection or a datagram in its hands; so each
//! loop that takes is known here from before its thread starts until it has left off. Nothing here
//! tells anybody to leave off: the stage does.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

/// How often an ending process looks whether all is over.
const LOOK: Duration = Duration::from_millis(20);

/// The loops that take.
#[derive(Debug, Clone, Default)]
pub(crate) struct Takers(Arc<AtomicU32>);

/// One of them, until it is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Taker(Arc<AtomicU32>);

impl Takers {
    /// One more.
    pub(crate) fn one_more(&self) -> Taker {
        self.0.fetch_add(1, Ordering::Relaxed);
        Taker(Arc::clone(&self.0))
    }

    /// Waits until all have left off and nothing is under way, for at most `patience`; what is
    /// under way then. `under_way` is asked now and then.
    pub(crate) async fn drained(&self, patience: Duration, under_way: impl Fn() -> u32) -> u32 {
        // None: later than the clock can say.
        let deadline = Instant::now().checked_add(patience);
        loop {
            // In this order: whoever has left off has counted all that it took.
            let is_taking = self.0.load(Ordering::Acquire) > 0;
            let left = under_way();
            let is_over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if is_over || (left == 0 && !is_taking) {
                return left;
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nothing_under_way_is_not_the_end_while_somebody_takes() {
        let takers = Takers::default();
        let taker = takers.one_more();
        let began = Instant::now();
        let leaving = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            drop(taker);
        };
        let (left, ()) = tokio::join!(takers.drained(Duration::MAX, || 0), leaving);
        assert_eq!(left, 0);
        assert!(began.elapsed() >= Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_under_way_at_the_end_of_patience_is_told() {
        let began = Instant::now();
        assert_eq!(Takers::default().drained(Duration::from_secs(5), || 2).await, 2);
        assert!(began.elapsed() >= Duration::from_secs(5));
        let takers = Takers::default();
        let _forever = takers.one_more();
        assert_eq!(takers.drained(Duration::ZERO, || 0).await, 0);
    }
}
