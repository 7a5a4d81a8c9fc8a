//! The same over IPv6: addresses by DHCPv6 in a managed network, and made by the guest in a
//! stateless one.

use std::fs;

use mezame_tests::{
    Lab,
    namespace::Namespace,
    namespace_guest::{By, Dial},
    process::Background,
    wait::{self, SOON},
};
use serde_json::json;

use super::{
    client::Client,
    seat::{HOST_NAME, Seat, ensure_has},
};

const NETWORKD: &str = "[Match]\nName=eth0\n[Network]\nDHCP=ipv6\nIPv6AcceptRA=yes\n";

/// A guest with this client, and a router of its network that has a link-local address.
fn seat(lab: &Lab, client: Client, mode: &str) -> Seat {
    let network = json!({
        "subnets": [
            {"cidr": "192.168.0.0/24"}, {"cidr": "2001:db8:1::/64", "gateway": "fe80::1"},
        ],
        "dns": ["2001:db8:1::53"],
        "domain": "tenant.example",
        "dhcp": {"ipv6": mode, "lease_seconds": 20},
    });
    let mut seat = Seat::make(lab, client, "192.168.0.1/24", &network);
    let router = seat.router.machine();
    router.ip("address add fe80::1/64 dev eth0 nodad").unwrap();
    // A neighbour that says that it is none is struck from the default routers (RFC 4861, 7.2.5).
    write(router, "all/forwarding", "1");
    seat.settle(NETWORKD);
    if client != Client::Dhclient {
        // These read advertisements themselves, and what they do is to be seen.
        write(seat.guest.namespace(), "eth0/accept_ra", "0");
    }
    seat.renumber(lab, &["192.168.0.10", "2001:db8:1::10"]);
    seat.until_known();
    seat
}

/// Sets one of the kernel's switches for IPv6.
fn write(namespace: &Namespace, name: &str, value: &str) {
    let file = format!("/proc/sys/net/ipv6/conf/{name}");
    namespace.run(|| fs::write(file, value)).unwrap().unwrap();
}

/// Waits until the guest has this address, the router and the resolver, and reads its metadata.
fn until_set_up(seat: &Seat, running: &mut Background, address: &str) {
    wait::until(&format!("{} to set itself up", seat.client.name()), SOON, || {
        seat.ensure_running(running)?;
        let addresses = seat.ip("-6 -o address show dev eth0 scope global")?;
        ensure_has(&addresses, &[address])?;
        anyhow::ensure!(!addresses.contains("tentative"), "{addresses}");
        ensure_has(&seat.ip("-6 route")?, &["default via fe80::1 ", "2001:db8:1::/64 "])?;
        if seat.client.sets_resolvers() {
            let resolvers = seat.output(running, &["cat", "/etc/resolv.conf"])?;
            ensure_has(&resolvers, &["nameserver 2001:db8:1::53", "tenant.example"])?;
        }
        Ok(())
    })
    .unwrap();
    let hostname = wait::until("an answer by the router", SOON, || {
        seat.guest.connect_with(&Dial::to(By::Ipv6))?.get("/latest/meta-data/hostname", &[])
    });
    assert_eq!(hostname.unwrap().text(), HOST_NAME);
}

#[test]
fn each_client_gets_and_renews_its_address_by_dhcpv6_in_a_managed_network() {
    let lab = Lab::start().unwrap();
    let clients = [Client::Dhclient, Client::Dhcpcd, Client::Networkd];
    let seats = clients.map(|client| seat(&lab, client, "managed"));
    let mut running = seats.each_ref().map(|seat| seat.boot(seat.client.words6()));
    for (seat, running) in seats.iter().zip(&mut running) {
        until_set_up(seat, running, " 2001:db8:1::10/");
        wait::until(&format!("{} to renew", seat.client.name()), SOON, || {
            let log = running.log();
            let renewal = match seat.client {
                Client::Dhclient => "XMT: Renew on eth0",
                Client::Dhcpcd => "broadcasting RENEW6",
                Client::Networkd | Client::Udhcpc => "Sent Renew",
            };
            let after = log.split_once(renewal);
            let (_, after) = after.ok_or_else(|| anyhow::anyhow!("no {renewal} in {log}"))?;
            let answer = match seat.client {
                Client::Dhclient => "RCV: Reply message on eth0",
                Client::Dhcpcd => "REPLY6 received",
                Client::Networkd | Client::Udhcpc => "Processed Reply message",
            };
            ensure_has(after, &[answer])
        })
        .unwrap();
        until_set_up(seat, running, " 2001:db8:1::10/");
    }
}

#[test]
fn clients_make_their_addresses_of_the_prefix_in_a_stateless_network() {
    let lab = Lab::start().unwrap();
    let seats = [Client::Dhcpcd, Client::Networkd].map(|client| seat(&lab, client, "stateless"));
    let mut running = seats.each_ref().map(|seat| seat.boot(seat.client.words6()));
    for (seat, running) in seats.iter().zip(&mut running) {
        until_set_up(seat, running, " 2001:db8:1:");
        let addresses = seat.ip("-6 -o address show dev eth0 scope global").unwrap();
        assert!(!addresses.contains("2001:db8:1::10/"), "{addresses}");
    }
}
