//! The ways by which guests come in: what they address, and the socket in the metadata namespace
//! that it leads to.
//!
//! The one table of services: the data path's entries, the namespace's addresses and the sockets
//! are all derived of it. The sockets are handed over whole to a successor (see `takeover`), so
//! that nothing in their queues is lost. What is said on them is not known here.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use mezame_ebpf_loader::{Protocol, Service};
use mezame_model::service_address::{
    DNS, DNS6, KMS, KMS6, METADATA, METADATA_LINK, METADATA6, NTP, NTP6, TANG, TANG6,
};
use nix::sys::socket::{SockaddrIn, SockaddrIn6, SockaddrStorage, getsockname};
use serde::{Deserialize, Serialize};

use crate::namespace::{Namespace, NamespaceError};

/// A way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Entrance {
    /// Metadata over IPv4.
    Http,
    /// Metadata over IPv6, by either of its addresses.
    Http6,
    /// CloudStack's passwords, over IPv4 alone: its router has no other.
    Password,
    /// DHCPv4.
    Dhcp,
    /// DHCPv6.
    Dhcp6,
    /// Router solicitations.
    Router,
    /// DNS over UDP.
    Dns,
    /// The same over IPv6.
    Dns6,
    /// DNS over TCP.
    DnsStream,
    /// The same over IPv6.
    DnsStream6,
    /// Time.
    Ntp,
    /// The same over IPv6.
    Ntp6,
    /// Licence activation.
    Kms,
    /// The same over IPv6.
    Kms6,
    /// Help with encrypted volumes.
    Tang,
    /// The same over IPv6.
    Tang6,
}

/// What METADATA_LINK leads to: a namespace can't have a link-local address that is every guest's
/// too, and the way back must tell it from METADATA6.
const LINK_TARGET: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0xa9fe, 0xa9fe);
const ALL_ROUTERS: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2));
const ALL_DHCP_SERVERS: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2));

/// DHCPv4's port, RFC 2131, section 4.1.
const DHCP_PORT: u16 = 67;
/// DHCPv6's port, RFC 8415, section 7.2.
const DHCP6_PORT: u16 = 547;
const DNS_PORT: u16 = 53;
const NTP_PORT: u16 = 123;
const KMS_PORT: u16 = 1688;
const HTTP_PORT: u16 = 80;
/// Where guests find tang, so that its URL needs no port.
const TANG_PORT: u16 = 80;
/// What that leads to: the metadata listener of IPv6 has port 80 of every address.
const TANG_TARGET: u16 = 7500;
/// Where CloudStack's clients ask for a password ("Adding Password Management to Templates" in its
/// administration guide).
const PASSWORD_PORT: u16 = 8080;

/// Connections that wait to be accepted; the kernel has no more for a listener by default.
const BACKLOG: i32 = 4096;

