//! Router advertisements: how a network's guests come to IPv6 addresses, and who their router is.
//!
//! A guest takes as default router the *sender* of an advertisement and nobody else (RFC 4861,
//! section 6.3.4), and a sender's address is link-local. So a router can be announced only where
//! the record names a link-local one: the advertisement then comes from that address. In any other
//! network it comes from the service's own, with a router lifetime of zero: prefixes, resolvers and
//! the way to addresses are told, and a router has to be by other means.
//!
//! No source link-layer address is told: the sender's may be the router's, whose MAC address we
//! don't know; guests ask for it.
//!
//! All of it runs out in the end, so it is told again before, unasked ([`REPEAT_EVERY`]); what holds
//! no more is taken back at once ([`follow`]). What no taking back has reached, since the message
//! was lost or had no room, ends by itself.
//!
//! Follows RFC 4861 (sections 4.1, 4.2 and 6), RFC 4191 (routes), RFC 8106 (resolvers).

mod advertisement;
mod message;
mod solicitation;
mod withdrawal;

use std::time::Duration;

pub use advertisement::{Advertisement, advertise};
pub use solicitation::{Silence, check};
pub use withdrawal::{Told, follow};

/// How long a guest may use an announced router, its routes, resolvers and search domains: the
/// longest that RFC 4861 allows for a router (section 6.2.1).
pub const ROUTER_LIFETIME: Duration = Duration::from_secs(9000);

/// How often each port is to be told again, unasked: RFC 4861's usual interval (section 6.2.1).
pub const REPEAT_EVERY: Duration = Duration::from_secs(600);

/// How many seconds a prefix is valid: 30 days, RFC 4861's usual figure (section 6.2.1).
const VALID_LIFETIME: u32 = 30 * 24 * 3600;

/// How many seconds addresses made of a prefix are preferred: 7 days, likewise.
const PREFERRED_LIFETIME: u32 = 7 * 24 * 3600;
