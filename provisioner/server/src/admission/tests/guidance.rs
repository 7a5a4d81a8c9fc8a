//! What guests are told with their addresses: routes, DHCP, upstreams, boot files.

use mezame_model::{Dhcp, Ipv6Mode};

use super::*;

#[test]
fn a_network_is_told_as_it_was_written_and_stays_the_same() {
    let mut world = World::seeded();
    let whole = network(json!({
        "subnets": [
            { "cidr": "10.0.0.0/24", "gateway": "10.0.0.1",
              "routes": [{ "destination": "10.20.0.0/16", "via": "10.0.0.2" }] },
            { "cidr": "2001:db8::/64", "gateway": "fe80::1",
              "routes": [{ "destination": "2001:db8:9::/48", "via": "fe80::1" },
                         { "destination": "2001:db8:8::/48", "via": "2001:db8::2" }] },
        ],
        "ntp": ["169.254.169.123", "2001:db8::7b"],
        "dhcp": { "ipv6": "other", "lease_seconds": 120 },
        "forward": {
            "dns": ["192.0.2.53", "192.0.2.53:5353", "[2001:db8::53]:53", "[2001:db8::54]",
                    "2001:db8::55"],
            "ntp": ["192.0.2.123"],
            "kms": ["192.0.2.88"],
            "tang": ["192.0.2.89"],
        },
    }));
    let boot = json!({ "server": "192.0.2.9", "file": "pxelinux.0", "url": "http://192.0.2.9/x" });
    let port = with(port("booted", json!({ "boot": boot })), json!({ "network": "n" }));
    let documents = json!([whole, port]);
    world.apply(&documents);
    assert!(world.admit(&documents).unwrap().changes.is_empty());

    let state = |name: &str| world.state.network(&"p".parse().unwrap(), &name.parse().unwrap());
    let record = Arc::clone(&state("n").unwrap().record);
    assert_eq!(record.dhcp, Dhcp { ipv4: true, ipv6: Ipv6Mode::Other, lease_seconds: 120 });
    let written: Vec<_> = record.forward.dns.iter().map(ToString::to_string).collect();
    let expected = [
        "192.0.2.53:53",
        "192.0.2.53:5353",
        "[2001:db8::53]:53",
        "[2001:db8::54]:53",
        "[2001:db8::55]:53",
    ];
    assert_eq!(written, expected);
    assert_eq!(record.forward.ntp[0].port(), 123);
    assert_eq!(record.forward.kms[0].port(), 1688);
    assert_eq!(record.forward.tang[0].port(), 80);
    assert_eq!(record.subnets[1].routes[0].via, "fe80::1".parse::<std::net::IpAddr>().unwrap());

    // What is shown can be applied again, and says the same.
    let shown = crate::spec::of_network(&record);
    assert!(world.admit(&json!([shown])).unwrap().changes.is_empty());
    let held = world.state.port(&"p".parse().unwrap(), &"booted".parse().unwrap()).unwrap();
    assert_eq!(crate::spec::of_port(&held.record, |_| "n".into())["boot"], boot);
    // A boot that names nothing is none.
    let bare = with(documents[1].clone(), json!({ "boot": {} }));
    world.apply(&json!([bare]));
    let held = world.state.port(&"p".parse().unwrap(), &"booted".parse().unwrap()).unwrap();
    assert_eq!(held.record.boot, None);
}

#[test]
fn off_is_neither_family_in_every_spelling() {
    for off in [json!("off"), json!(false), json!({ "ipv4": false, "ipv6": "off" })] {
        let mut world = World::seeded();
        world.apply(&json!([network(json!({ "dhcp": off }))]));
        let held = world.state.network(&"p".parse().unwrap(), &"n".parse().unwrap()).unwrap();
        let expected = Dhcp { ipv4: false, ipv6: Ipv6Mode::Off, ..Dhcp::default() };
        assert_eq!(held.record.dhcp, expected);
    }
}