impl Entrance {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Http,
        Self::Http6,
        Self::Password,
        Self::Dhcp,
        Self::Dhcp6,
        Self::Router,
        Self::Dns,
        Self::Dns6,
        Self::DnsStream,
        Self::DnsStream6,
        Self::Ntp,
        Self::Ntp6,
        Self::Kms,
        Self::Kms6,
        Self::Tang,
        Self::Tang6,
    ];

    /// What its socket takes.
    pub fn protocol(self) -> Protocol {
        match self {
            Self::Http | Self::Http6 | Self::Password => Protocol::Tcp,
            Self::DnsStream | Self::DnsStream6 => Protocol::Tcp,
            Self::Kms | Self::Kms6 | Self::Tang | Self::Tang6 => Protocol::Tcp,
            Self::Dhcp | Self::Dhcp6 | Self::Dns | Self::Dns6 | Self::Ntp | Self::Ntp6 => {
                Protocol::Udp
            }
            Self::Router => Protocol::Icmp6,
        }
    }

    /// Whether its socket is one of IPv6.
    pub fn is_ipv6(self) -> bool {
        self.services(0).iter().any(|service| service.address.is_ipv6())
    }

    /// The address that its socket has, where the metadata listeners are on this port.
    fn binding(self, http: u16) -> SocketAddr {
        match self {
            // By either of two addresses: nothing but the service table leads here.
            Self::Http6 => (Ipv6Addr::UNSPECIFIED, http).into(),
            _ => self.services(http)[0].target,
        }
    }

    /// Its entries in the data path's service table.
    fn services(self, http: u16) -> Vec<Service> {
        let service = |address: IpAddr, group, port, target: SocketAddr| Service {
            address,
            group,
            protocol: self.protocol(),
            port,
            target,
        };
        let plain = |address: IpAddr, port| {
            vec![service(address, None, port, SocketAddr::new(address, port))]
        };
        let link = |port| SocketAddr::from((LINK_TARGET, port));
        let broadcast = Some(Ipv4Addr::BROADCAST.into());
        match self {
            Self::Http => {
                vec![service(METADATA.into(), None, HTTP_PORT, (METADATA, http).into())]
            }
            Self::Http6 => vec![
                service(METADATA6.into(), None, HTTP_PORT, (METADATA6, http).into()),
                service(METADATA_LINK.into(), None, HTTP_PORT, link(http)),
            ],
            Self::Password => {
                let target = (METADATA, password_target(http)).into();
                vec![service(METADATA.into(), None, PASSWORD_PORT, target)]
            }
            Self::Dhcp => {
                vec![service(METADATA.into(), broadcast, DHCP_PORT, (METADATA, DHCP_PORT).into())]
            }
            Self::Dhcp6 => vec![service(
                METADATA_LINK.into(),
                Some(ALL_DHCP_SERVERS),
                DHCP6_PORT,
                link(DHCP6_PORT),
            )],
            Self::Router => vec![service(METADATA_LINK.into(), Some(ALL_ROUTERS), 0, link(0))],
            Self::Dns | Self::DnsStream => plain(DNS.into(), DNS_PORT),
            Self::Dns6 | Self::DnsStream6 => plain(DNS6.into(), DNS_PORT),
            Self::Ntp => plain(NTP.into(), NTP_PORT),
            Self::Ntp6 => plain(NTP6.into(), NTP_PORT),
            Self::Kms => plain(KMS.into(), KMS_PORT),
            Self::Kms6 => plain(KMS6.into(), KMS_PORT),
            Self::Tang | Self::Tang6 => {
                let address = if self == Self::Tang { TANG.into() } else { TANG6.into() };
                let target = SocketAddr::new(address, tang_target(http));
                vec![service(address, None, TANG_PORT, target)]
            }
        }
    }
}

/// The port in the namespace that passwords are asked for at: the guests' own, unless the metadata
/// listener has it.
fn password_target(http: u16) -> u16 {
    if http == PASSWORD_PORT { PASSWORD_PORT + 1 } else { PASSWORD_PORT }
}

/// The port in the namespace that tang is asked for at, beside the metadata listener's.
fn tang_target(http: u16) -> u16 {
    if http == TANG_TARGET { TANG_TARGET + 1 } else { TANG_TARGET }
}

/// The ways in that there are here: all, or those of IPv4 where the kernel knows no IPv6.
pub fn entrances(ipv6: bool) -> impl Iterator<Item = Entrance> {
    Entrance::ALL.into_iter().filter(move |entrance| ipv6 || !entrance.is_ipv6())
}

/// The data path's service table.
pub fn services(http: u16, ipv6: bool) -> Vec<Service> {
    entrances(ipv6).flat_map(|entrance| entrance.services(http)).collect()
}

/// The addresses that the namespace must own, each once.
pub fn addresses(ipv6: bool) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for service in services(HTTP_PORT, ipv6) {
        if !addresses.contains(&service.target.ip()) {
            addresses.push(service.target.ip());
        }
    }
    addresses
}

/// The sockets.
#[derive(Debug)]
pub struct Entrances(BTreeMap<Entrance, OwnedFd>);

impl Entrances {
    /// With those of a predecessor. Its names that are not known here are left out, and what it
    /// did not have is [opened](Self::open_missing) later.
    pub fn handed_over(names: &[String], sockets: Vec<OwnedFd>) -> Self {
        let named = names.iter().zip(sockets).filter_map(|(name, socket)| {
            let entrance = Entrance::ALL.into_iter().find(|entrance| entrance.name() == *name)?;
            Some((entrance, socket))
        });
        Self(named.collect())
    }

    /// None yet.
    pub fn none() -> Self {
        Self(BTreeMap::new())
    }

