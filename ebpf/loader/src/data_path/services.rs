//! Writing the service table.

use std::net::{Ipv4Addr, SocketAddrV4};

use mezame_ebpf_common::{Endpoint, MAX_SERVICES, Settings, address_bit, wire};

use crate::{
    Protocol, Service, Uplink,
    maps::{MapFault, Maps, Table},
};

/// Why a service table can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    /// Two services at one address and port.
    #[error("two services are at {address}:{port}")]
    Twice {
        /// The address.
        address: Ipv4Addr,
        /// The port.
        port: u16,
    },
    /// The way back could not tell them apart.
    #[error("two services have the target {0}")]
    SameTarget(SocketAddrV4),
    /// Guests could not use it.
    #[error("{0} can't be a service address")]
    Address(Ipv4Addr),
    /// More than the map takes.
    #[error("{0} services are more than {MAX_SERVICES}")]
    TooMany(usize),
}

/// Pairs of what guests address and what listens.
pub(super) struct ServiceTable(Vec<(Endpoint, Endpoint)>);

/// Checks a table.
pub(super) fn check(services: &[Service]) -> Result<ServiceTable, ServiceError> {
    if services.len() > MAX_SERVICES {
        return Err(ServiceError::TooMany(services.len()));
    }
    let mut pairs: Vec<(Endpoint, Endpoint)> = Vec::new();
    for service in services {
        let Service { address, protocol, port, target } = *service;
        if address.is_unspecified()
            || address.is_loopback()
            || address.is_multicast()
            || address.is_broadcast()
        {
            return Err(ServiceError::Address(address));
        }
        let from = endpoint(address, port, protocol);
        let to = endpoint(*target.ip(), target.port(), protocol);
        if pairs.iter().any(|pair| pair.0 == from) {
            return Err(ServiceError::Twice { address, port });
        }
        if pairs.iter().any(|pair| pair.1 == to) {
            return Err(ServiceError::SameTarget(target));
        }
        pairs.push((from, to));
    }
    Ok(ServiceTable(pairs))
}

fn endpoint(address: Ipv4Addr, port: u16, protocol: Protocol) -> Endpoint {
    let protocol = protocol.number();
    Endpoint { address: wire(address), port: port.to_be(), protocol, reserved: 0 }
}

/// Makes the maps say what the table says: first what is new, then the settings, then without
/// what is old, so that no service that stays is missed for a moment.
pub(super) fn write(
    maps: &mut Maps,
    table: &ServiceTable,
    uplink: &Uplink,
    program: [u8; 32],
) -> Result<(), MapFault> {
    let pairs = &table.0;
    for (service, target) in pairs {
        maps.targets.set(*target, *service)?;
        maps.services.set(*service, *target)?;
        maps.addresses.set(service.address, 1)?;
    }
    let settings = Settings {
        address_bits: pairs.iter().fold(0, |bits, pair| bits | address_bit(pair.0.address)),
        uplink: uplink.host_ifindex,
        host_mac: uplink.host_mac,
        peer_mac: uplink.peer_mac,
        program,
    };
    // Frames are reading it: not written where it is the same.
    if maps.settings.get()? != settings {
        maps.settings.set(settings)?;
    }
    keep(&mut maps.addresses, |address| pairs.iter().any(|pair| pair.0.address == address))?;
    keep(&mut maps.services, |service| pairs.iter().any(|pair| pair.0 == service))?;
    keep(&mut maps.targets, |target| pairs.iter().any(|pair| pair.1 == target))
}

fn keep<K, V>(table: &mut Table<K, V>, wanted: impl Fn(K) -> bool) -> Result<(), MapFault>
where
    K: mezame_ebpf_common::Plain,
    V: mezame_ebpf_common::Plain,
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
        let error = check(&[one, one]).err().unwrap();
        assert!(matches!(error, ServiceError::Twice { port: 80, .. }));
        let udp = Service { protocol: Protocol::Udp, ..one };
        assert_eq!(check(&[one, udp]).unwrap().0.len(), 2);
    }

    #[test]
    fn an_address_that_guests_can_not_use_is_no_service_address() {
        for address in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"] {
            assert!(check(&[service(address, 80, "169.254.169.254:80")]).is_err(), "{address}");
        }
    }
}
