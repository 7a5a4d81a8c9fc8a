//! What guests are told, read back byte by byte.

use mezame_model::Forward;
use proptest::prelude::*;

use super::*;
use crate::fixture;

/// The options of a message, each with its type and what follows its length.
fn options(advertisement: &Advertisement) -> Vec<(u8, Vec<u8>)> {
    let mut rest = &advertisement.bytes[16..];
    let mut found = Vec::new();
    while let [kind, length, ..] = rest {
        let (option, after) = rest.split_at(usize::from(*length) * 8);
        found.push((*kind, option[2..].to_vec()));
        rest = after;
    }
    assert!(rest.is_empty());
    found
}

fn of(kind: u8, advertisement: &Advertisement) -> Vec<Vec<u8>> {
    options(advertisement).into_iter().filter(|it| it.0 == kind).map(|it| it.1).collect()
}

fn told(guest: &Guest) -> Advertisement {
    advertise(guest, guest.primary()).unwrap()
}

#[test]
fn a_link_local_router_is_announced_from_its_own_address_with_its_routes() {
    let guest = fixture::guest();
    let told = told(&guest);
    assert_eq!(told.source, "fe80::1".parse::<Ipv6Addr>().unwrap());
    assert!(told.told.is_router);
    let expected = [
        // Router advertisement, hop limit 64, M and O, 9000 seconds.
        &[134, 0, 0, 0, 64, 0xc0, 0x23, 0x28, 0, 0, 0, 0, 0, 0, 0, 0][..],
        // MTU 1450.
        &[5, 1, 0, 0, 0, 0, 0x05, 0xaa],
        // fd00:ec2::/64, where the services are: valid 30 days, preferred 7.
        &[3, 4, 64, 0x80, 0, 0x27, 0x8d, 0, 0, 0x09, 0x3a, 0x80, 0, 0, 0, 0],
        &[0xfd, 0, 0x0e, 0xc2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        // 2001:db8:1::/64, on the link, not autonomous, likewise.
        &[3, 4, 64, 0x80, 0, 0x27, 0x8d, 0, 0, 0x09, 0x3a, 0x80, 0, 0, 0, 0],
        &[0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        // Resolver 2001:db8:1::2, for 9000 seconds.
        &[25, 3, 0, 0, 0, 0, 0x23, 0x28],
        &[0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
        // Search acme.example, likewise.
        &[31, 3, 0, 0, 0, 0, 0x23, 0x28],
        b"\x04acme\x07example\x00\x00\x00",
        // 2001:db8:9::/48 for 9000 seconds; the other route is by another router.
        &[24, 2, 48, 0, 0, 0, 0x23, 0x28, 0x20, 0x01, 0x0d, 0xb8, 0, 9, 0, 0],
    ];
    assert_eq!(told.bytes, expected.concat());
}

#[test]
fn a_router_with_another_address_is_not_announced_and_the_rest_is() {
    let guest = fixture::with(|_, network| {
        network.subnets[1].gateway = Some("2001:db8:1::1".parse().unwrap());
    });
    let told = told(&guest);
    assert_eq!((told.source, told.told.is_router), (METADATA_LINK, false));
    assert_eq!(told.bytes[6..8], [0, 0]);
    assert_eq!(of(3, &told).len(), 2);
    assert!(of(24, &told).is_empty());
}

#[test]
fn a_guest_that_makes_its_own_address_is_told_the_networks_router() {
    let router = |mode| {
        let guest = fixture::with(|port, network| {
            port.addresses.retain(IpAddr::is_ipv4);
            network.dhcp.ipv6 = mode;
        });
        told(&guest).source
    };
    assert_eq!(router(Ipv6Mode::Stateless), "fe80::1".parse::<Ipv6Addr>().unwrap());
    assert_eq!(router(Ipv6Mode::Managed), METADATA_LINK);
}

#[test]
fn the_services_are_on_the_link_of_every_guest() {
    let told = told(&fixture::guest());
    let services = &of(3, &told)[0];
    assert_eq!(services[..2], [64, 0x80]);
    assert_eq!(services[14..22], [0xfd, 0, 0x0e, 0xc2, 0, 0, 0, 0]);
}

#[test]
fn ports_after_the_first_get_no_default_router() {
    let mut guest = fixture::guest();
    let first = guest.ports[0].clone();
    guest.ports.swap(0, 1);
    let told = advertise(&guest, &first).unwrap();
    // The router's routes still hold, so it is the router that must be heard to tell them.
    assert_eq!((told.source, &told.bytes[6..8]), ("fe80::1".parse().unwrap(), &[0, 0][..]));
    assert_eq!(of(24, &told).len(), 1);
}

#[test]
fn each_mode_has_its_flags() {
    for (mode, flags, prefix) in [
        (Ipv6Mode::Managed, 0xc0, 0x80),
        (Ipv6Mode::Other, 0x40, 0xc0),
        (Ipv6Mode::Stateless, 0, 0xc0),
    ] {
        let guest = fixture::with(|_, network| network.dhcp.ipv6 = mode);
        let told = told(&guest);
        assert_eq!(told.bytes[5], flags, "{mode:?}");
        assert_eq!(of(3, &told)[1][1], prefix, "{mode:?}");
    }
    let off = fixture::with(|_, network| network.dhcp.ipv6 = Ipv6Mode::Off);
    assert_eq!(advertise(&off, off.primary()), None);
    // No IPv6 subnet.
    let guest = fixture::guest();
    assert_eq!(advertise(&guest, &guest.ports[1]), None);
}

#[test]
fn a_network_without_resolvers_gets_the_platforms_and_one_with_ipv4_ones_alone_gets_none() {
    let guest = fixture::with(|_, network| network.dns.clear());
    let told_resolver = &of(25, &told(&guest))[0][6..];
    assert_eq!(told_resolver, mezame_model::service_address::DNS6.octets());
    let guest = fixture::with(|_, network| network.dns = vec!["192.168.0.2".parse().unwrap()]);
    assert!(of(25, &told(&guest)).is_empty());
}

proptest! {
    #[test]
    fn it_fits_into_the_mtu_and_reads_back_whatever_the_network(
        prefixes in prop::collection::vec(any::<u64>(), 1..64),
        lengths in prop::collection::vec(0_u8..=128, 32),
        dns in prop::collection::vec(any::<u128>(), 0..16),
        mtu in 1280_u16..=9216, domain in "[a-z]{1,60}(\\.[a-z]{1,60}){0,3}",
    ) {
        let guest = fixture::with(|_, network| {
            network.mtu = mtu;
            network.domain = Some(domain.into());
            network.dns = dns.iter().map(|it| Ipv6Addr::from_bits(*it).into()).collect();
            network.forward = Forward::default();
            let subnet = network.subnets[1].clone();
            for prefix in &prefixes {
                let range = Ipv6Addr::from_bits(u128::from(*prefix) << 64);
                let cidr = IpNetwork::new(range.into(), 64).unwrap();
                let routes = lengths.iter().map(|length| {
                    let range = Ipv6Network::new(range, *length).unwrap();
                    let destination = Ipv6Network::new(range.network(), *length).unwrap().into();
                    mezame_model::Route { destination, via: "fe80::1".parse().unwrap() }
                });
                let subnet = mezame_model::Subnet { cidr, routes: routes.collect(), ..subnet };
                network.subnets.push(subnet);
            }
        });
        let told = told(&guest);
        prop_assert!(told.bytes.len() + IPV6_HEADER <= usize::from(mtu));
        for (kind, body) in options(&told) {
            prop_assert!([3, 5, 24, 25, 31].contains(&kind));
            if kind == 24 {
                prop_assert_eq!(body.len() + 2, 8 + usize::from(body[0]).div_ceil(64) * 8);
            }
        }
    }
}
