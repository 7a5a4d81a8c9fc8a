//! The small guest with further networks behind tags on its card, and with two cards that are one
//! device: what our agent makes of the record, and the frames that come of it on the wire.
//!
//! The hypervisor's bridge does not look at tags, and its kernel need not know any: the peers beyond it
//! are a tap's descriptor, at which frames are read and written byte by byte. The guest's kernel has
//! the modules 8021q and bonding.

use std::{net::Ipv4Addr, time::Duration};

use anyhow::{Context, Result, ensure};
use mezame_model::report::{Outcome, Report};
use mezame_tests::{
    Lab, frame,
    guest_image::GuestImage,
    operator::{instance, network, port, project},
    qemu::{Machine, QemuGuest},
    ssh::{Key, Login, SshTarget},
    tap::{Offload, Tap},
    tenant::Tenant,
    wait::{self, A_BOOT, SOON},
};
use serde_json::{Value, json};

const MACS: [&str; 2] = ["52:54:00:00:00:0a", "52:54:00:00:00:0b"];
const TAPS: [&str; 2] = ["tapa", "tapb"];
/// Somebody else on the wire.
const PEER: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0x77];

/// A guest with this many cards on one bridge, and somebody else there.
struct Site {
    server: SshTarget,
    key: Key,
    peer: Tap,
    machine: QemuGuest,
    _tenant: Tenant,
    lab: Lab,
}

impl Site {
    /// Applies what `documents` makes of the guest's own key, and boots.
    fn boot(cards: usize, documents: impl FnOnce(&Value) -> Vec<Value>) -> Self {
        let lab = Lab::start().unwrap();
        let key = Key::generate(lab.directory(), "small-key").unwrap();
        lab.operator.apply(&documents(&json!([key.public().unwrap()]))).unwrap();
        let tenant = Tenant::create(&lab.hypervisor, 1000, "192.168.0.1/24").unwrap();
        let mut taps: Vec<(String, Tap)> = Vec::new();
        for (mac, name) in MACS.iter().zip(TAPS).take(cards) {
            taps.push(((*mac).to_owned(), lab.tap(name).unwrap()));
            tenant.plug(name).unwrap();
        }
        let peer = Tap::create(&lab.hypervisor, "peer", Offload::None).unwrap();
        tenant.plug("peer").unwrap();
        let (mac, first) = taps.remove(0);
        let image = GuestImage::small(&lab.binaries.agent, lab.directory()).unwrap();
        let machine = Machine::new("small", &mac);
        let machine =
            QemuGuest::boot_with(&lab.hypervisor, &image, &machine, first, taps, lab.directory())
                .unwrap();
        let server = SshTarget::new(tenant.machine(), "192.168.0.10", lab.directory());
        let mut site = Self { server, key, peer, machine, _tenant: tenant, lab };
        let report = site.until_reported(A_BOOT, |_| true);
        let faults: Vec<_> =
            report.steps.iter().filter(|step| step.outcome == Outcome::Failed).collect();
        assert!(faults.is_empty(), "{faults:#?}\n{}", site.machine.console());
        let keys: Vec<String> = report.host_keys.iter().map(|it| it.public_key.clone()).collect();
        site.server.believe(&keys, "small").unwrap();
        site
    }

    /// Waits for a report of this kind.
    fn until_reported(&mut self, bound: Duration, wanted: impl Fn(&Report) -> bool) -> Report {
        wait::until("the agent's report", bound, || {
            self.machine.ensure_running()?;
            let all = self.lab.operator.reports("tenant-a", "guest")?;
            let found = all.into_iter().map(|stored| stored.report).find(&wanted);
            found.with_context(|| format!("none yet:\n{}", self.machine.console()))
        })
        .unwrap()
    }

    /// How many reports say that a step was taken back.
    fn taken_back(&self, step: &str) -> usize {
        let all = self.lab.operator.reports("tenant-a", "guest").unwrap();
        all.iter().filter(|stored| is_taken_back(&stored.report, step)).count()
    }

