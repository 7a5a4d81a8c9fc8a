//! What the agent writes down for each network service, as that service itself takes it: Debian's
//! netplan, systemd-networkd, ifupdown and NetworkManager, unmodified.
//!
//! The guest is one without DHCP. The agent writes below the machine's files, from a document that
//! the real service has told; the service that is there then reads them, and where it can in a
//! namespace, brings the guest's card to what they say.

use mezame_tests::{
    Lab,
    client_machine::ClientMachine,
    namespace_guest::NamespaceGuest,
    operator::{network, port},
    process::{self, Background},
    wait::{self, SOON},
};
use serde_json::{Value, json};

use crate::seeds::{self, MAC};

/// The MAC of a second card.
const OTHER_MAC: &str = "52:54:00:00:00:0b";
/// Where units are enabled.
const WANTS: &str = "/etc/systemd/system/multi-user.target.wants";

/// A guest whose network has everything that can be told of one.
struct Seat {
    guest: NamespaceGuest,
    machine: ClientMachine,
    lab: Lab,
}

impl Seat {
    /// The machine has the services that are not `missing`, and `enabled` starts at boot. Then the
    /// agent has run in it.
    fn make(missing: &[&str], enabled: Option<&str>) -> Self {
        Self::make_of(missing, enabled, |_| {})
    }

    /// The same of documents with a change.
    fn make_of(
        missing: &[&str],
        enabled: Option<&str>,
        change: impl FnOnce(&mut Vec<Value>),
    ) -> Self {
        let lab = Lab::start().unwrap();
        let more = json!({"dialects": ["mezame", "ec2"]});
        let mut documents = seeds::tenant("tenant-a", 1000, "tapa", &more);
        let fields = |document: &mut Value, fields: Value| {
            document.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        };
        let lan = documents.iter_mut().find(|it| it["kind"] == "Network").unwrap();
        fields(
            lan,
            json!({
                "mtu": 1400, "domain": "tenant.example", "dns": ["192.168.0.2", "169.254.169.253"],
                "subnets": [
                    {"cidr": "192.168.0.0/24",
                     "routes": [{"destination": "10.20.0.0/16", "via": "192.168.0.3"}]},
                    {"cidr": "2001:db8:1::/64", "gateway": "fe80::1",
                     "routes": [{"destination": "2001:db8:9::/48", "via": "2001:db8:1::3"}]},
                ],
            }),
        );
        fields(
            seeds::port_of(&mut documents),
            json!({"addresses": ["192.168.0.10", "2001:db8:1::10"]}),
        );
        change(&mut documents);
        lab.operator.apply(&documents).unwrap();
        let guest = lab.guest("tapa", MAC, &["192.168.0.10/24"]).unwrap();
        seeds::until_known(&guest);
        let machine = ClientMachine::with_renderers(&guest, lab.directory()).unwrap();
        machine.write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n").unwrap();
        let _ = machine.remove(WANTS);
        for path in missing {
            machine.remove(path).unwrap();
        }
        if let Some(unit) = enabled {
            std::fs::create_dir_all(machine.path(WANTS)).unwrap();
            let link = machine.path(&format!("{WANTS}/{unit}"));
            std::os::unix::fs::symlink(format!("/lib/systemd/system/{unit}"), link).unwrap();
        }
        let mut agent = guest.namespace().command(&lab.binaries.agent);
        agent.arg("--root").arg(machine.path("/")).args(["run", "--timeout", "30"]);
        process::succeed(&mut agent).unwrap();
        Self { guest, machine, lab }
    }

    /// The card as it is before any service has looked at it.
    fn bare(&self) {
        for words in
            ["address flush dev eth0 scope global", "route flush dev eth0", "link set eth0 down"]
        {
            self.guest.namespace().ip(words).unwrap();
        }
    }

    /// Waits until the card has all that the record says.
    fn until_configured(&self) {
        wait::until("the record's network on the card", SOON, || {
            let shown = self.shown()?;
            for wanted in [
                "mtu 1400",
                "inet 192.168.0.10/24",
                "inet6 2001:db8:1::10/64",
                "10.20.0.0/16 via 192.168.0.3",
                "169.254.169.253 dev eth0",
                "2001:db8:9::/48 via 2001:db8:1::3",
                "default via fe80::1",
            ] {
                anyhow::ensure!(shown.contains(wanted), "{wanted:?} is not in {shown}");
            }
            Ok(())
        })
        .unwrap();
    }

    fn shown(&self) -> anyhow::Result<String> {
        let show = "ip address show eth0; ip route; ip -6 route";
        process::output(self.guest.namespace().command("sh").args(["-c", show]))
    }
}