    /// Opens what is missing, or was handed over with another port than the one that is set now.
    /// Nobody else can have these addresses from then on; connections are refused until
    /// [`Entrances::listen`].
    pub fn open_missing(&mut self, namespace: &Namespace, http: u16) -> Result<(), NamespaceError> {
        self.0.retain(|entrance, socket| {
            entrance.protocol() == Protocol::Icmp6
                || port_of(socket) == Some(entrance.binding(http).port())
        });
        for entrance in entrances(namespace.has_ipv6()) {
            if let Entry::Vacant(missing) = self.0.entry(entrance) {
                missing.insert(namespace.bind(entrance.protocol(), entrance.binding(http))?);
            }
        }
        Ok(())
    }

    /// Lets connections in. Listening already is fine.
    pub fn listen(&self) -> Result<(), NamespaceError> {
        for (entrance, socket) in &self.0 {
            if entrance.protocol() == Protocol::Tcp {
                crate::namespace::listen(socket, BACKLOG)?;
            }
        }
        Ok(())
    }

    /// What a successor is handed: names, and the sockets in the same order.
    pub fn to_hand_over(&self) -> (Vec<String>, Vec<BorrowedFd<'_>>) {
        self.0.iter().map(|(entrance, socket)| (entrance.name(), socket.as_fd())).unzip()
    }

    /// The listeners among these that there are.
    pub fn listeners(&self, wanted: &[Entrance]) -> std::io::Result<Vec<TcpListener>> {
        self.clones(wanted)
    }

    /// The datagram sockets among these that there are.
    pub fn datagrams(&self, wanted: &[Entrance]) -> std::io::Result<Vec<UdpSocket>> {
        self.clones(wanted)
    }

    /// A socket of its own descriptor, if there is one.
    pub fn socket(&self, entrance: Entrance) -> std::io::Result<Option<OwnedFd>> {
        self.0.get(&entrance).map(OwnedFd::try_clone).transpose()
    }

    fn clones<T: From<OwnedFd>>(&self, wanted: &[Entrance]) -> std::io::Result<Vec<T>> {
        let found = wanted.iter().filter_map(|entrance| self.0.get(entrance));
        found.map(|socket| Ok(T::from(socket.try_clone()?))).collect()
    }
}

/// The port that a socket is bound to.
fn port_of(socket: &OwnedFd) -> Option<u16> {
    let address = getsockname::<SockaddrStorage>(socket.as_raw_fd()).ok()?;
    let v4 = address.as_sockaddr_in().map(SockaddrIn::port);
    v4.or_else(|| address.as_sockaddr_in6().map(SockaddrIn6::port))
}

impl Entrance {
    /// The name that it is handed over by.
    fn name(self) -> String {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::String(name)) => name,
            _ => unreachable!("an entrance is written as its name"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_ways_in_share_a_socket_or_what_guests_address() {
        for http in [80, 8080, 8081, 7500] {
            let all = services(http, true);
            for (n, one) in all.iter().enumerate() {
                for other in &all[..n] {
                    let of = |service: &Service| (service.address, service.protocol, service.port);
                    assert_ne!(of(one), of(other));
                    assert_ne!((one.target, one.protocol), (other.target, other.protocol));
                }
            }
        }
    }

    #[test]
    fn without_ipv6_there_are_the_ways_of_ipv4_and_all_of_them() {
        assert!(services(80, false).iter().all(|service| service.address.is_ipv4()));
        let kept: Vec<_> = entrances(false).collect();
        assert_eq!(kept.len(), 8);
        assert!(addresses(false).iter().all(IpAddr::is_ipv4));
    }

    #[test]
    fn every_service_address_is_one_that_no_tenant_can_have() {
        for service in services(80, true) {
            let all = mezame_model::service_address::ALL;
            assert!(all.contains(&service.address), "{}", service.address);
        }
    }

    #[test]
    fn the_port_of_a_socket_is_read_in_both_families() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let socket = UdpSocket::bind(address).unwrap();
            let port = socket.local_addr().unwrap().port();
            assert_eq!(port_of(&OwnedFd::from(socket)), Some(port));
        }
    }

    #[test]
    fn sockets_of_a_predecessor_are_known_by_their_names_and_unknown_ones_left_out() {
        let socket = || OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
        let names = ["dns6".to_owned(), "of-a-later-version".to_owned(), "http".to_owned()];
        let taken = Entrances::handed_over(&names, vec![socket(), socket(), socket()]);
        assert_eq!(taken.to_hand_over().0, ["http", "dns6"]);
    }
}
