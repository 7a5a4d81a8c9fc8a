//! Guests' storage: volumes that are clones of a shared master, and what of their writes a hard
//! stop may take.
//!
//! QEMU owns the data path: every byte that a guest reads or writes goes through its own drivers.
//! What is here describes volumes to it, talks to it over its sockets, and keeps the files around
//! it in order. Nothing here mounts a guest's disk.

pub mod clone;
pub mod nbd;
pub mod qmp;
pub mod storage_daemon;
pub mod volume;

#[cfg(test)]
mod testing;
