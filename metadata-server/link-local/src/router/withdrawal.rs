//! Taking back what a guest was told by a router advertisement and what holds no more.
//!
//! A former router says itself that it is none any more, and ends its routes: guests keep both by
//! sender (RFC 4861, section 6.2.5; RFC 4191, section 3.1). Prefixes, resolvers and search domains
//! that are gone end in the advertisement that follows, with lifetimes of zero. A prefix that stays
//! while guests are to make addresses of it no more, or that is on the link no more, loses that
//! alone. Addresses made of a prefix that ends are out of use for new connections at once, and gone
//! after two hours at the latest (RFC 4862, section 5.5.3, e): no lifetime can do more.
//!
//! What there is no room for is not taken back, and runs out.

use std::net::Ipv6Addr;

use ipnetwork::Ipv6Network;

use super::{
    Advertisement,
    message::{Message, Prefix},
};

/// What an advertisement has told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The sender.
    pub(super) source: Ipv6Addr,
    /// The message's flags M and O.
    pub(super) flags: u8,
    /// Whether the sender is a default router.
    pub(super) is_router: bool,
    pub(super) prefixes: Vec<Prefix>,
    pub(super) resolvers: Vec<Ipv6Addr>,
    /// As labels.
    pub(super) search: Option<Vec<u8>>,
    /// By the sender.
    pub(super) routes: Vec<Ipv6Network>,
    /// How long a message may be.
    pub(super) most: usize,
}

impl Told {
    /// By the same sender, nothing.
    fn emptied(&self) -> Self {
        Self {
            source: self.source,
            flags: self.flags,
            is_router: false,
            prefixes: Vec::new(),
            resolvers: Vec::new(),
            search: None,
            routes: Vec::new(),
            most: self.most,
        }
    }
}

/// What a guest is sent, in this order, that was told `before` and is to be told `now`, or nothing
/// any more: the former router's last words, if there are any, and what holds now.
pub fn follow(before: &Told, now: Option<Advertisement>) -> Vec<Advertisement> {
    let Some(mut now) = now else { return vec![end_all(before)] };
    let mut messages = Vec::new();
    if before.source != now.source {
        messages.extend(end_router(before));
    }
    let mut message = Message::go_on(std::mem::take(&mut now.bytes), now.told.most);
    end_gone(&mut message, before, &now.told);
    now.bytes = message.bytes;
    messages.push(now);
    messages
}

/// The last advertisement of a router, which also ends its routes; None where it was none.
fn end_router(before: &Told) -> Option<Advertisement> {
    let has_told = before.is_router || !before.routes.is_empty();
    has_told.then(|| {
        // That it goes says nothing of DHCPv6, so its flags stay.
        let mut message = Message::new(before.flags, 0, before.most);
        before.routes.iter().for_each(|route| _ = message.route(*route, 0));
        ended(before, message)
    })
}

/// The last advertisement of all.
fn end_all(before: &Told) -> Advertisement {
    let mut message = Message::new(0, 0, before.most);
    end_gone(&mut message, before, &before.emptied());
    ended(before, message)
}

/// Writes what was told before and is told no more.
fn end_gone(message: &mut Message, before: &Told, now: &Told) {
    for Prefix { range, flags } in &before.prefixes {
        let kept = now.prefixes.iter().filter(|it| it.range == *range);
        let flags = kept.fold(*flags, |flags, kept| flags & !kept.flags);
        if flags != 0 {
            message.prefix(Prefix { range: *range, flags }, 0, 0);
        }
    }
    let gone = before.resolvers.iter().copied().filter(|it| !now.resolvers.contains(it));
    message.resolvers(&gone.collect::<Vec<_>>(), 0);
    if let Some(search) = before.search.as_ref().filter(|it| now.search.as_ref() != Some(it)) {
        message.search(search, 0);
    }
    // Those of a former router are ended by itself.
    if before.source == now.source {
        let gone = before.routes.iter().filter(|it| !now.routes.contains(it));
        gone.for_each(|route| _ = message.route(*route, 0));
    }
}

fn ended(before: &Told, message: Message) -> Advertisement {
    Advertisement { source: before.source, bytes: message.bytes, told: before.emptied() }
}

#[cfg(test)]
mod tests;