#[test]
fn systemd_networkd_brings_the_card_to_what_the_agent_wrote() {
    let seat = Seat::make(&["/etc/netplan"], Some("systemd-networkd.service"));
    seat.bare();
    // As in a boot: what systemd's unit makes for it.
    let boot = "mount -t tmpfs run /run; \
        install -d -o systemd-network -g systemd-network /run/systemd/netif; \
        exec env SYSTEMD_LOG_LEVEL=debug SYSTEMD_LOG_TARGET=console /usr/lib/systemd/systemd-networkd";
    let log = seat.lab.directory().join("networkd.log");
    let mut command = seat.machine.command(&["sh", "-c", boot]);
    let mut networkd = Background::start("systemd-networkd", &mut command, &log).unwrap();
    seat.until_configured();
    networkd.ensure_running().unwrap();
    let ours: Vec<String> =
        networkd.log().lines().filter(|it| it.contains("10-mezame-")).map(str::to_owned).collect();
    assert!(!ours.iter().any(|it| it.contains("gnoring") || it.contains("nvalid")), "{ours:?}");
}

#[test]
fn ifupdown_brings_the_card_to_what_the_agent_wrote() {
    let seat = Seat::make(&["/etc/netplan"], None);
    let planned = seat.machine.output(60, &["ifup", "--no-act", "--verbose", "eth0"]).unwrap();
    assert!(!planned.contains("rror"), "{planned}");
    seat.bare();
    let script = "mkdir -p /run/network && ifup --verbose eth0 2>&1";
    let said = seat.machine.output(90, &["sh", "-c", script]).unwrap();
    println!("{said}");
    seat.until_configured();
}

#[test]
fn netplan_generates_from_what_the_agent_wrote() {
    let seat = Seat::make(&[], None);
    let ended = seat.machine.run(60, &["netplan", "generate"]).unwrap();
    assert!(ended.status.success(), "{ended:?}");
    assert!(!ended.stderr.contains("rror"), "{ended:?}");
    let made = seat.machine.read("/run/systemd/network/10-netplan-eth0.network").unwrap();
    for wanted in [
        "Address=192.168.0.10/24",
        "Address=2001:db8:1::10/64",
        "Destination=10.20.0.0/16\nGateway=192.168.0.3",
        "Destination=169.254.169.253/32\nScope=link",
        "Destination=2001:db8:9::/48\nGateway=2001:db8:1::3",
        "Gateway=fe80::1",
        "DNS=192.168.0.2",
        "MTUBytes=1400",
        "Domains=tenant.example",
    ] {
        assert!(made.contains(wanted), "{wanted:?} is not in {made}");
    }
}

#[test]
fn network_manager_takes_the_profile_that_the_agent_wrote() {
    let seat = Seat::make(&["/etc/netplan"], Some("NetworkManager.service"));
    let path = format!(
        "/etc/NetworkManager/system-connections/mezame-{}.nmconnection",
        MAC.replace(':', "")
    );
    // It reads a profile, changes nothing of it, and writes it in its own words.
    let script = format!("nmcli --offline connection modify connection.autoconnect yes < {path}");
    let read = seat.machine.output(60, &["sh", "-c", &script]).unwrap();
    for wanted in [
        "address1=192.168.0.10/24",
        "route1=10.20.0.0/16,192.168.0.3",
        "route2=169.254.169.253/32",
        "address1=2001:db8:1::10/64,fe80::1",
        "route1=2001:db8:9::/48,2001:db8:1::3",
        "mtu=1400",
        "dns-search=tenant.example;",
    ] {
        assert!(read.contains(wanted), "{wanted:?} is not in {read}");
    }
}

/// The card has a network behind a tag.
fn trunk(documents: &mut Vec<Value>) {
    documents.insert(1, network("tenant-a", "dmz", 2000, "10.1.0.0/24"));
    seeds::port_of(documents)["vlans"] =
        json!([{"id": 100, "network": "dmz", "addresses": ["10.1.0.10"]}]);
}

/// The card is one of two of a bond; the other one is not plugged in yet.
fn bond(documents: &mut Vec<Value>) {
    seeds::port_of(documents)["bond"] = "bond0".into();
    let mut other = port("tenant-a", "other", "lan", OTHER_MAC, &["192.168.0.11"], "tapb");
    other["bond"] = "bond0".into();
    documents.insert(3, other);
    let guest = documents.iter_mut().find(|it| it["kind"] == "Instance").unwrap();
    guest["ports"] = json!(["port", "other"]);
}

fn assert_has(text: &str, all: &[&str]) {
    for wanted in all {
        assert!(text.contains(wanted), "{wanted:?} is not in {text}");
    }
}

