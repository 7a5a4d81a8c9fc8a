//! Leases as four DHCP clients live with them: Debian's dhclient, dhcpcd, systemd-networkd and
//! udhcpc, unmodified, each in a machine of its own behind the data path.
//!
//! Their timers are true ones: with the shortest lease, T1 is ten seconds and T2 seventeen. What
//! they say to whom is read from the wire.

mod client;
mod ipv6;
mod seat;

use std::net::Ipv4Addr;

use mezame_tests::{
    Lab,
    dhcp::{self, Kind, Message},
    process::Background,
    wait::{self, SOON},
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use client::Client;
use seat::{Course, Seat, ensure_has, is_ack};

const SERVER: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
const FIRST: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 10);
const SECOND: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 11);
const ROUTER: &str = "192.168.0.1/24";

/// systemd-networkd's settings: what is off without them is on.
const NETWORKD: &str = "[Match]\nName=eth0\n[Network]\nDHCP=ipv4\n[DHCPv4]\nUseMTU=yes\n";

const DHCLIENT_SETTINGS: &str = "/etc/dhcp/dhclient.conf";

/// A network that says all that DHCP can, with the shortest lease.
fn network() -> Value {
    json!({
        "subnets": [
            {"cidr": "192.168.0.0/24", "gateway": "192.168.0.1",
             "routes": [{"destination": "10.99.0.0/16", "via": "192.168.0.7"}]},
        ],
        "dns": ["192.168.0.2", "192.168.0.3"],
        "domain": "tenant.example",
        "ntp": ["192.168.0.4"],
        "mtu": 1400,
        "dhcp": {"lease_seconds": 20},
    })
}

/// A guest with this client, known to the service, beside a machine that has this address.
fn seat(lab: &Lab, client: Client, beside: &str) -> Seat {
    let mut seat = Seat::make(lab, client, beside, &network());
    seat.settle(NETWORKD);
    seat.apply(lab, |_| ());
    seat.until_known();
    seat
}

const LEASED: &Course = &[
    ("a question for an address", |it| it.kind == Kind::Discover && it.to.is_broadcast()),
    ("an offer", |it| (it.kind, it.from, it.yiaddr) == (Kind::Offer, SERVER, FIRST)),
    ("the choice of us", |it| (it.kind, it.server) == (Kind::Request, Some(SERVER))),
    ("a lease", |it| is_ack(it) && (it.from, it.yiaddr) == (SERVER, FIRST)),
];

/// dhcpcd asks for rapid commit.
const LEASED_AT_ONCE: &Course = &[
    ("a question for an address", |it| it.kind == Kind::Discover && it.to.is_broadcast()),
    ("a lease", |it| is_ack(it) && (it.from, it.yiaddr) == (SERVER, FIRST)),
];

const RENEWED: &Course = &[
    ("a renewal", |it| it.is_renewal() && (it.from, it.to, it.ciaddr) == (FIRST, SERVER, FIRST)),
    ("a renewed lease", |it| is_ack(it) && it.yiaddr == FIRST),
];

const REBOUND: &Course = &[
    ("a rebinding", |it| it.is_rebinding() && it.ciaddr == FIRST),
    ("a rebound lease", |it| is_ack(it) && it.yiaddr == FIRST),
];

const MOVED: &Course = &[
    ("a refusal", |it| (it.kind, it.from) == (Kind::Nak, SERVER)),
    ("a new beginning", |it| it.kind == Kind::Discover),
    ("a lease of the new address", |it| is_ack(it) && it.yiaddr == SECOND),
];

const REBOOTED: &Course = &[
    ("a request after the reboot", |it| it.is_reboot() && it.requested == Some(SECOND)),
    ("the same lease", |it| is_ack(it) && it.yiaddr == SECOND),
];

const RELEASED: &Course =
    &[("a release", |it| (it.kind, it.to, it.ciaddr) == (Kind::Release, SERVER, SECOND))];

/// How this client comes to a lease.
fn leased(client: Client) -> &'static Course {
    if client == Client::Dhcpcd { LEASED_AT_ONCE } else { LEASED }
}

/// Lets a client lease, renew, follow a new address, reboot, and release.
fn assert_lives_with_its_lease(client: Client) {
    let mut lab = Lab::start().unwrap();
    let mut seat = seat(&lab, client, ROUTER);
    let mut running = seat.boot(client.words());
    let at = seat.until_said(&mut running, 0, leased(client));
    seat.until_set_up(&running, FIRST);
    let shown = seat.output(&running, client.show()).unwrap();
    ensure_has(&shown, client.shown()).unwrap();
    let at = seat.until_said(&mut running, at, RENEWED);
    seat.until_set_up(&running, FIRST);

    seat.renumber(&lab, &["192.168.0.11"]);
    let mut at = seat.until_said(&mut running, at, MOVED);
    seat.until_set_up(&running, SECOND);

    if client.remembers() {
        seat.cut(running);
        at = seat.said();
        running = seat.boot(client.words());
        at = seat.until_said(&mut running, at, REBOOTED);
        seat.until_set_up(&running, SECOND);
    }

    let before = silent(&mut lab);
    release(&seat, &running);
    wait::until("the release at the service", SOON, || {
        anyhow::ensure!(silent(&mut lab) > before, "{:#?}", seat.guest.capture().dhcp());
        Ok(())
    })
    .unwrap();
    let said = seat.guest.capture().dhcp();
    assert!(said[at..].iter().any(RELEASED[0].1), "{said:#?}");
}

