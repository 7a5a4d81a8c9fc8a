//! The stream of dropped frames.

use std::{
    net::Ipv4Addr,
    os::fd::{AsRawFd, RawFd},
};

use mezame_ebpf_common::{PortSlot, Verdict};

/// One dropped frame. Fields that the frame does not have are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropEvent {
    /// Why.
    pub verdict: Verdict,
    /// The port, if the device has one.
    pub slot: Option<PortSlot>,
    /// The device that it came in by.
    pub ifindex: u32,
    /// The source (ARP: the sender's) address.
    pub source: Ipv4Addr,
    /// The destination (ARP: the target's) address.
    pub destination: Ipv4Addr,
    /// After the VLAN tags.
    pub ethertype: u16,
    /// IP protocol.
    pub protocol: u8,
    /// Of TCP and UDP.
    pub source_port: u16,
    /// Of TCP and UDP.
    pub destination_port: u16,
    /// The outermost VLAN tag's id.
    pub vlan: u16,
    /// The source MAC.
    pub mac: [u8; 6],
    /// The frame's length in bytes.
    pub length: u32,
}

/// The drops that were recorded. Has one reader at a time; readable (as `AsyncFd` sees it) when
/// there is an event.
pub struct DropEvents(RawFd);

impl DropEvents {
    /// The next event, if there is one now.
    #[allow(clippy::should_implement_trait)] // No iterator: it goes on after a None.
    pub fn next(&mut self) -> Option<DropEvent> {
        None
    }
}

impl AsRawFd for DropEvents {
    fn as_raw_fd(&self) -> RawFd {
        self.0
    }
}
