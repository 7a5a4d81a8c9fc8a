//! Guests' storage: the archive of disk images, volumes that are clones of a shared master, and what
//! of their writes a hard stop may take.
//!
//! QEMU owns the data path: every byte that a guest reads or writes goes through its own drivers.
//! What is here keeps images, describes volumes to QEMU, talks to it over its sockets, and keeps the
//! files around it in order. Nothing here mounts a guest's disk, and nothing here speaks to a guest.

pub mod archive;
mod background;
pub mod backup;
pub mod capture;
pub mod carrier;
pub mod clone;
pub mod encryption;
pub mod environment;
pub mod files;
pub mod iscsi;
mod local_socket;
pub mod migration;
mod nameless;
pub mod nbd;
mod program;
pub mod qcow2;
pub mod qmp;
pub mod restore;
pub mod room;
pub mod stopped;
pub mod storage_daemon;
pub mod vhdx;
pub mod vmdk;
pub mod volume;

#[cfg(test)]
mod testing;
