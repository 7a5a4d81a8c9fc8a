//! Network adapters and their addresses (iphlpapi.h, `GetAdaptersAddresses`).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::windows::io::AsRawSocket,
    ptr,
};

use ipnetwork::IpNetwork;
use mezame_model::MacAddress;
use windows_sys::Win32::{
    Foundation::ERROR_BUFFER_OVERFLOW,
    NetworkManagement::{
        IpHelper::{
            GAA_FLAG_INCLUDE_GATEWAYS, GetAdaptersAddresses, IP_ADAPTER_ADDRESSES_LH,
            IP_ADAPTER_DHCP_ENABLED,
        },
        Ndis::IfOperStatusUp,
    },
    Networking::WinSock::{
        AF_INET, AF_INET6, AF_UNSPEC, IP_UNICAST_IF, IPPROTO_IP, IPPROTO_IPV6, IPV6_UNICAST_IF,
        IpPrefixOriginManual, SOCKADDR_IN, SOCKADDR_IN6, SOCKET, SOCKET_ADDRESS, setsockopt,
    },
};

use super::{
    registry::Registry,
    route,
    wide::{checked, pointed},
};
use crate::{
    facts::{Link, LinkKind},
    netsh,
};

/// The type of Ethernet and of what looks like it (IANA, `ifType`).
const ETHERNET: u32 = 6;
/// Where each family keeps an adapter's resolvers, below its name (Microsoft, "TCP/IP
/// configuration parameters": `NameServer` is set by somebody, `DhcpNameServer` by DHCP).
const RESOLVERS: [&str; 2] = [
    r"SYSTEM\CurrentControlSet\Services\Tcpip\Parameters\Interfaces",
    r"SYSTEM\CurrentControlSet\Services\Tcpip6\Parameters\Interfaces",
];
/// Adapters may be added while they are asked for.
const TRIES: usize = 8;

/// An Ethernet adapter as it is.
#[derive(Debug, Clone)]
pub(super) struct Adapter {
    /// Name, number, address.
    pub(super) link: Link,
    /// The number for IPv6.
    pub(super) index6: u32,
    /// What may be configured.
    pub(super) now: netsh::Now,
}

/// All Ethernet adapters.
pub(super) fn all() -> io::Result<Vec<Adapter>> {
    let mut bytes: u32 = 16 * 1024;
    for _ in 0..TRIES {
        // Eight bytes each: the list must be aligned.
        let mut buffer = vec![0_u64; bytes as usize / 8 + 1];
        bytes = (buffer.len() * 8) as u32;
        let list: *mut IP_ADAPTER_ADDRESSES_LH = buffer.as_mut_ptr().cast();
        // SAFETY: the buffer is as long as is said.
        let status = unsafe {
            GetAdaptersAddresses(
                u32::from(AF_UNSPEC),
                GAA_FLAG_INCLUDE_GATEWAYS,
                ptr::null(),
                list,
                &mut bytes,
            )
        };
        match status {
            ERROR_BUFFER_OVERFLOW => {}
            // ERROR_NO_DATA: there is none.
            232 => return Ok(Vec::new()),
            status => {
                checked(status)?;
                // SAFETY: the call has filled the buffer, which lives until the end of this.
                return Ok(unsafe { read(list) });
            }
        }
    }
    Err(io::ErrorKind::Interrupted.into())
}

