//! A guest's network in namespaces of the test's own: no address, no DHCP, a service on the link.
//!
//! The namespaces' names are in a `/run` that only the test sees, and go with it however it ends.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6, TcpListener},
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
};
use serde_json::json;

use super::{
    run::{KEY, document, needs_root},
    service::Service,
};

pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {error}");
}

/// Hides `/run` from the calling thread, and from all that it starts from now on, behind one of its
/// own (mount_namespaces(7)). Without root the test fails.
fn enter_sandbox() {
    needs_root();
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), none).unwrap();
}

/// Two namespaces and a cable; they go with it.
pub(crate) struct Wire {
    pub(crate) guest: String,
    pub(crate) host: String,
}

impl Wire {
    pub(crate) fn new(mac: &str) -> Self {
        let wire = Self::bare(mac);
        wire.add_v4();
        wire
    }

    /// Nobody at the host's end has any address yet.
    pub(crate) fn bare(mac: &str) -> Self {
        enter_sandbox();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let (guest, host) = (format!("mzag-g{id}"), format!("mzag-h{id}"));
        ip(&format!("netns add {guest}"));
        ip(&format!("netns add {host}"));
        let wire = Self { guest, host };
        let (guest, host) = (&wire.guest, &wire.host);
        ip(&format!("-n {guest} link add eth0 address {mac} type veth peer name tap netns {host}"));
        ip(&format!("-n {host} link set lo up"));
        ip(&format!("-n {host} link set tap up"));
        wire
    }

    /// The service's IPv4 address at the host's end, and the ways back.
    pub(crate) fn add_v4(&self) {
        let host = &self.host;
        ip(&format!("-n {host} address add 169.254.169.254/32 dev tap"));
        ip(&format!("-n {host} route add 169.254.0.0/16 dev tap"));
        ip(&format!("-n {host} route add 192.168.0.0/24 dev tap"));
    }

    pub(crate) fn listen(&self) -> TcpListener {
        self.listen_at(Ipv4Addr::new(169, 254, 169, 254).into())
    }

    /// A listener inside the host's namespace; sockets stay where they were made.
    pub(crate) fn listen_at(&self, address: IpAddr) -> TcpListener {
        let path = format!("/run/netns/{}", self.host);
        std::thread::spawn(move || {
            let file = std::fs::File::open(path).unwrap();
            setns(file, CloneFlags::CLONE_NEWNET).unwrap();
            let address = match address {
                IpAddr::V4(address) => SocketAddr::from((address, 80)),
                IpAddr::V6(address) => {
                    let tap = nix::net::if_::if_nametoindex("tap").unwrap();
                    SocketAddrV6::new(address, 80, 0, tap).into()
                }
            };
            TcpListener::bind(address).unwrap()
        })
        .join()
        .unwrap()
    }

    /// A shell in the guest's network namespace, with a host name and the few changed directories
    /// of its own.
    pub(crate) fn shell(&self, script: &str) -> Output {
        let private = "set -e
            for place in /root /home /run /var/lib; do mount -t tmpfs tmpfs $place; done
            mkdir /run/etc && cp -a /etc/passwd /etc/group /etc/shadow /run/etc
            mount --bind /run/etc /etc
            set +e\n";
        Command::new("ip")
            .args(["netns", "exec", &self.guest, "unshare", "--mount", "--uts", "sh", "-c"])
            .arg(format!("{private}{script}"))
            .env("AGENT", env!("CARGO_BIN_EXE_guest-agent"))
            .output()
            .unwrap()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        for name in [&self.guest, &self.host] {
            let _ = Command::new("ip").args(["netns", "delete", name]).status();
        }
    }
}

pub(crate) fn guest_document(mac: &str) -> mezame_model::Document {
    document(json!({
        "ssh_keys": [KEY],
        "interfaces": [{
            "mac": mac, "mtu": 1450, "addresses": ["192.168.0.10/24"],
            "gateways": ["192.168.0.1"], "dns": ["192.168.0.2"], "domain": "example",
        }],
    }))
}