#[test]
fn netplan_generates_a_vlan_and_a_bond_from_what_the_agent_wrote() {
    let seat = Seat::make_of(&[], None, trunk);
    let ended = seat.machine.run(60, &["netplan", "generate"]).unwrap();
    assert!(ended.status.success() && !ended.stderr.contains("rror"), "{ended:?}");
    let made = |name: &str| seat.machine.read(&format!("/run/systemd/network/10-netplan-{name}"));
    assert_has(&made("eth0.network").unwrap(), &["VLAN=eth0.100", "Address=192.168.0.10/24"]);
    assert_has(&made("eth0.100.netdev").unwrap(), &["Kind=vlan", "Id=100"]);
    assert_has(&made("eth0.100.network").unwrap(), &["Address=10.1.0.10/24"]);
    drop(seat);
    let seat = Seat::make_of(&[], None, bond);
    let ended = seat.machine.run(60, &["netplan", "generate"]).unwrap();
    assert!(ended.status.success() && !ended.stderr.contains("rror"), "{ended:?}");
    let made = |name: &str| seat.machine.read(&format!("/run/systemd/network/10-netplan-{name}"));
    let netdev = made("bond0.netdev").unwrap();
    assert_has(&netdev, &["Kind=bond", "Mode=active-backup", "FailOverMACPolicy=active"]);
    assert_has(
        &made("bond0.network").unwrap(),
        &["Address=192.168.0.10/24", "Address=192.168.0.11/24"],
    );
    for mac in [MAC, OTHER_MAC] {
        let card = made(&format!("card-{}.network", mac.replace(':', ""))).unwrap();
        assert_has(&card, &[mac, "Bond=bond0"]);
    }
}

#[test]
fn network_manager_takes_the_profiles_of_a_vlan_and_a_bond_that_the_agent_wrote() {
    let read = |seat: &Seat, name: &str| {
        let path = format!("/etc/NetworkManager/system-connections/mezame-{name}.nmconnection");
        let modify = "nmcli --offline connection modify connection.autoconnect yes";
        seat.machine.output(60, &["sh", "-c", &format!("{modify} < {path}")]).unwrap()
    };
    let unit = Some("NetworkManager.service");
    let seat = Seat::make_of(&["/etc/netplan"], unit, trunk);
    assert_has(
        &read(&seat, "eth0.100"),
        &["type=vlan", "id=100", "parent=eth0", "address1=10.1.0.10/24"],
    );
    drop(seat);
    let seat = Seat::make_of(&["/etc/netplan"], unit, bond);
    assert_has(
        &read(&seat, "bond0"),
        &["type=bond", "mode=active-backup", "fail_over_mac=active", "address1=192.168.0.10/24"],
    );
    assert_has(&read(&seat, &OTHER_MAC.replace(':', "")), &["master=bond0", "slave-type=bond"]);
}

#[test]
fn ifupdown_would_make_a_vlan_and_a_bond_by_what_the_agent_wrote() {
    let planned = |seat: &Seat, device: &str| {
        let ended = seat.machine.run(60, &["ifup", "--no-act", "--verbose", device]).unwrap();
        assert!(ended.status.success(), "{ended:?}");
        format!("{}{}", ended.stdout, ended.stderr)
    };
    let seat = Seat::make_of(&["/etc/netplan"], None, trunk);
    let wanted = ["ip link add link eth0 name eth0.100 type vlan id 100", "10.1.0.10"];
    assert_has(&planned(&seat, "eth0.100"), &wanted);
    drop(seat);
    let seat = Seat::make_of(&["/etc/netplan"], None, bond);
    let wanted = ["type bond mode active-backup miimon 100 fail_over_mac active", "192.168.0.11"];
    assert_has(&planned(&seat, "bond0"), &wanted);
}

/// Without running: this machine's kernel may know neither VLANs nor bonds.
#[test]
fn systemd_networkd_reads_each_line_of_a_vlan_and_a_bond_that_the_agent_wrote() {
    for (shape, devices) in [
        (trunk as fn(&mut Vec<Value>), ["eth0.100.netdev", "eth0.100.network"]),
        (bond, ["bond0.netdev", "bond0.network"]),
    ] {
        let seat = Seat::make_of(&["/etc/netplan"], Some("systemd-networkd.service"), shape);
        for device in devices {
            let path = format!("/etc/systemd/network/10-mezame-{device}");
            assert!(seat.machine.read(&path).is_ok(), "{path} is not there");
        }
        let boot = "mount -t tmpfs run /run; \
            install -d -o systemd-network -g systemd-network /run/systemd/netif; \
            exec env SYSTEMD_LOG_LEVEL=debug SYSTEMD_LOG_TARGET=console /usr/lib/systemd/systemd-networkd";
        let log = seat.lab.directory().join("networkd.log");
        let mut command = seat.machine.command(&["sh", "-c", boot]);
        let networkd = Background::start("systemd-networkd", &mut command, &log).unwrap();
        // It reads all files before it looks at any device.
        wait::until("what networkd says of eth0", SOON, || {
            anyhow::ensure!(networkd.log().contains("eth0: "), "nothing yet");
            Ok(())
        })
        .unwrap();
        let log = networkd.log();
        let ours: Vec<&str> = log.lines().filter(|it| it.contains("10-mezame-")).collect();
        let faults = |it: &&str| ["gnoring", "nvalid", "nknown"].iter().any(|bad| it.contains(bad));
        assert!(!ours.iter().any(faults), "{ours:#?}");
    }
}
