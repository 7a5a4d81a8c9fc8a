//! The end-to-end cases: real programs, real taps, real guests. Root is needed.

#![allow(clippy::unwrap_used, reason = "everything here is a test")]

mod clients;
mod crawls;
mod dhcp;
mod drops;
mod guests;
mod harness;
mod identity;
mod ipv6;
mod isolation;
mod leases;
mod link_local;
mod live;
mod many_ports;
mod offloads;
mod seeds;
mod storm;
mod upgrade;
mod windows;
