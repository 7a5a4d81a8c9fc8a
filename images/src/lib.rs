//! Disk images: where they are kept.
//!
//! Control plane and hypervisor use it as a library. Nothing here ever mounts a guest's disk, and
//! nothing here speaks to a guest.

pub mod archive;
pub mod environment;
pub mod qcow2;
pub mod vmdk;