#[test]
fn a_guest_without_an_address_claims_one_and_gets_the_documents_and_gives_it_back() {
    let mac = "52:54:00:aa:00:01";
    let wire = Wire::new(mac);
    let service = Service::on(wire.listen(), guest_document(mac));
    let output = wire.shell(
        "$AGENT run --json --timeout 30; echo \"rc $?\"; hostname; cat /etc/hostname
         cat /root/.ssh/authorized_keys /etc/resolv.conf
         ip address show eth0; ip route; $AGENT run > /dev/null; echo \"again $?\"",
    );
    let text = String::from_utf8_lossy(&output.stdout);
    let all = format!("{text}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("rc 0") && text.contains("again 0"), "{all}");
    assert_eq!(text.lines().filter(|line| *line == "web").count(), 2, "{all}");
    assert!(text.contains(KEY) && text.contains("nameserver 192.168.0.2"), "{all}");
    assert!(text.contains("inet 192.168.0.10/24") && text.contains("mtu 1450"), "{all}");
    assert!(text.contains("default via 192.168.0.1 dev eth0"), "{all}");
    assert!(!text.contains("169.254.169.254 dev") && !text.contains("inet 169.254"), "{all}");
    service.look(|told| {
        assert_eq!(told.reports.len(), 2, "{all}");
        let first = told.peers[0];
        assert!(matches!(first, IpAddr::V4(address) if address.is_link_local()), "{first}");
        assert!(told.peers.contains(&"192.168.0.10".parse().unwrap()), "{:?}", told.peers);
        let report = &told.reports[0];
        println!("configured {:?} ms after the first packet", report.configured_ms);
    });
}

#[test]
fn an_address_that_somebody_else_has_is_not_claimed() {
    let mac = "52:54:00:aa:00:02";
    let wire = Wire::new(mac);
    let service = Service::on(wire.listen(), document(json!({})));
    let run = |wire: &Wire| wire.shell("$AGENT run --json --timeout 30");
    assert!(run(&wire).status.success());
    let first = service.look(|told| told.peers[0]);
    ip(&format!("-n {} address add {first}/32 dev tap", wire.host));
    let output = run(&wire);
    assert!(output.status.success(), "{output:?}");
    let second = service.look(|told| *told.peers.last().unwrap());
    assert_ne!(first, second);
    assert!(matches!(second, IpAddr::V4(address) if address.is_link_local()), "{second}");
    // The same guest alone takes the same address again.
    ip(&format!("-n {} address del {first}/32 dev tap", wire.host));
    run(&wire);
    assert_eq!(service.look(|told| *told.peers.last().unwrap()), first);
}

#[test]
fn of_several_cards_the_one_that_leads_to_the_service_is_found() {
    let mac = "52:54:00:aa:00:03";
    let wire = Wire::new(mac);
    let guest = &wire.guest;
    // A card with an address comes first, and leads nowhere.
    ip(&format!("-n {guest} link add aaa0 type veth peer name aaa1"));
    ip(&format!("-n {guest} link set aaa0 up"));
    ip(&format!("-n {guest} link set aaa1 up"));
    ip(&format!("-n {guest} address add 10.9.9.9/24 dev aaa0"));
    let service = Service::on(wire.listen(), guest_document(mac));
    let output = wire.shell("$AGENT run --json --timeout 60; ip route; ip address show aaa0");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("\"reported\":true"), "{output:?}");
    assert!(text.contains("10.9.9.9/24"), "the other card's address stays: {text}");
    assert!(!text.contains("169.254.169.254 dev"), "no route is left behind: {text}");
    assert_eq!(service.look(|told| told.reports.len()), 1);
}

#[test]
fn the_doctor_names_a_missing_service_and_leaves_nothing_behind() {
    let wire = Wire::new("52:54:00:aa:00:04");
    let output = wire.shell("$AGENT doctor; echo \"rc $?\"; ip address show eth0; ip route");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("(not-listening)") && text.contains("rc 1"), "{output:?}");
    assert!(text.contains("no metadata service listens there"), "{text}");
    assert!(!text.contains("inet 169.254") && !text.contains("169.254.169.254 dev"), "{text}");
}

#[test]
fn a_route_to_the_service_that_was_there_before_stays() {
    let mac = "52:54:00:aa:00:05";
    let wire = Wire::new(mac);
    let _service = Service::on(wire.listen(), guest_document(mac));
    let output = wire.shell(
        "ip link set eth0 up; ip address add 192.168.0.10/24 dev eth0
         ip route add 169.254.169.254 dev eth0
         $AGENT run --dry-run --timeout 30 > /dev/null; ip route | sed 's/^/dry: /'
         $AGENT run --timeout 30 > /dev/null; ip route | sed 's/^/run: /'
         $AGENT doctor > /dev/null; ip route | sed 's/^/doctor: /'",
    );
    let text = String::from_utf8_lossy(&output.stdout);
    for after in ["dry", "run", "doctor"] {
        assert!(text.contains(&format!("{after}: 169.254.169.254 dev eth0")), "{output:?}");
    }
}

