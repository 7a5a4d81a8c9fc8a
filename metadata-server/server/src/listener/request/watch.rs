//! A request that waits for a change: its place among those of its port, and what ends it.

use std::time::Duration;

use mezame_protocol::{Answer, Response as Reply};

use super::Exchange;
use crate::{
    identity::Standing,
    listener::{
        Serving, Stage,
        connection::{Connection, Phase},
    },
    metrics::refusal::Reason,
};

impl Exchange<'_> {
    /// Waits for a change that the guest can see, for the time, for the end of what the guest sends,
    /// or for the end of this process.
    pub(super) async fn watch(
        &mut self,
        request: &mezame_protocol::Request<'_>,
        body: &[u8],
        etag: u64,
        timeout_s: u32,
    ) -> Reply {
        let (serving, attachment) = (self.serving, self.connection.attachment());
        let Ok(_place) = Watching::begin(serving, self.connection) else {
            serving.metrics.refused(Reason::WatchesOfPort);
            return Reply::too_many_requests(timeout_s.max(1));
        };
        self.watched = true;
        let over =
            tokio::time::Instant::from_std(self.began) + Duration::from_secs(u64::from(timeout_s));
        let mut changes = attachment.follow();
        let mut stage = serving.stage.subscribe();
        let silence = self.connection.silence();
        tokio::pin!(silence);
        let mut wait = Wait { watched: Some(etag), is_over: false };
        loop {
            // Read before it is answered, so that a change in between is not missed.
            let standing = changes.borrow_and_update().clone();
            let Standing::Serving(record) = standing else {
                return self.without_record(&standing).await;
            };
            match self.respond(request, body, &record, wait) {
                Answer::Reply(reply) => return self.audited(&record, reply),
                Answer::Watch { .. } if !wait.is_over => {}
                // Only a watch's own reply is awaited here.
                _ => return Reply::internal(),
            }
            tokio::select! {
                changed = changes.changed() => wait.is_over = changed.is_err(),
                () = tokio::time::sleep_until(over) => wait.is_over = true,
                // Most likely nobody is there any more, and its place is another's to have.
                () = &mut silence => wait.is_over = true,
                _ = stage.wait_for(|stage| *stage != Stage::Open) => wait.is_over = true,
            }
        }
    }
}

/// How far a request has waited.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Wait {
    /// The state that it waits to see changed.
    pub(super) watched: Option<u64>,
    pub(super) is_over: bool,
}

/// A watch's place among those of its port.
struct Watching<'a> {
    serving: &'a Serving,
    connection: &'a Connection,
}

impl<'a> Watching<'a> {
    fn begin(
        serving: &'a Serving,
        connection: &'a Connection,
    ) -> Result<Self, crate::limits::Full> {
        connection.attachment().watches.raise(serving.limits.watches_per_port)?;
        serving.metrics.watches.inc();
        connection.enter(Phase::Watch, serving.clock.now());
        Ok(Self { serving, connection })
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        self.connection.attachment().watches.lower();
        self.serving.metrics.watches.dec();
        self.connection.wake(self.serving.clock.now());
    }
}
