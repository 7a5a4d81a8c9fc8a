//! The end-to-end cases: real programs, real taps, real guests. Root is needed.

#![allow(clippy::unwrap_used, reason = "everything here is a test")]

mod access;
mod backup;
mod certificates;
mod clients;
mod clones;
mod conformance;
mod crawls;
mod dhcp;
mod doctor;
mod drops;
mod durability;
mod encrypted_roots;
mod guests;
mod harness;
mod identity;
mod images;
mod ipv6;
mod iscsi;
mod isolation;
mod leases;
mod link_local;
mod live;
mod many_ports;
mod migration;
mod offloads;
mod renderers;
mod seeds;
mod shell_agent;
mod storm;
mod upgrade;
mod volumes;
mod windows;