#[test]
fn a_claimed_address_stays_while_the_document_gives_no_other_and_goes_with_the_agent() {
    let mac = "52:54:00:aa:00:03";
    let wire = Wire::new(mac);
    let only_v6 = document(json!({
        "ssh_keys": [KEY],
        "interfaces": [{"mac": mac, "mtu": 1450, "addresses": ["fd00::10/64"]}],
    }));
    let service = Service::on(wire.listen(), only_v6);
    let output = wire.shell("$AGENT run --json --timeout 30; ip address show eth0");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("\"reported\":true") && text.contains("fd00::10/64"), "{text}");
    assert!(!text.contains("inet 169.254"), "{text}");
    service.look(|told| assert_eq!(told.reports.len(), 1));
}

#[test]
fn an_address_that_a_killed_agent_left_beside_the_documents_is_taken_back() {
    let mac = "52:54:00:aa:00:04";
    let wire = Wire::new(mac);
    let service = Service::on(wire.listen(), guest_document(mac));
    assert!(wire.shell("$AGENT run --timeout 30").status.success());
    let claimed = service.look(|told| told.peers[0]);
    let output = wire.shell(&format!(
        "ip address add {claimed}/32 dev eth0; $AGENT run --timeout 30; ip address show eth0"
    ));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("inet 192.168.0.10/24") && !text.contains("inet 169.254"), "{text}");
}

#[test]
fn each_of_several_cards_becomes_what_the_document_says_of_its_mac() {
    let (mac, other) = ("52:54:00:aa:00:07", "52:54:00:aa:00:08");
    let wire = Wire::new(mac);
    let guest = &wire.guest;
    // Its name would put it first.
    ip(&format!("-n {guest} link add aaa0 address {other} type veth peer name aaa1"));
    let service = Service::on(
        wire.listen(),
        document(json!({"interfaces": [
            {"mac": mac, "mtu": 1450, "addresses": ["192.168.0.10/24", "2001:db8::10/64"],
             "gateways": ["192.168.0.1", "fe80::1"], "dns": ["192.168.0.2"], "domain": "one.example",
             "routes": [{"destination": "10.20.0.0/16", "via": "192.168.0.3"}]},
            {"mac": other, "mtu": 1400, "addresses": ["10.1.0.10/20"], "dns": ["10.1.0.2"],
             "routes": [{"destination": "10.30.0.0/16", "via": "10.1.0.3"}]},
        ]})),
    );
    let output = wire.shell(
        "mkdir -p /etc/systemd/system/multi-user.target.wants
         ln -s x /etc/systemd/system/multi-user.target.wants/systemd-networkd.service
         $AGENT run --timeout 30 > /dev/null; echo \"rc $?\"
         ip -o address show eth0; ip -o address show aaa0; ip link show aaa0; ip route; ip -6 route
         cat /etc/resolv.conf; cat /etc/systemd/network/10-mezame-525400aa0008.network",
    );
    let text = String::from_utf8_lossy(&output.stdout);
    for wanted in [
        "rc 0",
        "eth0    inet 192.168.0.10/24",
        "eth0    inet6 2001:db8::10/64",
        "aaa0    inet 10.1.0.10/20",
        "mtu 1400",
        "default via 192.168.0.1 dev eth0",
        "default via fe80::1 dev eth0",
        "10.20.0.0/16 via 192.168.0.3 dev eth0",
        "10.30.0.0/16 via 10.1.0.3 dev aaa0",
        "nameserver 192.168.0.2\nnameserver 10.1.0.2\n",
        "MACAddress=52:54:00:aa:00:08",
        "Destination=10.30.0.0/16\nGateway=10.1.0.3",
    ] {
        assert!(text.contains(wanted), "{wanted:?} is not in {output:?}");
    }
    service.look(|told| assert_eq!(told.reports.len(), 1));
}

#[test]
fn what_an_earlier_document_gave_is_taken_away_even_after_a_cut_in_between() {
    let mac = "52:54:00:aa:00:05";
    let wire = Wire::new(mac);
    let service = Service::on(wire.listen(), guest_document(mac));
    // As a run leaves it that was cut off between adding the new address and removing the old one.
    let output = wire.shell(
        "ip link set eth0 up; ip address add 192.168.0.9/24 dev eth0; mkdir /run/mezame-agent
         printf '192.168.0.10/24\\n192.168.0.9/24\\n' > /run/mezame-agent/eth0.addresses
         $AGENT run --timeout 30 > /dev/null; ip address show eth0
         cat /run/mezame-agent/eth0.addresses",
    );
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("inet 192.168.0.10/24") && !text.contains("192.168.0.9/24"), "{text}");
    service.look(|told| assert_eq!(told.reports.len(), 1));
}
