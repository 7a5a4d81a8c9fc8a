//! What a port's guest is told besides its address: the values of options, out of the record.

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::{IpNetwork, Ipv4Network};
use mezame_model::{
    Boot, GuestPort, LinkLocal, Subnet,
    service_address::{DNS, KMS, METADATA, NTP, TANG},
};

use super::{Ask, option};
use crate::told;

/// What a client gets that names nothing: everything. Of the routes for Windows it gets the same
/// under their proper number.
pub(super) const ALL: [u8; 11] = [
    option::CLASSLESS_ROUTES,
    option::ROUTER,
    option::RESOLVERS,
    option::HOST_NAME,
    option::DOMAIN,
    option::MTU,
    option::BROADCAST,
    option::TIME_SERVERS,
    option::BOOT_SERVER,
    option::BOOT_FILE,
    option::SEARCH,
];

/// What a BOOTP client gets, which has little room and knows none of the newer ones (RFC 1534,
/// section 2).
pub(super) const OF_BOOTP: [u8; 5] =
    [option::ROUTER, option::RESOLVERS, option::HOST_NAME, option::DOMAIN, option::BROADCAST];

/// How UEFI asks for what it boots by HTTP (UEFI specification, section 24.7).
const HTTP_CLIENT: &[u8] = b"HTTPClient";

/// The port's record, as far as DHCPv4 tells it.
#[derive(Debug)]
pub(super) struct Parameters<'a> {
    ask: &'a Ask<'a>,
    /// The port's address and its subnet's mask; a host's own for one that is in no subnet, and the
    /// link-local one for a port without any.
    pub(super) own: Ipv4Network,
    subnet: Option<&'a Subnet>,
    /// The default router; of the guest's first port alone.
    router: Option<Ipv4Addr>,
    /// Whether the client boots by HTTP.
    is_http: bool,
}

impl<'a> Parameters<'a> {
    /// What the client that names this class is told.
    pub(super) fn of(ask: &'a Ask<'a>, vendor_class: Option<&[u8]>) -> Self {
        let of_record = ask.port.addresses().find_map(|address| match address {
            IpNetwork::V4(address) => Some(address),
            IpNetwork::V6(_) => None,
        });
        let own = of_record.unwrap_or_else(|| LinkLocal::of(&ask.port.port.id).into());
        let is_primary = ask.port.port.id == ask.guest.primary().port.id;
        let router = router(ask.port).filter(|_| is_primary);
        let subnet = ask.port.network.subnet_of(IpAddr::V4(own.ip()));
        let is_http = vendor_class.is_some_and(|class| class.starts_with(HTTP_CLIENT));
        Self { ask, own, subnet, router, is_http }
    }

    /// An option's value; none where there is nothing to be told.
    pub(super) fn value(&self, code: u8) -> Option<Vec<u8>> {
        let network = &self.ask.port.network;
        let value = match code {
            option::ROUTER => octets(self.router),
            option::RESOLVERS => octets(self.reached(told::resolvers_v4(network))),
            option::HOST_NAME => self.ask.guest.instance.hostname.as_bytes().to_vec(),
            option::DOMAIN => network.domain.as_ref()?.as_bytes().to_vec(),
            option::MTU => network.mtu.to_be_bytes().to_vec(),
            // A network of two addresses has none for all (RFC 3021).
            option::BROADCAST if self.own.prefix() > 30 => return None,
            option::BROADCAST => octets([self.own.broadcast()]),
            option::TIME_SERVERS => octets(self.reached(told::time_servers_v4(network))),
            option::BOOT_SERVER => self.boot_server()?.to_string().into_bytes(),
            option::BOOT_FILE => self.boot_file()?.as_bytes().to_vec(),
            option::SEARCH => network.domain.as_deref().and_then(told::labels)?,
            option::CLASSLESS_ROUTES | option::CLASSLESS_ROUTES_OF_WINDOWS => self.routes(),
            _ => return None,
        };
        // No option of these may be empty.
        (!value.is_empty()).then_some(value)
    }

    /// Those of these servers that the address leads to: a link-local one to nothing but the link
    /// (RFC 3927, section 2.7).
    fn reached(&self, servers: Vec<Ipv4Addr>) -> impl Iterator<Item = Ipv4Addr> {
        let is_link_local = self.own.ip().is_link_local();
        servers.into_iter().filter(move |it| !is_link_local || it.is_link_local())
    }

    /// What a client that boots by HTTP must find, asked for or not: that the offer is for it.
    pub(super) fn http_boot(&self) -> Option<[(u8, &[u8]); 2]> {
        let url = self.boot_file().filter(|_| self.is_http)?;
        Some([(option::VENDOR_CLASS, HTTP_CLIENT), (option::BOOT_FILE, url.as_bytes())])
    }

    /// The server that the file is fetched from by TFTP.
    pub(super) fn boot_server(&self) -> Option<Ipv4Addr> {
        match self.boot()?.server? {
            IpAddr::V4(server) if !self.is_http => Some(server),
            _ => None,
        }
    }

    /// The file for the header's own field, which ends with a zero.
    pub(super) fn header_file(&self) -> Option<&str> {
        self.boot_file().filter(|file| !self.is_http && file.len() < 128)
    }

    fn boot_file(&self) -> Option<&str> {
        let boot = self.boot()?;
        if self.is_http { boot.url.as_deref() } else { boot.file.as_deref() }
    }

    fn boot(&self) -> Option<&Boot> {
        self.ask.port.port.boot.as_deref()
    }

    /// Classless routes (RFC 3442): each a prefix length, as many bytes of the prefix as that needs,
    /// and the router; 0.0.0.0 as router is none, for what is on the link.
    ///
    /// Clients that take them pass over the router option, so the default route is among them.
    fn routes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut add = |destination: Ipv4Network, router: Ipv4Addr| {
            let needed = usize::from(destination.prefix()).div_ceil(8);
            out.push(destination.prefix());
            out.extend_from_slice(&destination.network().octets()[..needed]);
            out.extend_from_slice(&router.octets());
        };
        // Only where there is one: a client may have room for so many routes and no more.
        let tang = (!self.ask.port.network.forward.tang.is_empty()).then_some(TANG);
        for address in [METADATA, DNS, NTP, KMS].into_iter().chain(tang) {
            add(Ipv4Network::from(address), Ipv4Addr::UNSPECIFIED);
        }
        for route in self.subnet.map_or(&[][..], |subnet| &subnet.routes) {
            if let (IpNetwork::V4(destination), IpAddr::V4(via)) = (route.destination, route.via) {
                add(destination, via);
            }
        }
        if let Some(router) = self.router {
            // The address may be in no subnet, or in another than the router.
            if !self.own.contains(router) {
                add(Ipv4Network::from(router), Ipv4Addr::UNSPECIFIED);
            }
            let everywhere = Ipv4Network::new_checked(Ipv4Addr::UNSPECIFIED, 0);
            everywhere.into_iter().for_each(|everywhere| add(everywhere, router));
        }
        out
    }
}

fn router(port: &GuestPort) -> Option<Ipv4Addr> {
    port.gateways().find_map(|gateway| match gateway {
        IpAddr::V4(gateway) => Some(gateway),
        IpAddr::V6(_) => None,
    })
}

fn octets(addresses: impl IntoIterator<Item = Ipv4Addr>) -> Vec<u8> {
    addresses.into_iter().flat_map(|address| address.octets()).collect()
}
