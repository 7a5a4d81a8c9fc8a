//! What each port was told last by router advertisements, and so what it is to be sent now: what is
//! new, with what it ends, and everything once more when that is due. A message that was not sent
//! is due again at the next look.
//!
//! A guest that is answered in between learns the same out of the same record, so that is not
//! noted here. What was told before this process started is not known: it runs out.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    io,
};

use mezame_ebpf_loader::PortSlot;
use mezame_link_local::router::{Advertisement, Told, follow};
use mezame_model::{Generation, PortId};

/// What each port was told last.
#[derive(Debug, Default)]
pub(super) struct Memory(HashMap<PortSlot, Entry>);

#[derive(Debug)]
struct Entry {
    port: PortId,
    /// Of the record that it was told out of.
    generation: Generation,
    /// What it was told, and a digest of the message; None: nothing.
    last: Option<(u64, Told)>,
    /// Whether a message to it was not sent.
    is_owed: bool,
}

impl Memory {
    /// Forgets the ports of other slots.
    pub(super) fn retain(&mut self, is_there: impl Fn(PortSlot) -> bool) {
        self.0.retain(|slot, _| is_there(*slot));
    }

    /// Whether there may be something to tell the port: its record has changed, or all are told
    /// again, or it was not reached before.
    pub(super) fn is_due(
        &self,
        slot: PortSlot,
        port: &PortId,
        generation: Generation,
        again: bool,
    ) -> bool {
        let before = self.0.get(&slot).filter(|before| before.port == *port);
        again || before.is_none_or(|before| before.is_owed || before.generation != generation)
    }

    /// Sends the port what it is to be told now. What could not be sent is not taken for told.
    pub(super) fn tell(
        &mut self,
        slot: PortSlot,
        port: &PortId,
        generation: Generation,
        again: bool,
        now: Option<Advertisement>,
        send: impl FnMut(&Advertisement) -> io::Result<()>,
    ) -> io::Result<()> {
        // Another port's, in the same place, is nothing to this one.
        let before = self.0.get(&slot).filter(|before| before.port == *port);
        let last = now.as_ref().map(|now| (digest_of(now), now.told.clone()));
        let again = again || before.is_some_and(|before| before.is_owed);
        let messages = match before.and_then(|before| before.last.as_ref()) {
            Some((digest, _)) if last.as_ref().is_some_and(|last| last.0 == *digest) => {
                now.into_iter().filter(|_| again).collect()
            }
            Some((_, told)) => follow(told, now),
            None => Vec::from_iter(now),
        };
        let sent = messages.iter().try_for_each(send);
        if sent.is_ok() {
            let entry = Entry { port: port.clone(), generation, last, is_owed: false };
            self.0.insert(slot, entry);
        } else if let Some(before) = self.0.get_mut(&slot).filter(|before| before.port == *port) {
            before.is_owed = true;
        }
        sent
    }
}

fn digest_of(advertisement: &Advertisement) -> u64 {
    let mut hasher = DefaultHasher::new();
    (advertisement.source, &advertisement.bytes).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