/// The adapter of this name.
pub(super) fn named(name: &str) -> io::Result<Adapter> {
    let found = all()?.into_iter().find(|adapter| adapter.link.name == name);
    found.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Has a socket's packets leave through one adapter (Microsoft, "IPPROTO_IP socket options":
/// IP_UNICAST_IF takes its number in network byte order, IPV6_UNICAST_IF in the host's).
pub(in crate::platform) fn bind_to_device(
    socket: &socket2::Socket,
    device: &str,
    is_ipv4: bool,
) -> io::Result<()> {
    let adapter = named(device)?;
    let (level, option, value) = if is_ipv4 {
        (IPPROTO_IP, IP_UNICAST_IF, adapter.link.index.to_be())
    } else {
        (IPPROTO_IPV6, IPV6_UNICAST_IF, adapter.index6)
    };
    let bytes = value.to_ne_bytes();
    // SAFETY: an open socket, and four bytes.
    let status =
        unsafe { setsockopt(socket.as_raw_socket() as SOCKET, level, option, bytes.as_ptr(), 4) };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Walks a list.
///
/// # Safety
/// The pointer is null or leads to a list that the system has written.
unsafe fn read(list: *const IP_ADAPTER_ADDRESSES_LH) -> Vec<Adapter> {
    let mut adapters = Vec::new();
    let mut next = list;
    // SAFETY: each pointer is null or leads to the next entry of the same list.
    while let Some(entry) = unsafe { next.as_ref() } {
        next = entry.Next;
        let physical = entry.PhysicalAddress.get(..entry.PhysicalAddressLength as usize);
        let Some(Ok(mac)) = physical.map(<[u8; 6]>::try_from) else { continue };
        if entry.IfType != ETHERNET {
            continue;
        }
        // SAFETY: the union's second form is always there.
        let index = unsafe { entry.Anonymous1.Anonymous.IfIndex };
        // SAFETY: a list of the system's.
        let (addresses, manual) = unsafe { unicast(entry) };
        let link = Link {
            // SAFETY: the system's own text.
            name: unsafe { pointed(entry.FriendlyName) },
            index: if index == 0 { entry.Ipv6IfIndex } else { index },
            mac: MacAddress(mac),
            up: entry.OperStatus == IfOperStatusUp,
            addresses,
            kind: LinkKind::Card,
            bond: None,
        };
        let now = netsh::Now {
            mtu: entry.Mtu,
            addresses: link.addresses.clone(),
            manual,
            // SAFETY: lists of the system's.
            gateways: unsafe { gateways(entry) },
            routes: route::through_routers(index, entry.Ipv6IfIndex).unwrap_or_default(),
            // SAFETY: as above.
            dns: unsafe { resolvers(entry) },
            // SAFETY: the union's number is always there.
            dhcp: unsafe { entry.Anonymous2.Flags } & IP_ADAPTER_DHCP_ENABLED != 0,
            // SAFETY: the system's own text.
            fixed_dns: unsafe { fixed_resolvers(entry) },
            has_v6: entry.Ipv6IfIndex != 0,
        };
        adapters.push(Adapter { link, index6: entry.Ipv6IfIndex, now });
    }
    adapters
}

/// All addresses, and those that somebody has set.
///
/// # Safety
/// The entry is of a list that the system has written.
unsafe fn unicast(entry: &IP_ADAPTER_ADDRESSES_LH) -> (Vec<IpNetwork>, Vec<IpNetwork>) {
    let (mut addresses, mut manual) = (Vec::new(), Vec::new());
    let mut next = entry.FirstUnicastAddress.cast_const();
    // SAFETY: as above.
    while let Some(address) = unsafe { next.as_ref() } {
        next = address.Next;
        // SAFETY: an address of the system's.
        let ip = unsafe { address_of(&address.Address) };
        let network = ip.and_then(|ip| IpNetwork::new(ip, address.OnLinkPrefixLength).ok());
        addresses.extend(network);
        manual.extend(network.filter(|_| address.PrefixOrigin == IpPrefixOriginManual));
    }
    (addresses, manual)
}

/// Whether the resolvers of each family were set by somebody.
///
/// # Safety
/// As [`unicast`].
unsafe fn fixed_resolvers(entry: &IP_ADAPTER_ADDRESSES_LH) -> [bool; 2] {
    if entry.AdapterName.is_null() {
        return [false; 2];
    }
    // SAFETY: the system's own text, which ends with a zero.
    let name = unsafe { std::ffi::CStr::from_ptr(entry.AdapterName.cast_const().cast()) };
    RESOLVERS.map(|place| {
        let key = Registry::new(true).open(&format!(r"{place}\{}", name.to_string_lossy()));
        let text = key.ok().flatten().and_then(|key| key.text("NameServer").ok().flatten());
        text.is_some_and(|text| !text.trim().is_empty())
    })
}

/// # Safety
/// As [`unicast`].
unsafe fn gateways(entry: &IP_ADAPTER_ADDRESSES_LH) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    let mut next = entry.FirstGatewayAddress.cast_const();
    // SAFETY: as above.
    while let Some(address) = unsafe { next.as_ref() } {
        next = address.Next;
        // SAFETY: an address of the system's.
        addresses.extend(unsafe { address_of(&address.Address) });
    }
    addresses
}

/// # Safety
/// As [`unicast`].
unsafe fn resolvers(entry: &IP_ADAPTER_ADDRESSES_LH) -> Vec<IpAddr> {
    let mut addresses = Vec::new();
    let mut next = entry.FirstDnsServerAddress.cast_const();
    // SAFETY: as above.
    while let Some(address) = unsafe { next.as_ref() } {
        next = address.Next;
        // SAFETY: an address of the system's.
        addresses.extend(unsafe { address_of(&address.Address) });
    }
    addresses
}

/// # Safety
/// The address is one that the system has written.
unsafe fn address_of(address: &SOCKET_ADDRESS) -> Option<IpAddr> {
    // SAFETY: null, or an address with its family first.
    let family = unsafe { address.lpSockaddr.as_ref() }?.sa_family;
    match family {
        AF_INET => {
            // SAFETY: of that family; the system aligns it.
            let v4 = unsafe { &*address.lpSockaddr.cast::<SOCKADDR_IN>() };
            // SAFETY: every form of the union is four bytes.
            let bits = unsafe { v4.sin_addr.S_un.S_addr };
            Some(Ipv4Addr::from(bits.to_ne_bytes()).into())
        }
        AF_INET6 => {
            // SAFETY: of that family.
            let v6 = unsafe { &*address.lpSockaddr.cast::<SOCKADDR_IN6>() };
            // SAFETY: every form of the union is sixteen bytes.
            Some(Ipv6Addr::from(unsafe { v6.sin6_addr.u.Byte }).into())
        }
        _ => None,
    }
}
