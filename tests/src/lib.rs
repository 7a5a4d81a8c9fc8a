//! The end-to-end harness: a hypervisor in a network namespace of its own, with real taps, real
//! guests and the real programs.
//!
//! A [`Lab`] leaves nothing behind, however it ends: its namespaces have no names, its devices
//! live in them, its files and pins lie on file systems that only it sees, and its processes die
//! with it. Root is needed; nothing of the host's network is touched.

pub mod binaries;
pub mod bpf_maps;
pub mod capture;
pub mod client_machine;
pub mod crowd;
pub mod dhcp;
pub mod dig;
pub mod equal_image;
pub mod frame;
pub mod guest_image;
pub mod http;
pub mod lab;
pub mod load;
pub mod namespace;
pub mod namespace_guest;
pub mod operator;
pub mod process;
pub mod qemu;
pub mod recorded;
pub mod sandbox;
pub mod server;
pub mod ssh;
pub mod tap;
pub mod tenant;
pub mod upstream;
pub mod wait;
pub mod wine;

pub use lab::Lab;