#[test]
fn a_link_local_router_is_taken_for_ipv6_alone() {
    let world = World::seeded();
    let v6 = |gateway: &str| json!([{ "cidr": "2001:db8::/64", "gateway": gateway }]);
    for (subnets, expected) in [
        (v6("fe80::1"), None),
        (v6("fe80::ffff:ffff:ffff:ffff"), None),
        (v6("fe80::a9fe:a9fe"), Some("this is a link-local service's own address")),
        (v6("fe80::"), Some("this is every router's anycast address")),
        (
            v6("fe80:0:0:1::1"),
            Some("the gateway fe80:0:0:1::1 is outside the subnet 2001:db8::/64"),
        ),
        (v6("10.0.0.1"), Some("the gateway 10.0.0.1 is outside the subnet 2001:db8::/64")),
        (
            json!([{ "cidr": "10.0.0.0/24", "gateway": "fe80::1" }]),
            Some("the gateway fe80::1 is outside the subnet 10.0.0.0/24"),
        ),
    ] {
        let document = network(json!({ "subnets": subnets }));
        match expected {
            None => assert!(world.admit(&json!([document])).is_ok(), "{document}"),
            Some(why) => {
                assert_eq!(world.fault(document), format!("0:subnets[0].gateway: {why}"));
            }
        }
    }
}

#[test]
fn routes_keep_the_rules_of_their_subnet() {
    let world = World::seeded();
    let range = |route: Value| json!([{ "cidr": "10.0.0.0/24", "routes": [route] }]);
    let route =
        |destination: &str, via: &str| range(json!({ "destination": destination, "via": via }));
    let many: Vec<_> = (0..33)
        .map(|at| json!({ "destination": format!("10.{at}.0.0/16"), "via": "10.0.0.2" }))
        .collect();
    let twice: Vec<_> = ["10.0.0.2", "10.0.0.3"]
        .map(|via| json!({ "destination": "10.20.0.0/16", "via": via }))
        .into();
    for (subnets, expected) in [
        (
            route("10.20.0.1/16", "10.0.0.2"),
            ".routes[0].destination: 10.20.0.1/16 has host bits set",
        ),
        (
            route("2001:db8::/32", "10.0.0.2"),
            ".routes[0].destination: 2001:db8::/32 is of another family than the subnet 10.0.0.0/24",
        ),
        (
            route("0.0.0.0/0", "10.0.0.2"),
            ".routes[0].destination: the route to everywhere is the subnet's 'gateway'",
        ),
        (
            route("10.20.0.0/16", "10.0.1.2"),
            ".routes[0].via: the router 10.0.1.2 is outside the subnet 10.0.0.0/24",
        ),
        (
            route("10.20.0.0/16", "10.0.0.255"),
            ".routes[0].via: this is the subnet's broadcast address",
        ),
        (range(json!({ "destination": "10.20.0.0/16" })), ".routes[0]: the field 'via' is missing"),
        (
            json!([{ "cidr": "10.0.0.0/24", "routes": many }]),
            ".routes: 33 entries are more than the 32 allowed",
        ),
        (
            json!([{ "cidr": "10.0.0.0/24", "routes": twice }]),
            ".routes[1]: routes[0] leads to 10.20.0.0/16 too",
        ),
    ] {
        let expected = format!("0:subnets[0]{expected}");
        assert_eq!(world.fault(network(json!({ "subnets": subnets }))), expected);
    }
}

