//! The guest whose port the datagrams come from: that of the bench, with all that a network tells.

use std::sync::Arc;

use mezame_model::{Boot, Guest, Route, Snapshot, Subnet};

/// The guest.
pub(crate) fn guest() -> Guest {
    let text = include_str!("../../bench/fixture/snapshot.json");
    let snapshot: Snapshot = serde_json::from_str(text).expect("the fixture is a snapshot");
    let mut guest = Guest::join(&snapshot, &snapshot.instances[0]).expect("the record is whole");
    let route = |destination: &str, via: &str| Route {
        destination: destination.parse().expect("a range"),
        via: via.parse().expect("an address"),
    };
    let network = Arc::make_mut(&mut guest.ports[0].network);
    // Long enough to be split, and to overflow what a client takes at least.
    network.subnets[0].routes =
        (0..32).map(|at| route(&format!("10.0.0.{at}/32"), "192.168.0.2")).collect();
    network.subnets.push(Subnet {
        cidr: "2001:db8:1::/64".parse().expect("a range"),
        gateway: Some("fe80::1".parse().expect("an address")),
        routes: vec![route("2001:db8:9::/48", "fe80::1")],
    });
    network.ntp = ["192.168.0.7", "2001:db8:1::7"].map(|it| it.parse().expect("one")).into();
    let port = Arc::make_mut(&mut guest.ports[0].port);
    port.addresses.push("2001:db8:1::10".parse().expect("an address"));
    port.boot = Some(Box::new(Boot {
        server: Some("192.0.2.9".parse().expect("an address")),
        file: Some("pxelinux.0".into()),
        url: Some("http://192.0.2.9/boot.efi".into()),
    }));
    guest
}
