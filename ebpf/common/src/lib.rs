//! Map keys and values that the kernel program and its loader share.
//!
//! `#[repr(C)]`, no padding, no pointers. A change here is a change of the pinned layout: raise
//! [`LAYOUT`].
#![no_std]

/// The version of the maps' layout; part of the path that they are pinned under.
pub const LAYOUT: u32 = 1;
