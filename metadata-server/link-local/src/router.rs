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
//! Prefixes, resolvers and search domains hold for ever: the record is what ends them, and a guest
//! that asked once may never ask again. Routers and routes hold for [`ROUTER_LIFETIME`], so they
//! must be told again before ([`REPEAT_EVERY`]).
//!
//! Follows RFC 4861 (sections 4.1, 4.2 and 6), RFC 4191 (routes), RFC 8106 (resolvers).

mod advertisement;
mod solicitation;

use std::time::Duration;

pub use advertisement::{Advertisement, advertise};
pub use solicitation::{Silence, Solicitation, parse};

/// How long a guest may use an announced router and its routes: the longest that RFC 4861 allows
/// (section 6.2.1).
pub const ROUTER_LIFETIME: Duration = Duration::from_secs(9000);

/// How often an announced router is to be told again, unasked: RFC 4861's usual interval (section
/// 6.2.1).
pub const REPEAT_EVERY: Duration = Duration::from_secs(600);
