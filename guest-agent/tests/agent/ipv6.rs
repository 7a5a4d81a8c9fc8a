//! A guest's network of IPv6: a service at its link-local and its unique local address, alone and
//! beside IPv4.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Instant,
};

use mezame_model::Document;
use serde_json::json;

use super::{
    namespace::{Wire, guest_document, ip},
    run::{KEY, document},
    service::Service,
};

const LINK: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe);
const UNIQUE: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// A cable at whose other end is this address of the service's, and perhaps others.
fn wire(mac: &str, addresses: &[Ipv6Addr]) -> Wire {
    let wire = Wire::bare(mac);
    for address in addresses {
        let prefix = if address.is_unicast_link_local() { 64 } else { 128 };
        ip(&format!("-n {} address add {address}/{prefix} dev tap nodad", wire.host));
    }
    wire
}

fn only_v6(mac: &str) -> Document {
    document(json!({
        "ssh_keys": [KEY],
        "interfaces": [{
            "mac": mac, "mtu": 1450, "addresses": ["2001:db8::10/64"],
            "gateways": ["fe80::1"], "dns": ["2001:db8::53"], "domain": "example",
        }],
    }))
}

fn is_link_local(peer: &IpAddr) -> bool {
    matches!(peer, IpAddr::V6(address) if address.is_unicast_link_local())
}

#[test]
fn a_guest_of_ipv6_alone_finds_the_service_at_its_link_local_address() {
    let mac = "52:54:00:aa:06:01";
    let wire = wire(mac, &[LINK]);
    let service = Service::on(wire.listen_at(LINK.into()), only_v6(mac));
    let began = Instant::now();
    let output = wire.shell(
        "$AGENT run --json --timeout 30; echo \"rc $?\"; hostname
         cat /root/.ssh/authorized_keys /etc/resolv.conf
         echo \"ipv4 <$(ip -4 address show eth0)>\"; ip -6 address show eth0; ip -6 route
         $AGENT run > /dev/null; echo \"again $?\"",
    );
    println!("both runs took {:?}", began.elapsed());
    let text = String::from_utf8_lossy(&output.stdout);
    let all = format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("rc 0") && text.contains("again 0"), "{all}");
    assert!(text.contains("\nweb\n") && text.contains(KEY), "{all}");
    assert!(text.contains("nameserver 2001:db8::53"), "{all}");
    assert!(text.contains("ipv4 <>"), "no IPv4 address, neither before nor after: {all}");
    assert!(text.contains("inet6 2001:db8::10/64"), "{all}");
    assert!(text.contains("default via fe80::1 dev eth0"), "{all}");
    assert!(!text.contains("fe80::a9fe:a9fe"), "no route is needed, and none is made: {all}");
    service.look(|told| {
        assert_eq!(told.reports.len(), 2, "{all}");
        assert!(told.peers.iter().all(is_link_local), "{:?}", told.peers);
        assert_eq!(told.hosts.iter().collect::<Vec<_>>(), ["[fe80::a9fe:a9fe]"]);
        let report = &told.reports[0];
        println!("configured {:?} ms after the first packet", report.configured_ms);
    });
}

#[test]
fn where_both_are_there_ipv4_is_used_as_before() {
    let mac = "52:54:00:aa:06:02";
    let wire = wire(mac, &[LINK, UNIQUE]);
    wire.add_v4();
    let service = Service::on(wire.listen(), guest_document(mac));
    let other = Service::on(wire.listen_at(LINK.into()), guest_document(mac));
    let output = wire.shell("$AGENT run --json --timeout 30; ip address show eth0");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("\"reported\":true") && text.contains("192.168.0.10/24"), "{output:?}");
    assert!(!text.contains("inet 169.254"), "{text}");
    service.look(|told| {
        assert_eq!(told.reports.len(), 1);
        assert!(told.peers.iter().all(IpAddr::is_ipv4), "{:?}", told.peers);
        assert_eq!(told.hosts.iter().collect::<Vec<_>>(), ["169.254.169.254"]);
    });
    other.look(|told| assert!(told.peers.is_empty(), "{:?}", told.peers));
}

#[test]
fn a_device_with_addresses_of_ipv6_alone_is_asked_by_ipv6_first() {
    let mac = "52:54:00:aa:06:03";
    let wire = wire(mac, &[LINK]);
    wire.add_v4();
    let service = Service::on(wire.listen_at(LINK.into()), only_v6(mac));
    let other = Service::on(wire.listen(), only_v6(mac));
    let output = wire.shell(
        "ip link set eth0 up; ip address add 2001:db8::9/64 dev eth0 nodad
         $AGENT run --json --timeout 30; ip -4 address show eth0",
    );
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("\"reported\":true") && !text.contains("inet "), "{output:?}");
    service.look(|told| assert!(told.peers.iter().all(is_link_local), "{:?}", told.peers));
    other.look(|told| assert!(told.peers.is_empty(), "no IPv4 was needed: {:?}", told.peers));
}

