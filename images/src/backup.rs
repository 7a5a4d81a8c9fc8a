//! Online backup: a point in time of a running guest's disks, read over NBD into the archive by
//! whoever is asked to, on this host or another one.
//!
//! ```text
//!  hypervisor                               whoever pulls, with the archive
//!  [`point::survey`]  ── what QEMU knows ─────►  [`pull::published`], [`plan::decide`]
//!  [`point::Point::open`]  ◄──── decisions ────
//!        │            ────── offers ──────────►  [`pull::pull`] ──NBD──► an image
//!  [`point::Point::close`]  ◄─ what is there ──
//! ```
//! What is read is what was written since the last backup, as QEMU's dirty bitmap says; the rest is
//! that backup's. The new image stands by itself all the same. Where the bitmap can't be trusted
//! all is read, and [`plan::FullReason`] says why.
//!
//! Nothing here writes a guest's disk, starts a QEMU, or keeps a record: which backup is whose is in
//! the images' own labels, and which bitmap is of what is in its name.

mod base;
mod changed;
pub mod disk;
mod extents;
pub mod freeze;
mod gate;
mod mark;
pub mod name;
pub mod offer;
mod pace;
pub mod plan;
pub mod point;
pub mod pull;
pub(crate) mod source;
pub mod stopped;

#[cfg(test)]
mod tests;
