//! What a delivered frame must have become: another source, destination, port and MACs, checksums
//! that are as right as they were, and not a byte else.

use std::net::IpAddr;

use mezame_ebpf_loader::{Identity, Identity6, Protocol, Service};

use super::{
    super::{
        frames::Read,
        frames6::Read6,
        lab::{HOST_MAC, PEER_MAC},
    },
    Model,
};

impl Model {
    pub(super) fn compare_delivered(
        &mut self,
        before: &[u8],
        after: &[u8],
        service: &Service,
        is_nobodys: bool,
    ) {
        assert_eq!((&after[..6], &after[6..12]), (&PEER_MAC[..], &HOST_MAC[..]));
        match service.address {
            IpAddr::V4(_) => self.compare_4(&Read(before), &Read(after), service, is_nobodys),
            IpAddr::V6(_) => self.compare_6(&Read6(before), &Read6(after), service, is_nobodys),
        }
    }

    fn compare_4(&mut self, old: &Read<'_>, new: &Read<'_>, service: &Service, is_nobodys: bool) {
        let n = if is_nobodys { Identity::UNSPECIFIED } else { self.slots.of(old.source()) };
        assert_eq!(new.source(), Identity::new(self.rules.slot, n).address());
        assert_eq!(IpAddr::V4(new.destination()), service.target.ip());
        assert_eq!(new.ports(), (old.ports().0, service.target.port()));
        assert_eq!(new.rest(), old.rest());
        // Right stays right, and wrong stays wrong.
        assert_eq!(new.ip_checksum_is_right(), old.ip_checksum_is_right(), "{:02x?}", old.0);
        let transport = (new.transport_checksum_is_right(), old.transport_checksum_is_right());
        assert_eq!(transport.0, transport.1, "{:02x?} {:02x?}", old.0, new.0);
    }

    fn compare_6(&mut self, old: &Read6<'_>, new: &Read6<'_>, service: &Service, is_nobodys: bool) {
        let n = if is_nobodys { Identity6::EVERYONE } else { self.slots.of_6(old.source()) };
        let interface = old.source().to_bits() as u64;
        assert_eq!(new.source(), Identity6::new(self.rules.slot, n, interface).address());
        assert_eq!(IpAddr::V6(new.destination()), service.target.ip());
        if service.protocol != Protocol::Icmp6 {
            assert_eq!(new.ports(), (old.ports().0, service.target.port()));
        }
        assert_eq!(new.rest(), old.rest());
        assert_eq!(new.has_no_checksum(), old.has_no_checksum(), "{:02x?}", old.0);
        let right = (new.checksum_is_right(), old.checksum_is_right());
        assert_eq!(right.0, right.1, "{:02x?} {:02x?}", old.0, new.0);
    }
}
