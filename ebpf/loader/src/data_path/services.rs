//! Writing the service table.

use std::net::{IpAddr, SocketAddr};

use mezame_ebpf_common::{
    Endpoint, Endpoint6, MAX_SERVICES, Plain, Settings, address_bit, address_bit6, wire, wire6,
};

use crate::{
    Protocol, Service, Uplink,
    maps::{MapFault, Maps, Table},
};

/// Why a service table can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// Two services at one address and port.
    #[error("two services are at {0}")]
    Twice(SocketAddr),
    /// The way back could not tell them apart.
    #[error("two services have the target {0}")]
    SameTarget(SocketAddr),
    /// Guests could not use it.
    #[error("{0} can't be a service address")]
    Address(IpAddr),
    /// Nobody but one host would hear it.
    #[error("{0} is no broadcast or multicast address")]
    Group(IpAddr),
    /// Address, group and target are not of one family.
    #[error("the service at {0} has a group or a target of the other family")]
    Family(SocketAddr),
    /// Router solicitations are IPv6's.
    #[error("the service at {0} can't be ICMPv6's: that is IPv6's, and has no port")]
    Icmp(SocketAddr),
    /// More than the map takes.
    #[error("{0} services are more than {MAX_SERVICES}")]
    TooMany(usize),
}

/// A checked table, by family.
#[derive(Debug, Default)]
pub(super) struct ServiceTable {
    v4: Family<Endpoint>,
    v6: Family<Endpoint6>,
}

/// What one family's maps hold.
#[derive(Debug)]
struct Family<E> {
    /// What guests address, and what listens; first by the services' own addresses.
    services: Vec<(E, E)>,
    /// What listens, and what it answers as.
    targets: Vec<(E, E)>,
}

impl<E> Default for Family<E> {
    fn default() -> Self {
        Self { services: Vec::new(), targets: Vec::new() }
    }
}

impl<E: Copy + PartialEq> Family<E> {
    fn add(
        &mut self,
        service: &Service,
        ends: (E, E),
        group: Option<E>,
    ) -> Result<(), ServiceError> {
        let (from, to) = ends;
        let address = SocketAddr::new(service.address, service.port);
        if self.targets.iter().any(|pair| pair.0 == to) {
            return Err(ServiceError::SameTarget(service.target));
        }
        for from in [Some(from), group].into_iter().flatten() {
            if self.services.iter().any(|pair| pair.0 == from) {
                return Err(ServiceError::Twice(address));
            }
            self.services.push((from, to));
        }
        self.targets.push((to, from));
        Ok(())
    }
}

/// Checks a table.
pub(super) fn check(services: &[Service]) -> Result<ServiceTable, ServiceError> {
    // Each may have a group beside its address.
    if services.len() > MAX_SERVICES / 2 {
        return Err(ServiceError::TooMany(services.len()));
    }
    let mut table = ServiceTable::default();
    for service in services {
        let Service { address, group, protocol, port, target } = *service;
        let at = SocketAddr::new(address, port);
        if address.is_unspecified() || address.is_loopback() || is_group(address) {
            return Err(ServiceError::Address(address));
        }
        if let Some(group) = group.filter(|group| !is_group(*group)) {
            return Err(ServiceError::Group(group));
        }
        if protocol == Protocol::Icmp6 && (address.is_ipv4() || port != 0) {
            return Err(ServiceError::Icmp(at));
        }
        match (address, group, target.ip()) {
            (IpAddr::V4(from), None | Some(IpAddr::V4(_)), IpAddr::V4(to)) => {
                let make = |address, port| endpoint(wire(address), port, protocol);
                let group = group.and_then(|group| match group {
                    IpAddr::V4(group) => Some(make(group, port)),
                    IpAddr::V6(_) => None,
                });
                table.v4.add(service, (make(from, port), make(to, target.port())), group)?;
            }
            (IpAddr::V6(from), None | Some(IpAddr::V6(_)), IpAddr::V6(to)) => {
                let make = |address, port| endpoint6(wire6(address), port, protocol);
                let group = group.and_then(|group| match group {
                    IpAddr::V6(group) => Some(make(group, port)),
                    IpAddr::V4(_) => None,
                });
                table.v6.add(service, (make(from, port), make(to, target.port())), group)?;
            }
            _ => return Err(ServiceError::Family(at)),
        }
    }
    Ok(table)
}

fn is_group(address: IpAddr) -> bool {
    address.is_multicast() || matches!(address, IpAddr::V4(v4) if v4.is_broadcast())
}

fn endpoint(address: u32, port: u16, protocol: Protocol) -> Endpoint {
    Endpoint { address, port: port.to_be(), protocol: protocol.number(), reserved: 0 }
}

fn endpoint6(address: [u32; 4], port: u16, protocol: Protocol) -> Endpoint6 {
    Endpoint6 { address, port: port.to_be(), protocol: protocol.number(), reserved: 0 }
}

