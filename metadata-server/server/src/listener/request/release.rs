//! A volume's key: given out once a boot, on disk before the guest has it.

use std::{sync::Arc, time::Instant};

use mezame_model::{GuestEvent, report::GuestEventKind};
use mezame_protocol::{Claim, Response as Reply};
use ring::rand::SystemRandom;

use super::{Exchange, too_many};
use crate::{
    audit, clock::unix_milliseconds, identity::Record, ledger::outbox::Outbox,
    metrics::refusal::Reason,
};

impl Exchange<'_> {
    /// Gives a volume's key out, unless it was given out in this boot. Whichever it is, it is on
    /// disk for the control plane before the guest hears of it.
    pub(super) async fn release(&self, record: &Record, claim: Box<Claim>) -> Reply {
        let now = self.serving.clock.nanoseconds(Instant::now());
        let events = &self.connection.attachment().events;
        if let Err(exhausted) = events.take_many(self.serving.event_rate, 1, now) {
            self.serving.metrics.refused(Reason::EventsOfPort);
            return too_many(exhausted);
        }
        // Before anything is noted, since the guest's key may be none that can be sealed to.
        let sealed = match claim.seal(&SystemRandom::new()) {
            Ok(sealed) => sealed,
            Err(reply) => return *reply,
        };
        let serving = Arc::clone(self.serving);
        let (port, instance) =
            (self.connection.attachment().port.clone(), record.guest.instance.id.clone());
        let generation = record.generation;
        let settled = tokio::task::spawn_blocking(move || {
            let keep = |kind: GuestEventKind| {
                let (port, instance) = (port.clone(), instance.clone());
                let (key, at_ms) = (Outbox::new_key()?, unix_milliseconds());
                serving.outbox.keep(GuestEvent { port, instance, at_ms, key, kind }, generation)
            };
            match serving.outbox.releases().settle(&claim, || keep(claim.released()))? {
                Ok(()) => Ok(sealed),
                Err(why) => {
                    let (kind, reply) = claim.refused(why);
                    audit::withheld(&port, &instance, &kind);
                    keep(kind)?;
                    Ok(reply)
                }
            }
        });
        match settled.await {
            Ok(Ok(reply)) => self.audited(record, reply),
            Ok(Err(error)) => self.not_kept(&error),
            Err(_) => Reply::internal(),
        }
    }
}
