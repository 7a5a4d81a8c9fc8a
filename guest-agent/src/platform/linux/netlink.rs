//! Devices and addresses by rtnetlink(7), one request at a time; routes have a file of their own.

mod address;
mod device;
mod route;

use std::{
    io,
    net::{IpAddr, Ipv6Addr},
};

use ipnetwork::IpNetwork;
use mezame_model::MacAddress;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope},
    link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

pub(super) use self::{
    address::RawAddress,
    device::MIIMON_MS,
    route::{RawRoute, Route},
};
use crate::{
    doctor::observation::Sight,
    facts::Link,
    platform::{PlatformError, Result},
};

/// A dump longer than this is cut: a guest has no tens of thousands of routes.
const MAX_DATAGRAMS: usize = 4096;

/// A connection to the kernel.
pub(super) struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// An IPv6 address of a device, and how far duplicate address detection has come with it
/// (RFC 4862, section 5.4).
#[derive(Debug, Clone, Copy)]
pub(super) struct Address6 {
    pub(super) address: Ipv6Addr,
    /// Still probed for: nothing is sent from it.
    pub(super) tentative: bool,
    /// Somebody else has it: nothing is ever sent from it.
    pub(super) taken: bool,
}

impl Netlink {
    pub(super) fn open() -> Result<Self> {
        let what = "opening netlink";
        let network = |source| PlatformError::Network { what, source };
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(network)?;
        socket.bind_auto().map_err(network)?;
        socket.connect(&SocketAddr::new(0, 0)).map_err(network)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Ethernet devices with their addresses.
    pub(super) fn links(&mut self) -> Result<Vec<Link>> {
        let what = "listing devices";
        let answers = self
            .request(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP, what)
            .map_err(|source| PlatformError::Network { what, source })?;
        let mut links: Vec<Link> = answers
            .into_iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewLink(message) => ethernet(message),
                _ => None,
            })
            .collect();
        for message in self.addresses()? {
            let network = own_address(&message)
                .and_then(|it| IpNetwork::new(it, message.header.prefix_len).ok());
            let link = links.iter_mut().find(|link| link.index == message.header.index);
            if let Some((link, network)) = link.zip(network) {
                link.addresses.push(network);
            }
        }
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    /// The Ethernet device of a name.
    pub(super) fn link(&mut self, name: &str) -> Result<Link> {
        self.links()?.into_iter().find(|link| link.name == name).ok_or_else(|| {
            let what = "looking for the device";
            PlatformError::Network { what, source: io::ErrorKind::NotFound.into() }
        })
    }

    /// A device's IPv6 addresses.
    pub(super) fn addresses6(&mut self, index: u32) -> Result<Vec<Address6>> {
        let of_device = self.addresses()?.into_iter().filter(|it| it.header.index == index);
        Ok(of_device
            .filter_map(|message| match own_address(&message)? {
                IpAddr::V4(_) => None,
                IpAddr::V6(address) => {
                    let flags = message.header.flags;
                    let has = |flag| flags.contains(flag);
                    // From an optimistic one packets leave while it is probed for (RFC 4429).
                    let tentative =
                        has(AddressHeaderFlags::Tentative) && !has(AddressHeaderFlags::Optimistic);
                    let taken = has(AddressHeaderFlags::Dadfailed);
                    Some(Address6 { address, tentative, taken })
                }
            })
            .collect())
    }

    fn addresses(&mut self) -> Result<Vec<AddressMessage>> {
        let what = "listing addresses";
        let answers = self
            .request(RouteNetlinkMessage::GetAddress(AddressMessage::default()), NLM_F_DUMP, what)
            .map_err(|source| PlatformError::Network { what, source })?;
        let addresses = answers.into_iter().filter_map(|answer| match answer {
            RouteNetlinkMessage::NewAddress(message) => Some(message),
            _ => None,
        });
        Ok(addresses.collect())
    }