/// Makes the maps say what the table says: first what is new, then the settings, then without
/// what is old, so that no service that stays is missed for a moment.
pub(super) fn write(
    maps: &mut Maps,
    table: &ServiceTable,
    uplink: &Uplink,
    program: [u8; 32],
) -> Result<(), MapFault> {
    let addresses: Vec<u32> = table.v4.targets.iter().map(|pair| pair.1.address).collect();
    let addresses6: Vec<[u32; 4]> = table.v6.targets.iter().map(|pair| pair.1.address).collect();
    put(&mut maps.targets, &table.v4.targets)?;
    put(&mut maps.services, &table.v4.services)?;
    put(&mut maps.targets6, &table.v6.targets)?;
    put(&mut maps.services6, &table.v6.services)?;
    for address in &addresses {
        maps.addresses.set(*address, 1)?;
    }
    for address in &addresses6 {
        maps.addresses6.set(*address, 1)?;
    }
    let settings = Settings {
        address_bits: addresses.iter().fold(0, |bits, address| bits | address_bit(*address)),
        address_bits6: addresses6.iter().fold(0, |bits, address| bits | address_bit6(*address)),
        uplink: uplink.host_ifindex,
        host_mac: uplink.host_mac,
        peer_mac: uplink.peer_mac,
        program,
    };
    // Frames are reading it: not written where it is the same.
    if maps.settings.get()? != settings {
        maps.settings.set(settings)?;
    }
    keep(&mut maps.addresses, |address| addresses.contains(&address))?;
    keep(&mut maps.addresses6, |address| addresses6.contains(&address))?;
    keep(&mut maps.services, |service| table.v4.services.iter().any(|pair| pair.0 == service))?;
    keep(&mut maps.services6, |service| table.v6.services.iter().any(|pair| pair.0 == service))?;
    keep(&mut maps.targets, |target| table.v4.targets.iter().any(|pair| pair.0 == target))?;
    keep(&mut maps.targets6, |target| table.v6.targets.iter().any(|pair| pair.0 == target))
}

fn put<E: Plain>(table: &mut Table<E, E>, pairs: &[(E, E)]) -> Result<(), MapFault> {
    pairs.iter().try_for_each(|(key, value)| table.set(*key, *value))
}

fn keep<K, V>(table: &mut Table<K, V>, wanted: impl Fn(K) -> bool) -> Result<(), MapFault>
where
    K: Plain,
    V: Plain,
{
    for key in table.keys()? {
        if !wanted(key) {
            table.remove(key)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(address: &str, port: u16, target: &str) -> Service {
        Service {
            address: address.parse().unwrap(),
            group: None,
            protocol: Protocol::Tcp,
            port,
            target: target.parse().unwrap(),
        }
    }

    #[test]
    fn services_that_the_way_back_could_not_tell_apart_are_refused() {
        let one = service("169.254.169.254", 80, "169.254.169.254:80");
        let other = service("169.254.170.2", 80, "169.254.169.254:80");
        let error = check(&[one, other]).err().unwrap();
        assert_eq!(error, ServiceError::SameTarget("169.254.169.254:80".parse().unwrap()));
        let other = service("169.254.169.254", 80, "169.254.169.254:81");
        assert!(matches!(check(&[one, other]), Err(ServiceError::Twice(_))));
        let udp = Service { protocol: Protocol::Udp, ..one };
        assert_eq!(check(&[one, udp]).unwrap().v4.services.len(), 2);
        let v6 = service("fd00:ec2::254", 80, "[fd00:ec2::254]:80");
        let both = check(&[one, v6]).unwrap();
        assert_eq!((both.v4.targets.len(), both.v6.targets.len()), (1, 1));
    }

    #[test]
    fn a_group_leads_to_the_target_that_answers_by_the_services_own_address() {
        let group = Some("255.255.255.255".parse().unwrap());
        let dhcp = Service {
            group,
            protocol: Protocol::Udp,
            ..service("169.254.169.254", 67, "169.254.169.254:67")
        };
        let table = check(&[dhcp]).unwrap().v4;
        assert_eq!(
            table.services.iter().map(|pair| pair.0.address).collect::<Vec<_>>(),
            [wire([169, 254, 169, 254].into()), u32::MAX]
        );
        assert_eq!(table.targets.len(), 1);
        assert_eq!(table.targets[0].1.address, wire([169, 254, 169, 254].into()));
        let wrong = Service { group: Some("10.0.0.1".parse().unwrap()), ..dhcp };
        assert!(matches!(check(&[wrong]), Err(ServiceError::Group(_))));
        let wrong = Service { group: Some("ff02::1:2".parse().unwrap()), ..dhcp };
        assert!(matches!(check(&[wrong]), Err(ServiceError::Family(_))));
    }

    #[test]
    fn an_address_that_guests_can_not_use_is_no_service_address() {
        for address in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"] {
            assert!(check(&[service(address, 80, "169.254.169.254:80")]).is_err(), "{address}");
        }
        for address in ["::", "::1", "ff02::1"] {
            assert!(check(&[service(address, 80, "[fd00:ec2::254]:80")]).is_err(), "{address}");
        }
        let icmp = Service { protocol: Protocol::Icmp6, ..service("fe80::1", 80, "[fd00::1]:0") };
        assert!(matches!(check(&[icmp]), Err(ServiceError::Icmp(_))));
    }
}