    fn try_run(&self, command: &str) -> Result<String> {
        match self.server.with_key("root", &self.key, command)? {
            Login::In(output) => Ok(output.trim().to_owned()),
            Login::Refused => anyhow::bail!("its own key was refused"),
        }
    }

    fn run(&self, command: &str) -> String {
        wait::until("a login", A_BOOT, || self.try_run(command)).unwrap()
    }

    /// Waits until a command's output is of this kind.
    fn until_says(&self, command: &str, wanted: impl Fn(&str) -> bool) {
        wait::until(command, A_BOOT, || {
            let said = self.try_run(command)?;
            ensure!(wanted(&said), "it says {said}");
            Ok(())
        })
        .unwrap();
    }

    /// Asks in a VLAN who has an address, and says by which MAC it was answered in this time.
    fn asks_once(&self, bound: Duration, vlan: u16, target: [u8; 4]) -> Option<[u8; 6]> {
        let (sender, target) = (Ipv4Addr::from(beside(target)), Ipv4Addr::from(target));
        let question = frame::tagged(&frame::arp(1, PEER, sender, target), vlan);
        self.peer.send(&question).unwrap();
        self.peer
            .receive_first(bound, |bytes| {
                let arp = behind_tag(bytes, vlan, 0x0806)?;
                let answers = arp.get(6..8)? == [0, 2] && arp.get(14..18)? == target.octets();
                answers.then(|| arp[8..14].try_into().ok()).flatten()
            })
            .unwrap()
    }

    /// Asks until it is answered, as whoever needs an address does: a question may be lost.
    fn asks(&self, vlan: u16, target: [u8; 4]) -> [u8; 6] {
        wait::until("an answer in a VLAN", SOON, || {
            let answer = self.asks_once(Duration::from_secs(1), vlan, target);
            answer.with_context(|| format!("nobody has {target:?} in VLAN {vlan}"))
        })
        .unwrap()
    }

    /// That nobody answers.
    fn asks_in_vain(&self, vlan: u16, target: [u8; 4]) {
        let answer = self.asks_once(Duration::from_secs(3), vlan, target);
        assert_eq!(answer, None, "{target:?} in VLAN {vlan}");
    }
}

/// Somebody else in the subnet of an address.
fn beside([a, b, c, _]: [u8; 4]) -> [u8; 4] {
    [a, b, c, 77]
}

/// What a frame of this VLAN and type carries.
fn behind_tag(bytes: &[u8], vlan: u16, kind: u16) -> Option<&[u8]> {
    let tag = [[0x81, 0x00], vlan.to_be_bytes(), kind.to_be_bytes()].concat();
    (bytes.get(12..18)? == tag).then(|| &bytes[18..])
}

fn trunk(vlans: &Value) -> Value {
    let mut trunk = port("tenant-a", "port", "lan", MACS[0], &["192.168.0.10"], TAPS[0]);
    trunk["vlans"] = vlans.clone();
    trunk
}

