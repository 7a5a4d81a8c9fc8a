//! Cuts connections that are over a limit of time, and keeps the coarse clock.

use std::{sync::Arc, time::Duration};

use super::{Overdue, Serving, Stage};

/// How often the clock is brought up to date; limits of time are kept to about this.
const TICK: Duration = Duration::from_millis(250);

/// Runs until the listener is closed.
pub async fn reap(serving: Arc<Serving>) {
    let mut stage = serving.stage.subscribe();
    let closed = stage.wait_for(|stage| *stage == Stage::Closed);
    tokio::pin!(closed);
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = &mut closed => return,
            _ = ticks.tick() => sweep(&serving),
        }
    }
}

fn sweep(serving: &Serving) {
    let now = serving.clock.update();
    for attachment in serving.identities.all() {
        let mut overdue = Vec::new();
        attachment.for_each_connection(|connection| {
            if let Some(why) = connection.overdue(&serving.limits, now) {
                overdue.push((Arc::clone(connection), why));
            }
        });
        for (connection, why) in overdue {
            serving.metrics.refused(why.reason());
            match why {
                Overdue::Idle => connection.close(),
                Overdue::Head | Overdue::Request | Overdue::Write => connection.reset(),
            }
        }
    }
}