#[test]
fn dhcp_and_upstreams_keep_their_rules() {
    let world = World::seeded();
    let long = json!([{ "cidr": "2001:db8::/80" }]);
    let nine: Vec<_> = (0..9).map(|at| format!("192.0.2.{at}")).collect();
    for (fields, expected) in [
        (json!({ "dhcp": "on" }), "dhcp: this is none of off"),
        (json!({ "dhcp": true }), "dhcp: this must be a set of fields, and is true or false"),
        (
            json!({ "dhcp": { "ipv4": "yes" } }),
            "dhcp.ipv4: this must be true or false, and is a text",
        ),
        (
            json!({ "dhcp": { "ipv6": "slaac" } }),
            "dhcp.ipv6: this is none of managed, other, stateless, off",
        ),
        (
            json!({ "dhcp": { "ipv6": "other" }, "subnets": long }),
            "dhcp.ipv6: guests make addresses in a /64 only (RFC 4862), and 2001:db8::/80 is none",
        ),
        (
            json!({ "dhcp": { "ipv6": "stateless" }, "subnets": long }),
            "dhcp.ipv6: guests make addresses in a /64 only (RFC 4862), and 2001:db8::/80 is none",
        ),
        (
            json!({ "dhcp": { "lease_seconds": 19 } }),
            "dhcp.lease_seconds: this is not a whole number from 20 to 4294967294",
        ),
        (
            json!({ "dhcp": { "lease_seconds": 4_294_967_295_u64 } }),
            "dhcp.lease_seconds: this is not a whole number from 20 to 4294967294",
        ),
        (json!({ "ntp": ["0.0.0.0"] }), "ntp[0]: this can't be a time server's address"),
        (json!({ "dns": ["ff02::1"] }), "dns[0]: this can't be a resolver's address"),
        (
            json!({ "forward": { "dns": nine } }),
            "forward.dns: 9 entries are more than the 8 allowed",
        ),
        (
            json!({ "forward": { "dns": ["resolver"] } }),
            "forward.dns[0]: \"resolver\" is no address with or without a port",
        ),
        (
            json!({ "forward": { "ntp": ["192.0.2.1:0"] } }),
            "forward.ntp[0]: no server is at port 0",
        ),
        (
            json!({ "forward": { "kms": ["169.254.169.252"] } }),
            "forward.kms[0]: this is one of the link-local services' own addresses",
        ),
        (
            json!({ "forward": { "dns": ["[::ffff:169.254.169.253]:53"] } }),
            "forward.dns[0]: this is one of the link-local services' own addresses",
        ),
        (
            json!({ "forward": { "dns": ["fd00:ec2::253"] } }),
            "forward.dns[0]: this is one of the link-local services' own addresses",
        ),
        (
            json!({ "forward": { "dns": ["fe80::1"] } }),
            "forward.dns[0]: a link-local address is none that the hypervisor could reach",
        ),
        (
            json!({ "forward": { "dns": ["224.0.0.1"] } }),
            "forward.dns[0]: this is no one machine's address",
        ),
    ] {
        assert_eq!(world.fault(network(fields)), format!("0:{expected}"));
    }
    let managed = network(json!({ "dhcp": { "ipv6": "managed" }, "subnets": long }));
    assert!(world.admit(&json!([managed])).is_ok());
}

#[test]
fn boot_files_are_printable_and_short_enough_for_their_fields() {
    let world = World::seeded();
    for (boot, expected) in [
        (
            json!({ "file": "a".repeat(128) }),
            "boot.file: 128 bytes are more than the 127 allowed here",
        ),
        (json!({ "file": "a b" }), "boot.file: this is not printable ASCII without spaces"),
        (json!({ "file": "" }), "boot.file: this is not printable ASCII without spaces"),
        (json!({ "url": "boot.efi" }), "boot.url: this is no URL: it has no '://'"),
        (
            json!({ "url": format!("http://{}", "a".repeat(249)) }),
            "boot.url: 256 bytes are more than the 255 allowed here",
        ),
        (json!({ "server": "0.0.0.0" }), "boot.server: this can't be a server's address"),
        (json!({ "next": "x" }), "boot.next: no such field"),
    ] {
        assert_eq!(world.fault(port("new", json!({ "boot": boot }))), format!("0:{expected}"));
    }
}

#[test]
fn all_faults_of_a_network_are_named_at_once() {
    let faults = World::seeded().faults(json!([network(json!({
        "subnets": [{ "cidr": "10.0.0.0/24", "gateway": "10.9.0.1",
                      "routes": [{ "destination": "10.20.0.1/16", "via": "x" }] }],
        "ntp": [7],
        "dhcp": { "ipv4": 1, "ipv6": "none", "lease_seconds": 1 },
        "forward": { "dns": ["x"], "kms": ["y"], "smtp": [] },
    }))]));
    let paths: Vec<_> = faults.iter().map(|fault| fault.split(": ").next().unwrap()).collect();
    let expected = [
        "0:subnets[0].gateway",
        "0:subnets[0].routes[0].destination",
        "0:subnets[0].routes[0].via",
        "0:ntp[0]",
        "0:dhcp.ipv4",
        "0:dhcp.ipv6",
        "0:dhcp.lease_seconds",
        "0:forward.smtp",
        "0:forward.dns[0]",
        "0:forward.kms[0]",
    ];
    assert_eq!(paths, expected, "{faults:#?}");
}
