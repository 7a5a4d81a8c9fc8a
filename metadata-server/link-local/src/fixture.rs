//! A guest for the tests: two ports, one with everything that a network can tell, one with little.

use std::sync::Arc;

use mezame_model::{Guest, GuestPort, Network, Port, Snapshot};
use serde_json::json;

/// The first port's MAC address.
pub(crate) const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

/// `web`, with the port `front` (everything) and the port `back` (an address, and no more).
pub(crate) fn guest() -> Guest {
    let front = json!({
        "id": "net-000000000000000a1", "project": "acme", "name": "front", "vni": 1000,
        "mtu": 1450,
        "subnets": [
            { "cidr": "192.168.0.0/24", "gateway": "192.168.0.1",
              "routes": [{ "destination": "10.20.0.0/16", "via": "192.168.0.2" }] },
            { "cidr": "2001:db8:1::/64", "gateway": "fe80::1",
              "routes": [{ "destination": "2001:db8:9::/48", "via": "fe80::1" },
                         { "destination": "2001:db8:8::/48", "via": "2001:db8:1::2" }] },
        ],
        "dns": ["192.168.0.2", "2001:db8:1::2", "192.168.0.3"],
        "domain": "acme.example",
        "ntp": ["192.168.0.7", "2001:db8:1::7"],
    });
    let back = json!({
        "id": "net-000000000000000a2", "project": "acme", "name": "back", "vni": 1001,
        "mtu": 9000,
        "subnets": [{ "cidr": "10.1.0.0/20", "gateway": "10.1.0.1" }],
    });
    let port = |id: &str, network: &str, mac: &str, addresses: &[&str]| {
        json!({ "id": id, "project": "acme", "name": "x", "network": network, "mac": mac,
                "addresses": addresses, "device": format!("tap{}", &id[id.len() - 2..]),
                "instance": "i-000000000000000a1" })
    };
    let snapshot: Snapshot = serde_json::from_value(json!({
        "generation": 1,
        "site": { "region": "jp-east-1", "domain": "mezame.example", "token_keys": [],
                  "signing_key": { "pkcs8": "", "certificate": "" } },
        "networks": [front, back],
        "ports": [
            port("eni-000000000000000a1", "net-000000000000000a1", "52:54:00:12:34:56",
                 &["192.168.0.10", "192.168.0.11", "2001:db8:1::10", "2001:db8:1::11"]),
            port("eni-000000000000000a2", "net-000000000000000a2", "52:54:00:12:34:57",
                 &["10.1.0.10"]),
        ],
        "instances": [{
            "id": "i-000000000000000a1", "project": "acme", "name": "web", "hostname": "web",
            "ports": ["eni-000000000000000a1", "eni-000000000000000a2"], "tokens": "optional",
            "dialects": ["ec2"], "instance_type": "m1.small",
            "image_id": "ami-0123456789abcdef0", "zone": "a", "launched_at": 1,
        }],
    }))
    .unwrap();
    Guest::join(&snapshot, &snapshot.instances[0]).unwrap()
}

/// The guest with its first port and network changed.
pub(crate) fn with(change: impl FnOnce(&mut Port, &mut Network)) -> Guest {
    let mut guest = guest();
    let GuestPort { port, network, .. } = &mut guest.ports[0];
    change(Arc::make_mut(port), Arc::make_mut(network));
    guest
}