    /// What there is to know of a device besides its addresses.
    pub(super) fn sight(&mut self, name: &str) -> Result<Sight> {
        let what = "looking at a device";
        let answers = self
            .request(RouteNetlinkMessage::GetLink(LinkMessage::default()), NLM_F_DUMP, what)
            .map_err(|source| PlatformError::Network { what, source })?;
        let named = answers.into_iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(message)
                if message.attributes.contains(&LinkAttribute::IfName(name.to_owned())) =>
            {
                Some(message)
            }
            _ => None,
        });
        let mut sight = Sight::default();
        let Some(message) = named else { return Ok(sight) };
        let flags = message.header.flags;
        sight.carrier = flags.contains(LinkFlags::Up).then(|| flags.contains(LinkFlags::LowerUp));
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::Mtu(mtu) => sight.mtu = Some(mtu),
                LinkAttribute::PermAddress(bytes) => {
                    sight.permanent_mac = <[u8; 6]>::try_from(bytes).ok().map(MacAddress);
                }
                _ => {}
            }
        }
        Ok(sight)
    }

    /// Sets a device down.
    pub(super) fn set_down(&mut self, index: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.change_mask = LinkFlags::Up;
        self.change(RouteNetlinkMessage::SetLink(message), 0, "setting a device down")
    }

    /// Sets a device up, and its MTU where one is given.
    pub(super) fn set_link(&mut self, index: u32, up: bool, mtu: Option<u32>) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        if up {
            message.header.flags = LinkFlags::Up;
            message.header.change_mask = LinkFlags::Up;
        }
        message.attributes.extend(mtu.map(LinkAttribute::Mtu));
        self.change(RouteNetlinkMessage::SetLink(message), 0, "setting a device up")
    }

    pub(super) fn add_address(&mut self, index: u32, address: IpNetwork, link: bool) -> Result<()> {
        let message = address_message(index, address, link);
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        self.change(RouteNetlinkMessage::NewAddress(message), flags, "adding an address")
    }

    /// Takes an address away; that it is not there is no failure.
    pub(super) fn remove_address(&mut self, index: u32, address: IpNetwork) -> Result<()> {
        let message = RouteNetlinkMessage::DelAddress(address_message(index, address, false));
        is_fine(self.change(message, 0, "removing an address"), libc::EADDRNOTAVAIL)
    }

    fn change(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        what: &'static str,
    ) -> Result<()> {
        self.request(message, flags | NLM_F_ACK, what)
            .map(drop)
            .map_err(|source| PlatformError::Network { what, source })
    }

    /// Sends one message, and reads answers until the acknowledgement or the end of the dump.
    fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
        _what: &'static str,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence += 1;
        let mut packet = NetlinkMessage::from(message);
        packet.header.flags = NLM_F_REQUEST | flags;
        packet.header.sequence_number = self.sequence;
        packet.finalize();
        let mut bytes = vec![0; packet.buffer_len()];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        let mut answers = Vec::new();
        for _ in 0..MAX_DATAGRAMS {
            let (datagram, _) = self.socket.recv_from_full()?;
            let mut rest = datagram.as_slice();
            while rest.len() >= 16 {
                let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest);
                let length = u32::from_ne_bytes([rest[0], rest[1], rest[2], rest[3]]) as usize;
                if length < 16 || length > rest.len() {
                    break;
                }
                rest = &rest[length.next_multiple_of(4).min(rest.len())..];
                // An answer with something this library does not know is not what is asked for.
                let Ok(answer) = answer else { continue };
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::InnerMessage(message) => answers.push(message),
                    NetlinkPayload::Done(_) => return Ok(answers),
                    NetlinkPayload::Error(error) => {
                        return match error.code {
                            None => Ok(answers),
                            Some(_) => Err(error.to_io()),
                        };
                    }
                    _ => {}
                }
            }
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer does not end"))
    }
}

fn is_fine(result: Result<()>, errno: i32) -> Result<()> {
    match result {
        Err(PlatformError::Network { source, .. }) if source.raw_os_error() == Some(errno) => {
            Ok(())
        }
        other => other,
    }
}

/// On a point-to-point device the address is the peer's.
fn own_address(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

fn ethernet(message: LinkMessage) -> Option<Link> {
    let flags = message.header.flags;
    if message.header.link_layer_type != LinkLayerType::Ether || flags.contains(LinkFlags::Loopback)
    {
        return None;
    }
    let mut name = None;
    let mut mac = None;
    let (kind, bond) = device::made_of(&message.attributes);
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(text) => name = Some(text),
            LinkAttribute::Address(bytes) => mac = <[u8; 6]>::try_from(bytes).ok(),
            _ => {}
        }
    }
    Some(Link {
        name: name?,
        index: message.header.index,
        mac: MacAddress(mac?),
        up: flags.contains(LinkFlags::Up),
        addresses: Vec::new(),
        kind,
        bond,
    })
}

fn address_message(index: u32, address: IpNetwork, link: bool) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(address.ip());
    message.header.prefix_len = address.prefix();
    message.header.index = index;
    if link {
        message.header.scope = AddressScope::Link;
    }
    message.attributes.push(AddressAttribute::Local(address.ip()));
    message.attributes.push(AddressAttribute::Address(address.ip()));
    if let (IpNetwork::V4(network), false) = (address, link)
        && network.prefix() < 31
    {
        message.attributes.push(AddressAttribute::Broadcast(network.broadcast()));
    }
    message
}

fn family(address: IpAddr) -> AddressFamily {
    if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 }
}
