//! Which of the entrances' sockets each part of the service answers on.

use std::net::TcpListener;

use mezame_protocol::Gate;

use crate::{
    entrances::{Entrance, Entrances},
    link_local::LinkLocalSockets,
};

/// The metadata service's listeners, and by which of its ports their connections come.
pub(super) fn guest_listeners(entrances: &Entrances) -> std::io::Result<Vec<(Gate, TcpListener)>> {
    let metadata = entrances.listeners(&[Entrance::Http, Entrance::Http6])?;
    let password = entrances.listeners(&[Entrance::Password])?;
    let metadata = metadata.into_iter().map(|listener| (Gate::Metadata, listener));
    Ok(metadata.chain(password.into_iter().map(|listener| (Gate::Password, listener))).collect())
}

/// The sockets of the services beside the metadata service.
pub(super) fn link_local_sockets(
    entrances: &Entrances,
    ifindex: u32,
) -> std::io::Result<LinkLocalSockets> {
    Ok(LinkLocalSockets {
        dhcp: entrances.datagrams(&[Entrance::Dhcp])?,
        dhcp6: entrances.datagrams(&[Entrance::Dhcp6])?,
        router: entrances.socket(Entrance::Router)?.map(|socket| (socket, ifindex)),
        dns: entrances.datagrams(&[Entrance::Dns, Entrance::Dns6])?,
        dns_streams: entrances.listeners(&[Entrance::DnsStream, Entrance::DnsStream6])?,
        ntp: entrances.datagrams(&[Entrance::Ntp, Entrance::Ntp6])?,
        kms: entrances.listeners(&[Entrance::Kms, Entrance::Kms6])?,
        tang: entrances.listeners(&[Entrance::Tang, Entrance::Tang6])?,
    })
}
