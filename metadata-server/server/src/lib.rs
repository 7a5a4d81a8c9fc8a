//! The metadata service as a library: everything between a connection and the protocol.
//!
//! ```text
//!   feed ──► sync ──► cache ──► identity (standing of each attachment) ◄── listener ◄── guests
//!                 └─► ledger          ▲
//!   netlink ──► taps ──► data path    └── taps (who is attached)
//! ```

pub mod audit;
pub mod cache;
pub mod clock;
pub mod control_plane;
pub mod entrances;
#[cfg(test)]
mod fixture;
mod freezer;
pub mod identity;
pub mod ledger;
pub mod limits;
pub mod link_local;
pub mod listener;
pub mod metrics;
pub mod namespace;
#[cfg(test)]
mod netns;
mod orders;
pub mod removal;
#[cfg(test)]
mod sandbox;
pub mod service;
pub mod settings;
pub mod site;
pub mod sockets;
pub mod sync;
pub mod takeover;
pub mod taps;
mod unix;

/// An error with its causes, for logs: guests get a fixed message instead.
pub fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