#[test]
fn a_named_endpoint_of_ipv6_gets_a_route_for_the_time_of_the_run() {
    let mac = "52:54:00:aa:06:04";
    let wire = wire(mac, &[UNIQUE]);
    let service = Service::on(wire.listen_at(UNIQUE.into()), only_v6(mac));
    let output = wire.shell(
        "$AGENT --endpoint 'http://[fd00:ec2::254]' run --json --timeout 30
         ip -6 route | sed 's/^/run: /'; ip -4 address show eth0
         ip -6 route add fd00:ec2::254 dev eth0
         $AGENT --endpoint 'http://[fd00:ec2::254]' doctor; ip -6 route | sed 's/^/own: /'
         $AGENT --endpoint 'http://fd00:ec2::254' run; echo \"rc $?\"",
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let all = format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("\"reported\":true") && !text.contains("inet "), "{all}");
    assert!(text.contains("run: default via fe80::1") && text.contains("rc 2"), "{all}");
    assert!(!text.contains("run: fd00:ec2::254"), "{all}");
    assert!(
        text.contains("own: fd00:ec2::254 dev eth0"),
        "a route of somebody else's stays: {all}"
    );
    assert!(text.contains("ok     fd00:ec2::254 through eth0: the document of"), "{all}");
    assert!(all.contains("write [fd00:ec2::254]"), "{all}");
    service.look(|told| {
        assert_eq!(told.reports.len(), 1);
        assert_eq!(told.hosts.iter().collect::<Vec<_>>(), ["[fd00:ec2::254]"]);
    });
}

#[test]
fn a_watch_by_ipv6_goes_on_after_the_network_was_set_and_applies_each_change() {
    let mac = "52:54:00:aa:06:06";
    let wire = wire(mac, &[LINK]);
    let service = Service::on(wire.listen_at(LINK.into()), only_v6(mac));
    let directory = tempfile::tempdir().unwrap();
    let stop = directory.path().join("stop");
    // It ends by itself, should this test end before it says so.
    let script = format!(
        "$AGENT watch & for i in $(seq 900); do [ -e {} ] && break; sleep 0.1; done; kill $!
         ip -6 address show eth0; cat /root/.ssh/authorized_keys",
        stop.display()
    );
    let output = std::thread::scope(|scope| {
        let shell = scope.spawn(|| wire.shell(&script));
        service.until("the first report", |told| told.reports.len() == 1);
        service.change(|told| {
            let document = told.document.as_mut().unwrap();
            document.ssh_keys = vec!["ssh-rsa SECOND b".into()];
            document.interfaces[0].addresses = vec!["2001:db8::11/64".parse().unwrap()];
        });
        service.until("the second report", |told| told.reports.len() == 2);
        std::fs::write(&stop, "").unwrap();
        shell.join().unwrap()
    });
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("2001:db8::11/64") && !text.contains("2001:db8::10"), "{output:?}");
    assert!(text.contains("ssh-rsa SECOND b") && !text.contains(KEY), "{output:?}");
    service.look(|told| assert!(told.peers.iter().all(is_link_local), "{:?}", told.peers));
}

#[test]
fn the_doctor_asks_by_both_families_and_tells_why_ipv6_is_out() {
    let mac = "52:54:00:aa:06:05";
    let wire = wire(mac, &[LINK]);
    let _service = Service::on(wire.listen_at(LINK.into()), only_v6(mac));
    let output = wire.shell(
        "$AGENT doctor | sed 's/^/both: /'; ip address show eth0
         echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6
         $AGENT doctor | sed 's/^/off: /'
         $AGENT run --timeout 0; echo \"rc $?\"",
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let all = format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("both: ok     169.254.169.254 through eth0: no address"), "{all}");
    let document = "both: ok     fe80::a9fe:a9fe through eth0: the document of web";
    assert!(text.contains(document), "{all}");
    assert!(text.contains("both: WRONG  the agent has not been started"), "{all}");
    assert!(!text.contains("inet 169.254"), "{all}");
    let off = "off:        seen: fe80::a9fe:a9fe through eth0: IPv6 can't be used on eth0";
    assert!(text.contains("(no-neighbour)") && text.contains(off), "{all}");
    assert!(text.contains("disable_ipv6"), "{all}");
    assert!(text.contains("rc 3") && all.contains("fe80::a9fe:a9fe through eth0"), "{all}");
}