#[test]
fn a_guest_is_in_further_networks_by_tags_on_its_card_until_its_record_no_longer_says_so() {
    let both = json!([
        {"id": 100, "network": "dmz", "addresses": ["10.1.0.10"]},
        {"id": 200, "network": "far", "addresses": ["10.2.0.10"]},
    ]);
    let site = Site::boot(1, |keys| {
        let mut dmz = network("tenant-a", "dmz", 2000, "10.1.0.0/24");
        dmz["mtu"] = 1400.into();
        let mut guest = instance("tenant-a", "guest", "port", &json!({ "ssh_keys": keys }));
        guest["hostname"] = "trunk".into();
        vec![
            project("tenant-a"),
            network("tenant-a", "lan", 1000, "192.168.0.0/24"),
            dmz,
            network("tenant-a", "far", 3000, "10.2.0.0/24"),
            trunk(&both),
            guest,
        ]
    });
    let known = site.run("cat /proc/net/vlan/config");
    assert!(known.contains("eth0.100") && known.contains("eth0.200"), "{known}");
    let shown = site.run("ip address show dev eth0.100");
    assert!(shown.contains("mtu 1400") && shown.contains("10.1.0.10/24"), "{shown}");
    // In each VLAN by its own tag, and by the card's MAC.
    let mac = frame::mac(MACS[0]);
    assert_eq!(site.asks(100, [10, 1, 0, 10]), mac);
    assert_eq!(site.asks(200, [10, 2, 0, 10]), mac);
    // A VLAN of nobody's.
    site.asks_in_vain(300, [10, 2, 0, 10]);
    // And out again: the peer is known by its questions, so the guest's echo request comes at once.
    site.run("ping -c 2 -W 1 10.1.0.77 >/dev/null 2>&1 & exit 0");
    let echo = site.peer.receive_first(SOON, |bytes| {
        let ip = behind_tag(bytes, 100, 0x0800)?;
        let from_it = ip.get(12..20)? == [10, 1, 0, 10, 10, 1, 0, 77];
        (from_it && ip[9] == 1).then_some(bytes[6..12].to_vec())
    });
    assert_eq!(echo.unwrap().as_deref(), Some(&mac[..]), "an echo request with the tag");
    // One goes, the other and the card stay as they are. Of this boot nothing is known any more:
    // so a reboot leaves it, after which a network service has made both again.
    site.run(EMPTY_RUN);
    site.lab.operator.apply(&[trunk(&json!([both[0]]))]).unwrap();
    site.until_says("cat /proc/net/vlan/config", |said| !said.contains("eth0.200"));
    assert!(site.run("cat /proc/net/vlan/config").contains("eth0.100"));
    site.asks_in_vain(200, [10, 2, 0, 10]);
    assert_eq!(site.asks(100, [10, 1, 0, 10]), mac);
    // One that somebody made by hand is not the agent's to take away.
    site.run("ip link add link eth0 name mine type vlan id 7");
    site.lab.operator.apply(&[trunk(&json!([]))]).unwrap();
    site.until_says("cat /proc/net/vlan/config", |said| !said.contains("eth0.100"));
    assert!(site.run("cat /proc/net/vlan/config").contains("mine"));
}

/// Leaves of the agent's files of this boot what a reboot does.
const EMPTY_RUN: &str = "rm -rf /run/mezame-agent";

/// A port for each card, the first with these addresses.
fn cards_at(first: &[&str], bond: Option<&str>) -> Vec<Value> {
    let card = |at: usize, name: &str, addresses: &[&str]| {
        let mut card = port("tenant-a", name, "lan", MACS[at], addresses, TAPS[at]);
        if let Some(bond) = bond {
            card["bond"] = bond.into();
        }
        card
    };
    vec![card(0, "one", first), card(1, "two", &["192.168.0.11"])]
}

fn cards(bond: Option<&str>) -> Vec<Value> {
    cards_at(&["192.168.0.10"], bond)
}

/// What the service says through whichever card is in use. By nc: a static busybox has no wget that
/// looks nothing up.
const ASK: &str = "printf 'GET /latest/meta-data/local-hostname HTTP/1.0\\r\\nHost: 169.254.169.254\\r\\n\\r\\n' | \
    nc -w 5 169.254.169.254 80 | tail -n 1";

/// What is to come back with the bond: its cards, its addresses and its routes, also somebody's own.
const BOND: &str = "{ ls -d /sys/class/net/bond0/lower_*; ip -o -4 address show dev bond0; \
    ip -4 route show | grep bond0; } | sed 's/^[0-9]*: //; s/ *$//; s/ linkdown//' | sort";

