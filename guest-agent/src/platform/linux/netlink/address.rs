//! Addresses whole, as the kernel tells them (rtnetlink(7)), so that one comes back with its scope,
//! its label, its flags and what is left of its lifetime.
//!
//! Without the lifetime an address that DHCP leased (RFC 2131) or a router advertised (RFC 4862)
//! would stay when its time is over and somebody else has it. So what has passed between telling
//! and setting is taken off, which may be half an hour, and one whose time is over is not set.

use ipnetwork::IpNetwork;
use netlink_packet_core::{Emitable, NLM_F_CREATE, NLM_F_REPLACE, Parseable};
use netlink_packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage},
};

use super::{Netlink, own_address};
use crate::platform::Result;

/// An address as the kernel tells it.
#[derive(Debug, Clone)]
pub(in crate::platform::linux) struct RawAddress(AddressMessage);

impl RawAddress {
    /// To be kept.
    pub(in crate::platform::linux) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.0.buffer_len()];
        self.0.emit(&mut bytes);
        bytes
    }

    /// Of bytes that were kept.
    pub(in crate::platform::linux) fn parse(bytes: &[u8]) -> Option<Self> {
        AddressMessage::parse(bytes).ok().map(Self)
    }

    /// The address alone, with its prefix length.
    pub(in crate::platform::linux) fn network(&self) -> Option<IpNetwork> {
        IpNetwork::new(own_address(&self.0)?, self.0.header.prefix_len).ok()
    }

    /// The same on a device that has been made anew, and so has another number.
    pub(in crate::platform::linux) fn on(mut self, device: u32) -> Self {
        self.0.header.index = device;
        self
    }

    /// The same after so many seconds; nothing where its time is over. The kernel takes no address
    /// without a lifetime (EINVAL).
    pub(in crate::platform::linux) fn after(mut self, seconds: u32) -> Option<Self> {
        // That there is no end is told by the highest number (RFC 4862, section 5.5.3).
        let less = |left: u32| if left == u32::MAX { left } else { left.saturating_sub(seconds) };
        for attribute in &mut self.0.attributes {
            if let AddressAttribute::CacheInfo(times) = attribute {
                times.ifa_valid = less(times.ifa_valid);
                times.ifa_preferred = less(times.ifa_preferred);
                if times.ifa_valid == 0 {
                    return None;
                }
            }
        }
        Some(self)
    }

    /// As it is asked for: without what only the kernel can tell.
    fn asked(&self) -> AddressMessage {
        let mut message = self.0.clone();
        message.header.flags = AddressHeaderFlags::empty();
        message.attributes.retain(|it| !matches!(it, AddressAttribute::Other(_)));
        for attribute in &mut message.attributes {
            if let AddressAttribute::Flags(flags) = attribute {
                *flags &= AddressFlags::Nodad
                    | AddressFlags::Homeaddress
                    | AddressFlags::Managetempaddr
                    | AddressFlags::Noprefixroute
                    | AddressFlags::Mcautojoin;
            }
        }
        message
    }
}

impl Netlink {
    /// A device's addresses, whole.
    pub(in crate::platform::linux) fn raw_addresses(
        &mut self,
        index: u32,
    ) -> Result<Vec<RawAddress>> {
        let all = self.addresses()?.into_iter();
        Ok(all.filter(|it| it.header.index == index).map(RawAddress).collect())
    }

    /// Adds an address as it was told.
    pub(in crate::platform::linux) fn add_raw_address(
        &mut self,
        address: &RawAddress,
    ) -> Result<()> {
        let message = RouteNetlinkMessage::NewAddress(address.asked());
        self.change(message, NLM_F_CREATE | NLM_F_REPLACE, "adding an address")
    }
}
