//! The stream of dropped frames.

use std::{
    net::IpAddr,
    os::fd::{AsRawFd, RawFd},
    path::Path,
};

use aya::maps::{Map, MapData, RingBuf};
use mezame_ebpf_common::{DropRecord, PortSlot, Verdict, unwire6};

use crate::maps::{MapFault, Maps, fault, pinned};

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
    pub source: IpAddr,
    /// The destination (ARP and neighbour discovery: the target's) address.
    pub destination: IpAddr,
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

impl DropEvent {
    /// Reads a record; nothing if it is none.
    fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < size_of::<DropRecord>() {
            return None;
        }
        // SAFETY: long enough, and `DropRecord` is `Plain`: any bytes are one.
        let record: DropRecord = unsafe { bytes.as_ptr().cast::<DropRecord>().read_unaligned() };
        Some(Self {
            verdict: Verdict::from_number(record.verdict)?,
            slot: PortSlot::new(record.slot),
            ifindex: record.ifindex,
            source: address(record.source),
            destination: address(record.destination),
            ethertype: record.ethertype,
            protocol: record.protocol,
            source_port: record.source_port,
            destination_port: record.destination_port,
            vlan: record.vlan,
            mac: record.mac,
            length: record.length,
        })
    }
}

/// An address of a record: IPv4's are mapped ones there. A field that was not read is `::`.
fn address(words: [u32; 4]) -> IpAddr {
    unwire6(words).to_canonical()
}

/// The drops that were recorded. Has one reader at a time; readable (as `AsyncFd` sees it) when
/// there is an event.
///
/// A port's drops are recorded up to [a number a second](mezame_ebpf_common::PortState); beyond
/// it they are only counted, so that one port's flood does not hide another's drops.
pub struct DropEvents(RingBuf<MapData>);

impl DropEvents {
    pub(crate) fn open(maps: &Path) -> Result<Self, MapFault> {
        let map = pinned(maps, Maps::DROPS, Map::RingBuf)?;
        Ok(Self(map.try_into().map_err(fault(Maps::DROPS, "opened"))?))
    }

    /// The next event, if there is one now.
    #[allow(clippy::should_implement_trait)] // No iterator: it goes on after a None.
    pub fn next(&mut self) -> Option<DropEvent> {
        loop {
            // A record that is none, which no program of this layout writes, is passed over.
            if let Some(event) = DropEvent::parse(&self.0.next()?) {
                return Some(event);
            }
        }
    }
}

impl AsRawFd for DropEvents {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_none_is_passed_over() {
        assert_eq!(DropEvent::parse(&[0; 63]), None);
        assert_eq!(DropEvent::parse(&[0xff; 64]), None, "no such verdict");
        assert!(DropEvent::parse(&[0; 64]).is_some());
    }
}
