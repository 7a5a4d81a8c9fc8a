//! The veth and what is configured on both of its ends, by rtnetlink(7).

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsRawFd, OwnedFd},
};

use futures_util::TryStreamExt;
use mezame_ebpf_loader::{Identity, Identity6};
use mezame_model::MacAddress;
use rtnetlink::{
    Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::{
        link::{InfoData, InfoVeth, LinkAttribute, LinkMessage},
        route::RouteMessage,
    },
};

use super::{End, NamespaceError, NamespaceNames, enter};

/// Kernel switches of the namespace, all of them local to it.
const SWITCHES: &[(&str, &str)] = &[
    // Identities are answered where they came from; the filter would cost a look-up a packet.
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
    ("ipv4/ip_forward", "0"),
    ("ipv4/conf/all/accept_redirects", "0"),
    ("ipv4/conf/all/send_redirects", "0"),
    // What one guest's connections were like must not shape another's that gets its identity.
    ("ipv4/tcp_no_metrics_save", "1"),
    // One hop inside the machine: nothing to probe for and nothing to pace, whatever the host's
    // own connections use. Before the listener is made, since it inherits this.
    ("ipv4/tcp_congestion_control", "reno"),
    ("ipv4/tcp_syncookies", "1"),
    ("ipv4/tcp_max_syn_backlog", "16384"),
    ("ipv4/tcp_fin_timeout", "10"),
    ("core/somaxconn", "4096"),
    ("ipv6/conf/all/disable_ipv6", "0"),
    ("ipv6/conf/default/disable_ipv6", "0"),
    // Nobody in here routes, and nobody is looked for.
    ("ipv6/conf/all/forwarding", "0"),
    ("ipv6/conf/all/accept_ra", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/all/accept_redirects", "0"),
    // A router advertisement names the router that it speaks for as its sender.
    ("ipv6/ip_nonlocal_bind", "1"),
];

/// As much as the widest of the tenants' networks takes: a reply that fits into the guest's is never
/// cut to pieces here, which the data path would drop. How long a guest's segments may be, it says
/// itself (MSS, RFC 9293, section 3.7.1).
const MTU: u32 = 9216;

/// Makes the veth, or finds it whole, and configures both ends.
pub(super) async fn ensure(
    fd: &OwnedFd,
    names: &NamespaceNames,
    services: &[IpAddr],
) -> Result<(End, End), NamespaceError> {
    let outside = connect()?;
    let old = find(&outside, names.veth.as_str()).await?;
    let inside = inside(fd, |handle| async move { find(&handle, names.peer.as_str()).await })?;
    let is_whole = match (&old, &inside) {
        (Some(veth), Some(peer)) => {
            link_of(veth) == Some(peer.header.index) && link_of(peer) == Some(veth.header.index)
        }
        _ => false,
    };
    if !is_whole {
        if let Some(veth) = old {
            delete(&outside, veth.header.index).await?;
        }
        if let Some(peer) = inside {
            self::inside(fd, |handle| async move { delete(&handle, peer.header.index).await })?;
        }
        make(&outside, fd, names).await?;
    }
    let veth = found(&outside, names.veth.as_str()).await?;
    let peer = self::inside(fd, |handle| async move {
        // Before the addresses: the host's own settings, which a namespace may inherit, can turn
        // IPv6 off.
        for (path, value) in SWITCHES {
            // A switch that this kernel lacks is one that it does not need.
            match fs::write(format!("/proc/sys/net/{path}"), value) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(NamespaceError::system("setting a kernel switch", error));
                }
                _ => {}
            }
        }
        configure_inside(&handle, names, services).await
    })?;
    outside
        .link()
        .set(LinkUnspec::new_with_index(veth.ifindex).mtu(MTU).up().build())
        .execute()
        .await
        .map_err(netlink("raising the veth"))?;
    Ok((veth, peer))
}

/// Deletes the veth, both ends of it.
pub(super) async fn remove(names: &NamespaceNames) -> Result<(), NamespaceError> {
    let handle = connect()?;
    match find(&handle, names.veth.as_str()).await? {
        Some(link) => delete(&handle, link.header.index).await,
        None => Ok(()),
    }
}

/// A netlink connection of the calling thread's namespace.
fn connect() -> Result<Handle, NamespaceError> {
    let (connection, handle, _) = rtnetlink::new_connection()
        .map_err(|source| NamespaceError::system("opening a netlink socket", source))?;
    tokio::spawn(connection);
    Ok(handle)
}

