//! The listener by itself, in a network namespace of the test's own in which every identity
//! address is local: a test's client binds to the identity that it wants to be.

mod abuse;
mod arena;
mod ending;
mod freezing;
mod password;
mod serving;
mod volume_keys;
