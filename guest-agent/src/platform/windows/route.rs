//! The route to the metadata service, and routes that an image has kept from elsewhere.
//!
//! Routes are made in the active table alone (`CreateIpForwardEntry2`): they go with the next boot,
//! and no image keeps one of ours.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    ptr,
};

use ipnetwork::IpNetwork;
use windows_sys::Win32::{
    Foundation::{ERROR_NOT_FOUND, ERROR_OBJECT_ALREADY_EXISTS},
    NetworkManagement::IpHelper::{
        CreateIpForwardEntry2, DeleteIpForwardEntry2, FreeMibTable, GetIpForwardTable2,
        MIB_IPFORWARD_ROW2, MIB_IPFORWARD_TABLE2,
    },
    Networking::WinSock::{
        ADDRESS_FAMILY, AF_INET, AF_INET6, IN_ADDR, IN_ADDR_0, IN6_ADDR, IN6_ADDR_0,
        MIB_IPPROTO_NETMGMT, SOCKADDR_INET,
    },
};

use super::{registry::Registry, wide::checked};
use crate::{netsh, stale_routes};

/// Where Windows keeps the routes that last: each is the name of a value.
const PERSISTENT: &str = r"SYSTEM\CurrentControlSet\Services\Tcpip\Parameters\PersistentRoutes";

/// Whether a destination is on the link of a device already: by a route of its own.
pub(super) fn is_there(index: u32, to: IpAddr) -> io::Result<bool> {
    let wanted = row(index, to);
    let same = |row: &MIB_IPFORWARD_ROW2| {
        row.InterfaceIndex == index
            && row.DestinationPrefix.PrefixLength == wanted.DestinationPrefix.PrefixLength
            && address(&row.DestinationPrefix.Prefix) == Some(to)
            && address(&row.NextHop).is_some_and(|hop| hop.is_unspecified())
    };
    Ok(table(family(to))?.iter().any(same))
}

/// The routes through routers that an adapter has, default routes excepted.
pub(super) fn through_routers(index: u32, index6: u32) -> io::Result<Vec<netsh::Way>> {
    let mut ways = Vec::new();
    for (family, index) in [(AF_INET, index), (AF_INET6, index6)] {
        if index == 0 {
            continue;
        }
        for row in table(family)?.iter().filter(|row| row.InterfaceIndex == index) {
            let prefix = &row.DestinationPrefix;
            let to = address(&prefix.Prefix)
                .and_then(|to| IpNetwork::new(to, prefix.PrefixLength).ok())
                .filter(|to| to.prefix() > 0);
            let hop = address(&row.NextHop).filter(|hop| !hop.is_unspecified());
            ways.extend(to.zip(hop));
        }
    }
    Ok(ways)
}

/// Adds a route on the link; false where there is one.
pub(super) fn add(index: u32, to: IpAddr) -> io::Result<bool> {
    // SAFETY: a whole row.
    match unsafe { CreateIpForwardEntry2(&row(index, to)) } {
        ERROR_OBJECT_ALREADY_EXISTS => Ok(false),
        status => checked(status).map(|()| true),
    }
}

/// Takes a route on the link away. That it is gone already is as wanted.
pub(super) fn remove(index: u32, to: IpAddr) -> io::Result<()> {
    // SAFETY: a whole row.
    match unsafe { DeleteIpForwardEntry2(&row(index, to)) } {
        ERROR_NOT_FOUND => Ok(()),
        status => checked(status),
    }
}

/// Takes away the routes to link-local services that are kept for ever, and in a live run those in
/// use that came from them. Gives them as they were written.
pub(super) fn clear_stale(registry: &Registry, live: bool) -> io::Result<Vec<String>> {
    let Some(key) = registry.open(PERSISTENT)? else { return Ok(Vec::new()) };
    let mut gone = Vec::new();
    for name in key.names()? {
        let Some(route) = stale_routes::parse(&name) else { continue };
        key.delete_value(&name)?;
        if live {
            remove_through(route.destination, route.gateway)?;
        }
        gone.push(name);
    }
    if !gone.is_empty() {
        key.flush()?;
    }
    Ok(gone)
}

fn remove_through(to: Ipv4Addr, gateway: Ipv4Addr) -> io::Result<()> {
    for row in table(AF_INET)? {
        let same = row.DestinationPrefix.PrefixLength == 32
            && address(&row.DestinationPrefix.Prefix) == Some(to.into())
            && address(&row.NextHop) == Some(gateway.into());
        if same {
            // SAFETY: a row of the system's own.
            match unsafe { DeleteIpForwardEntry2(&row) } {
                ERROR_NOT_FOUND => {}
                status => checked(status)?,
            }
        }
    }
    Ok(())
}

fn family(address: IpAddr) -> ADDRESS_FAMILY {
    if address.is_ipv4() { AF_INET } else { AF_INET6 }
}

fn row(index: u32, to: IpAddr) -> MIB_IPFORWARD_ROW2 {
    // What InitializeIpForwardEntry would fill in: a route without an end.
    let mut row = MIB_IPFORWARD_ROW2 {
        ValidLifetime: u32::MAX,
        PreferredLifetime: u32::MAX,
        Immortal: true,
        InterfaceIndex: index,
        ..MIB_IPFORWARD_ROW2::default()
    };
    row.DestinationPrefix.Prefix = socket_address(to);
    row.DestinationPrefix.PrefixLength = if to.is_ipv4() { 32 } else { 128 };
    let nowhere = if to.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0_u8; 16]) };
    row.NextHop = socket_address(nowhere);
    row.Protocol = MIB_IPPROTO_NETMGMT;
    row.Metric = 0;
    row
}

fn socket_address(address: IpAddr) -> SOCKADDR_INET {
    let mut out = SOCKADDR_INET { si_family: family(address) };
    match address {
        IpAddr::V4(address) => {
            let bits = u32::from_ne_bytes(address.octets());
            out.Ipv4.sin_addr = IN_ADDR { S_un: IN_ADDR_0 { S_addr: bits } };
        }
        IpAddr::V6(address) => {
            out.Ipv6.sin6_addr = IN6_ADDR { u: IN6_ADDR_0 { Byte: address.octets() } };
        }
    }
    out
}

fn address(from: &SOCKADDR_INET) -> Option<IpAddr> {
    // SAFETY: each form of the union begins with the family, and all its bytes are there.
    unsafe {
        match from.si_family {
            AF_INET => Some(IpAddr::from(from.Ipv4.sin_addr.S_un.S_addr.to_ne_bytes())),
            AF_INET6 => Some(IpAddr::from(from.Ipv6.sin6_addr.u.Byte)),
            _ => None,
        }
    }
}

fn table(family: ADDRESS_FAMILY) -> io::Result<Vec<MIB_IPFORWARD_ROW2>> {
    let mut table: *mut MIB_IPFORWARD_TABLE2 = ptr::null_mut();
    // SAFETY: the table goes into a place of its type.
    checked(unsafe { GetIpForwardTable2(family, &mut table) })?;
    // SAFETY: the system says how many rows are there; they are copied before they are freed.
    unsafe {
        let rows = (&raw const (*table).Table).cast::<MIB_IPFORWARD_ROW2>();
        let all = std::slice::from_raw_parts(rows, (*table).NumEntries as usize).to_vec();
        FreeMibTable(table.cast());
        Ok(all)
    }
}