/// Runs netlink work inside the namespace, in a thread and a runtime of its own.
fn inside<T: Send, F: Future<Output = Result<T, NamespaceError>>>(
    fd: &OwnedFd,
    work: impl FnOnce(Handle) -> F + Send,
) -> Result<T, NamespaceError> {
    enter(fd, || {
        tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(|source| NamespaceError::system("starting a runtime", source))?
            .block_on(async { work(connect()?).await })
    })?
}

async fn make(handle: &Handle, fd: &OwnedFd, names: &NamespaceNames) -> Result<(), NamespaceError> {
    let mut peer =
        LinkMessageBuilder::<LinkUnspec>::new().name(names.peer.as_str()).arp(false).build();
    peer.attributes.push(LinkAttribute::NetNsFd(fd.as_raw_fd()));
    let veth = LinkVeth::new(names.veth.as_str(), names.peer.as_str())
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
        .arp(false)
        .build();
    handle.link().add(veth).execute().await.map_err(netlink("making the veth"))
}

async fn configure_inside(
    handle: &Handle,
    names: &NamespaceNames,
    services: &[IpAddr],
) -> Result<End, NamespaceError> {
    // Every namespace's loopback device has index 1.
    raise(handle, 1).await?;
    let peer = found(handle, names.peer.as_str()).await?;
    handle
        .link()
        .set(LinkUnspec::new_with_index(peer.ifindex).arp(false).mtu(MTU).up().build())
        .execute()
        .await
        .map_err(netlink("raising the veth inside"))?;
    for service in services {
        handle
            .address()
            .add(peer.ifindex, *service, if service.is_ipv4() { 32 } else { 128 })
            .replace()
            .execute()
            .await
            .map_err(netlink("adding a service address"))?;
    }
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(Identity::BASE, Identity::PREFIX)
        .output_interface(peer.ifindex)
        .scope(rtnetlink::packet_route::route::RouteScope::Link);
    let first = services.iter().find_map(|service| match service {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    });
    let route = match first {
        Some(service) => route.pref_source(service),
        None => route,
    };
    add_route(handle, route.build()).await?;
    if services.iter().any(IpAddr::is_ipv6) {
        let route = RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(Identity6::BASE, Identity6::LENGTH)
            .output_interface(peer.ifindex);
        add_route(handle, route.build()).await?;
    }
    Ok(peer)
}

async fn add_route(handle: &Handle, route: RouteMessage) -> Result<(), NamespaceError> {
    let added = handle.route().add(route).replace().execute().await;
    added.map_err(netlink("adding an identity route"))
}

async fn raise(handle: &Handle, ifindex: u32) -> Result<(), NamespaceError> {
    handle
        .link()
        .set(LinkUnspec::new_with_index(ifindex).up().build())
        .execute()
        .await
        .map_err(netlink("raising a device"))
}

async fn delete(handle: &Handle, ifindex: u32) -> Result<(), NamespaceError> {
    handle.link().del(ifindex).execute().await.map_err(netlink("deleting a device"))
}

/// The device, or nothing if there is none.
async fn find(handle: &Handle, name: &str) -> Result<Option<LinkMessage>, NamespaceError> {
    let mut links = handle.link().get().match_name(name).execute();
    match links.try_next().await {
        Ok(link) => Ok(link),
        Err(rtnetlink::Error::NetlinkError(message))
            if message.raw_code() == -(nix::Error::ENODEV as i32) =>
        {
            Ok(None)
        }
        Err(source) => Err(netlink("looking a device up")(source)),
    }
}

async fn found(handle: &Handle, name: &str) -> Result<End, NamespaceError> {
    let missing = || NamespaceError::Missing { device: name.into() };
    let link = find(handle, name).await?.ok_or_else(missing)?;
    let mac = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Address(bytes) => <[u8; 6]>::try_from(bytes.as_slice()).ok(),
        _ => None,
    });
    Ok(End { ifindex: link.header.index, mac: MacAddress(mac.ok_or_else(missing)?) })
}

/// The other end's index, in its own namespace.
fn link_of(link: &LinkMessage) -> Option<u32> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Link(index) => Some(*index),
        _ => None,
    })
}

fn netlink(what: &'static str) -> impl FnOnce(rtnetlink::Error) -> NamespaceError {
    move |source| match &source {
        rtnetlink::Error::NetlinkError(message)
            if message.raw_code() == -(nix::Error::EPERM as i32) =>
        {
            NamespaceError::NotPermitted { what }
        }
        _ => NamespaceError::Netlink { what, source },
    }
}