/// Lets the client give back its lease.
fn release(seat: &Seat, running: &Background) {
    match seat.client {
        Client::Dhclient => seat.output(running, &["dhclient", "-r", "eth0"]).map(drop).unwrap(),
        Client::Dhcpcd => seat.output(running, &["dhcpcd", "-k", "eth0"]).map(drop).unwrap(),
        Client::Networkd => seat.signal(running, Signal::SIGTERM),
        Client::Udhcpc => seat.signal(running, Signal::SIGUSR2),
    }
}

/// How many messages the service took and had no answer for.
fn silent(lab: &mut Lab) -> f64 {
    counted(lab, "silent")
}

fn counted(lab: &mut Lab, outcome: &str) -> f64 {
    let labels = ["service=\"dhcp\"".to_owned(), format!("outcome=\"{outcome}\"")];
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    let metrics = lab.server().metrics().unwrap();
    metrics.sum("mezame_link_local_total", &labels)
}

#[test]
fn dhclient_leases_renews_follows_a_new_address_reboots_and_releases() {
    assert_lives_with_its_lease(Client::Dhclient);
}

#[test]
fn dhcpcd_leases_renews_follows_a_new_address_reboots_and_releases() {
    assert_lives_with_its_lease(Client::Dhcpcd);
}

#[test]
fn systemd_networkd_leases_renews_follows_a_new_address_and_releases() {
    assert_lives_with_its_lease(Client::Networkd);
}

#[test]
fn udhcpc_leases_renews_follows_a_new_address_and_releases() {
    assert_lives_with_its_lease(Client::Udhcpc);
}

#[test]
fn each_client_whose_renewals_are_lost_rebinds_and_keeps_its_address() {
    let lab = Lab::start().unwrap();
    let seats = Client::ALL.map(|client| seat(&lab, client, ROUTER));
    let mut running = seats.each_ref().map(|seat| {
        seat.guest.lose(dhcp::is_unicast);
        if seat.client == Client::Dhclient {
            // Of itself it may wait longer than the three seconds from T2 to the end.
            let settings = seat.machine.read(DHCLIENT_SETTINGS).unwrap();
            let often = format!("{settings}\ninitial-interval 1;\nbackoff-cutoff 2;\n");
            seat.machine.write(DHCLIENT_SETTINGS, &often).unwrap();
        }
        seat.boot(seat.client.words())
    });
    for (seat, running) in seats.iter().zip(&mut running) {
        let at = seat.until_said(running, 0, leased(seat.client));
        seat.until_said(running, at, REBOUND);
        seat.until_set_up(running, FIRST);
        let said = seat.guest.capture().dhcp();
        let tried = said.iter().position(Message::is_renewal);
        let rebound = said.iter().position(Message::is_rebinding);
        assert!(tried.is_some() && tried < rebound, "{said:#?}");
        assert!(!said.iter().any(|it| it.kind == Kind::Nak), "{said:#?}");
    }
}

#[test]
fn an_address_that_another_machine_has_is_declined_and_the_operator_is_told() {
    let mut lab = Lab::start().unwrap();
    // dhclient does not look whether somebody has it; systemd-networkd 252 looks if told to, but
    // has no route any more by which to say so.
    let clients = [Client::Dhcpcd, Client::Udhcpc];
    let seats = clients.map(|client| seat(&lab, client, "192.168.0.10/24"));
    let mut running = seats.each_ref().map(|seat| match seat.client {
        Client::Udhcpc => seat.boot(&[seat.client.words(), &["-a"]].concat()),
        client => seat.boot(client.words()),
    });
    for (seat, running) in seats.iter().zip(&mut running) {
        seat.until_said(
            running,
            0,
            // dhcpcd does not say which address, after a rapid commit.
            &[("a decline", |it| {
                it.kind == Kind::Decline && it.requested.is_none_or(|it| it == FIRST)
            })],
        );
    }
    wait::until("all declines at the service", SOON, || {
        let (log, counted) = (lab.server().process.log(), counted(&mut lab, "declined"));
        let said = "another machine in its network uses its address";
        let told = log.lines().filter(|it| it.contains(said));
        anyhow::ensure!(counted >= 2.0 && told.count() >= 2, "{counted} were counted: {log}");
        Ok(())
    })
    .unwrap();
}