/// Sets both cards down as soon as something is so, before the agent does anything more: it only runs
/// for a millisecond between two looks, in which it can't have asked the service.
fn cards_go_down_when(condition: &str) -> String {
    format!(
        "cat >/run/spoil <<'END'
for it in /proc/[0-9]*; do
    read -r name <$it/comm && [ \"$name\" = guest-agent ] && agent=${{it#/proc/}}
done
until kill -STOP $agent; {condition}; do kill -CONT $agent; usleep 1000; done
ip link set eth0 down
ip link set eth1 down
kill -CONT $agent
END
sh /run/spoil >/dev/null 2>&1 & exit 0"
    )
}

/// Has the record want another address of a bond that the agent finds and has not made, as each
/// boot's first run finds what a network service made; somebody sets the cards down as soon as it is
/// there. The bond stays the very same.
fn lose_the_service_with_a_bond_that_was_found(site: &mut Site) {
    let before = site.run(BOND);
    let number = "cat /sys/class/net/bond0/ifindex";
    let found = site.run(number);
    let earlier = site.taken_back("interface bond0");
    let spoil = cards_go_down_when("grep -q 192.168.0.12 /proc/net/fib_trie");
    site.run(&format!("{EMPTY_RUN}; rm -f /var/lib/mezame-agent/links; {spoil}"));
    site.lab.operator.apply(&cards_at(&["192.168.0.10", "192.168.0.12"], Some("bond0"))).unwrap();
    wait::until("the change to be taken back", A_BOOT, || {
        site.machine.ensure_running()?;
        ensure!(site.taken_back("interface bond0") > earlier, "{}", site.machine.console());
        Ok(())
    })
    .unwrap();
    assert_eq!(site.run(number), found);
    // Tried again, it has the address, and is the agent's.
    site.until_says(BOND, |said| said.contains("192.168.0.12"));
    site.until_says("cat /var/lib/mezame-agent/links", |said| said.contains("bond0"));
    site.lab.operator.apply(&cards(Some("bond0"))).unwrap();
    site.until_says(BOND, |said| said == before);
    assert_eq!(site.run(number), found);
}

/// Has the record give the bond another name, and back.
fn rename_the_bond(site: &Site) {
    for (new, old) in [("bond1", "bond0"), ("bond0", "bond1")] {
        site.lab.operator.apply(&cards(Some(new))).unwrap();
        let shown = "ls -d /sys/class/net/bond*/lower_* /sys/class/net/bond?";
        site.until_says(shown, |said| {
            let has = |what: &str| said.contains(&format!("{new}/{what}"));
            has("lower_eth0") && has("lower_eth1") && !said.contains(old)
        });
        site.until_says(ASK, |said| said == "pair");
    }
}

fn is_taken_back(report: &Report, step: &str) -> bool {
    report.steps.iter().any(|it| it.step == step && it.reason == "rolled-back")
}

/// Has the record want two cards again while somebody forbids the way to the service: what is asked
/// through the bond goes on, as the agent's own route is better, but no way is opened anew. So the bond
/// comes back, and only then the guest lifts that.
fn lose_the_service_with_the_bond(site: &mut Site) {
    site.run("ip route add 10.50.0.0/16 via 192.168.0.77 dev bond0 metric 77");
    let before = site.run(BOND);
    for wanted in ["lower_eth0", "lower_eth1", "192.168.0.11/24", "10.50.0.0/16", "169.254.169.254"]
    {
        assert!(before.contains(wanted), "{wanted}: {before}");
    }
    site.run(&format!(
        "{BOND} >/run/was; {EMPTY_RUN}; \
         ip route add unreachable 169.254.169.254 metric 5000; cd /sys/class/net; \
         cat >/run/wait <<'END'
while [ -e bond0 ]; do usleep 10000; done
until [ -e bond0/lower_eth0 ] && [ -e bond0/lower_eth1 ]; do usleep 10000; done
turns=0
until [ \"$(cat /run/came-back)\" = \"$(cat /run/was)\" ] || [ $turns -eq 1000 ]; do
    {BOND} >/run/came-back
    turns=$((turns + 1))
    usleep 10000
done
ip route del unreachable 169.254.169.254 metric 5000
END
         sh /run/wait >/dev/null 2>&1 & exit 0"
    ));
    site.lab.operator.apply(&cards(None)).unwrap();
    let report = site.until_reported(A_BOOT, |report| is_taken_back(report, "interface eth1"));
    let taken_back: Vec<&str> = report
        .steps
        .iter()
        .filter(|step| step.reason == "rolled-back")
        .map(|step| &*step.step)
        .collect();
    assert_eq!(taken_back, ["interface eth0", "interface eth1", "network configuration"]);
    assert_eq!(site.run("cat /run/came-back"), before);
}

#[test]
fn two_cards_become_one_device_and_two_again_and_a_bond_that_loses_the_service_is_taken_back() {
    let mut site = Site::boot(2, |keys| {
        let mut guest = instance("tenant-a", "guest", "one", &json!({ "ssh_keys": keys }));
        guest["hostname"] = "pair".into();
        guest["ports"] = json!(["one", "two"]);
        let mut documents =
            vec![project("tenant-a"), network("tenant-a", "lan", 1000, "192.168.0.0/24")];
        documents.extend(cards(None));
        documents.push(guest);
        documents
    });
    let addresses = "ip -o -4 address show | grep -v ' lo '";
    let before = site.run(addresses);
    assert!(before.contains("eth0") && before.contains("eth1"), "{before}");
    // Somebody sets the cards down as soon as both are the bond's, so the service is lost with it.
    site.run(&cards_go_down_when("[ -e /sys/class/net/bond0/lower_eth1 ]"));
    site.lab.operator.apply(&cards(Some("bond0"))).unwrap();
    let report = site.until_reported(A_BOOT, |report| {
        report.steps.iter().any(|step| step.step == "interface bond0")
    });
    let step = report.steps.iter().find(|step| step.step == "interface bond0").unwrap();
    assert_eq!((step.outcome, &*step.reason), (Outcome::Failed, "rolled-back"), "{step:?}");
    assert_eq!(site.run(addresses), before);
    assert_eq!(site.run("ls /sys/class/net | grep -c bond0 || true"), "0");
    // Left in peace, it is tried again.
    site.until_says("cat /proc/net/bonding/bond0", |said| said.contains("Slave Interface: eth1"));
    let bond = site.run("cat /proc/net/bonding/bond0");
    for line in [
        "Bonding Mode: fault-tolerance (active-backup) (fail_over_mac active)",
        "Slave Interface: eth0",
        "MII Polling Interval (ms): 100",
    ] {
        assert!(bond.contains(line), "{line}: {bond}");
    }
    let now = site.run(addresses);
    assert!(now.contains("192.168.0.10/24") && now.contains("192.168.0.11/24"), "{now}");
    assert!(now.lines().all(|line| line.contains("bond0")), "{now}");
    site.until_says(ASK, |said| said == "pair");
    // The other card, by its own MAC: the service knows the first one's address there, too.
    let active = "cat /sys/class/net/bond0/bonding/active_slave";
    let (first, other) = if site.run(active) == "eth0" { ("eth0", 1) } else { ("eth1", 0) };
    site.run(&format!("ip link set {first} down"));
    site.until_says(active, |said| said == format!("eth{other}"));
    assert_eq!(site.run("cat /sys/class/net/bond0/address"), MACS[other]);
    site.until_says(ASK, |said| said == "pair");
    site.run(&format!("ip link set {first} up"));
    rename_the_bond(&site);
    lose_the_service_with_a_bond_that_was_found(&mut site);
    lose_the_service_with_the_bond(&mut site);
    // Two cards again, as soon as it is tried once more.
    site.until_says(addresses, |said| said == before);
    assert_eq!(site.run("ls /sys/class/net | grep -c bond0 || true"), "0");
    site.until_says(ASK, |said| said == "pair");
}
