//! The services in a network namespace of the test's own, as the listener's tests have it, with
//! upstreams outside of it that the test plays.

mod arena;
mod dns;
mod dns_streams;
mod ending;
mod library;
mod ntp;
mod relay;
