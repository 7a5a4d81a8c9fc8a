//! What is written down of VLANs and bonds, and what is taken away again.

use mezame_model::{MacAddress, document::Interface};

use super::*;
use crate::{platform::PlatformError, settings::Settings};

const FIRST: &str = "52:54:00:00:00:01";
const SECOND: &str = "52:54:00:00:00:02";

fn trunk() -> Interface {
    serde_json::from_value(serde_json::json!({
        "mac": FIRST, "mtu": 1450, "addresses": ["192.168.0.10/24"],
        "gateways": ["192.168.0.1"],
        "vlans": [
            {"id": 100, "mtu": 1400, "addresses": ["10.1.0.10/24", "2001:db8:1::10/64"],
             "dns": ["10.1.0.2"], "domain": "dmz.example",
             "routes": [{"destination": "10.9.0.0/16", "via": "10.1.0.1"}]},
            {"id": 200, "mtu": 1450, "addresses": []},
        ],
    }))
    .unwrap()
}

fn bond() -> Interface {
    serde_json::from_value(serde_json::json!({
        "mac": FIRST, "mtu": 1450, "addresses": ["192.168.0.10/24", "192.168.0.11/24"],
        "gateways": ["192.168.0.1"],
        "bond": {"name": "bond0", "mode": "active-backup", "members": [FIRST, SECOND]},
    }))
    .unwrap()
}

fn named(device: &str, interface: Interface) -> [(String, Interface); 1] {
    [(device.to_owned(), interface)]
}

/// The text of the file of this name.
fn of<'a>(files: &'a [(String, String)], name: &str) -> &'a str {
    let found = files.iter().find(|(own, _)| own == name);
    &found.unwrap_or_else(|| panic!("{name} is not among {files:?}")).1
}

#[test]
fn netplan_gets_a_vlan_by_its_card_and_a_bond_by_cards_that_have_no_addresses() {
    let text = netplan::netplan(&named("eth0", trunk()));
    let (card, vlans) = text.split_once("  vlans:\n").unwrap();
    assert!(card.contains("macaddress: \"52:54:00:00:00:01\""), "{text}");
    assert!(vlans.starts_with("    eth0.100:\n      id: 100\n      link: eth0\n      mtu: 1400\n"));
    for line in ["\"10.1.0.10/24\", \"2001:db8:1::10/64\"", "- to: \"10.9.0.0/16\"", "eth0.200:"] {
        assert!(vlans.contains(line), "{line}: {text}");
    }
    let text = netplan::netplan(&named("bond0", bond()));
    let (cards, bonds) = text.split_once("  bonds:\n").unwrap();
    assert!(!cards.contains("addresses"), "{text}");
    for line in [
        "interfaces: [card-525400000001, card-525400000002]",
        "mode: active-backup",
        "fail-over-mac-policy: active",
        "addresses: [\"192.168.0.10/24\", \"192.168.0.11/24\"]",
    ] {
        assert!(bonds.contains(line), "{line}: {text}");
    }
}

#[test]
fn networkd_gets_a_device_to_be_made_for_each_and_matches_cards_alone_by_mac() {
    let files = networkd::networkd("eth0", &trunk());
    let card = of(&files, "10-mezame-525400000001.network");
    assert!(card.contains("[Match]\nMACAddress=52:54:00:00:00:01\nType=ether\n"), "{card}");
    assert!(card.contains("VLAN=eth0.100\nVLAN=eth0.200\n"), "{card}");
    let made = of(&files, "10-mezame-eth0.100.netdev");
    assert!(made.ends_with("[NetDev]\nName=eth0.100\nKind=vlan\n\n[VLAN]\nId=100\n"), "{made}");
    let own = of(&files, "10-mezame-eth0.100.network");
    assert!(own.contains("[Match]\nName=eth0.100\n\n[Link]\nMTUBytes=1400\n"), "{own}");
    assert!(own.contains("Address=10.1.0.10/24") && !own.contains("DHCP=yes"), "{own}");
    let files = networkd::networkd("bond0", &bond());
    for mac in [FIRST, SECOND] {
        let name = format!("10-mezame-{}.network", mac.replace(':', ""));
        let card = of(&files, &name);
        assert!(card.contains("Type=ether") && card.ends_with("[Network]\nBond=bond0\n"), "{card}");
    }
    let made = of(&files, "10-mezame-bond0.netdev");
    assert!(made.contains("Mode=active-backup") && made.contains("FailOverMACPolicy=active"));
    // A card that stands for itself is written as ever.
    let plain = Interface { vlans: Vec::new(), ..trunk() };
    let files = networkd::networkd("eth0", &plain);
    assert_eq!(files.len(), 1);
    assert!(!files[0].1.contains("Type=") && !files[0].1.contains("VLAN="), "{files:?}");
}

#[test]
fn network_manager_gets_a_profile_for_each() {
    let profiles = network_manager::network_manager("eth0", &trunk());
    let vlan = of(&profiles, "mezame-eth0.100");
    assert!(vlan.contains("type=vlan\ninterface-name=eth0.100\n"), "{vlan}");
    assert!(vlan.contains("[vlan]\nid=100\nparent=eth0\n"), "{vlan}");
    assert!(vlan.contains("address1=10.1.0.10/24\n"), "{vlan}");
    let profiles = network_manager::network_manager("bond0", &bond());
    let card = of(&profiles, "mezame-525400000002");
    assert!(card.contains("master=bond0\nslave-type=bond\n") && !card.contains("[ipv4]"), "{card}");
    let own = of(&profiles, "mezame-bond0");
    assert!(own.contains("[bond]\nmode=active-backup\nmiimon=100\nfail_over_mac=active\n"));
    assert!(own.contains("address1=192.168.0.10/24,192.168.0.1\n"), "{own}");
}

#[test]
fn ifupdown_makes_the_devices_before_the_first_address() {
    let text = ifupdown::ifupdown(&named("eth0", trunk()), &[]);
    let made = "pre-up [ -d /sys/class/net/eth0.100 ] || \
        ip link add link eth0 name eth0.100 type vlan id 100\n";
    assert_eq!(text.matches(made).count(), 1, "{text}");
    assert!(text.contains("iface eth0.200 inet manual\n    mtu 1450\n    pre-up "), "{text}");
    let cards: Vec<(MacAddress, String)> = [(FIRST, "eth0"), (SECOND, "eth1")]
        .map(|(mac, name)| (mac.parse().unwrap(), name.into()))
        .into();
    let text = ifupdown::ifupdown(&named("bond0", bond()), &cards);
    assert_eq!(text.matches("ip link add bond0 type bond mode active-backup").count(), 1);
    assert_eq!(text.matches("ip link set eth1 master bond0").count(), 1, "{text}");
    assert!(!text.contains("auto eth"), "the cards have nothing of their own: {text}");
}

/// A root in which this file exists.
fn linux(marks: &[&str]) -> (tempfile::TempDir, Linux) {
    let root = tempfile::tempdir().unwrap();
    for mark in marks {
        let path = root.path().join(mark);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    let settings = Settings { root: root.path().into(), ..Settings::default() };
    let linux = Linux::new(&settings).unwrap();
    (root, linux)
}

#[test]
fn files_of_what_is_no_longer_to_be_made_are_taken_away_and_no_others() {
    for (unit, directory, mine, other, gone) in [
        (
            "systemd-networkd.service",
            "etc/systemd/network",
            "10-mezame-525400000001.network",
            "20-own.netdev",
            &["10-mezame-eth0.100.netdev", "10-mezame-eth0.100.network"][..],
        ),
        (
            "NetworkManager.service",
            "etc/NetworkManager/system-connections",
            "mezame-525400000001.nmconnection",
            "own-vlan.nmconnection",
            &["mezame-eth0.100.nmconnection"][..],
        ),
    ] {
        let mark = format!("etc/systemd/system/multi-user.target.wants/{unit}");
        let other = format!("{directory}/{other}");
        let (root, linux) = linux(&[&mark, &other]);
        let there = |name: &str| root.path().join(directory).join(name).exists();
        linux.persist_network(&named("eth0", trunk())).unwrap();
        assert!(gone.iter().all(|name| there(name)), "{unit}");
        let plain = Interface { vlans: Vec::new(), ..trunk() };
        assert_eq!(linux.persist_network(&named("eth0", plain.clone())).unwrap(), Change::Changed);
        assert!(gone.iter().all(|name| !there(name)), "{unit}");
        assert!(there(mine) && root.path().join(&other).exists(), "{unit}");
        assert_eq!(linux.persist_network(&named("eth0", plain)).unwrap(), Change::Same);
    }
}

#[test]
fn a_card_that_left_with_its_bond_is_given_to_it_no_longer() {
    for (unit, directory, of_bond, by_hand) in [
        (
            "systemd-networkd.service",
            "etc/systemd/network",
            "10-mezame-525400000002.network",
            "[Network]\nBond=bond0\n",
        ),
        (
            "NetworkManager.service",
            "etc/NetworkManager/system-connections",
            "mezame-525400000002.nmconnection",
            "[connection]\ntype=ethernet\nslave-type=bond\n",
        ),
    ] {
        let mark = format!("etc/systemd/system/multi-user.target.wants/{unit}");
        let (root, linux) = linux(&[&mark]);
        let path = root.path().join(directory).join(of_bond);
        let one = Interface { vlans: Vec::new(), ..trunk() };
        linux.persist_network(&named("bond0", bond())).unwrap();
        assert!(path.exists(), "{unit}");
        linux.persist_network(&named("eth0", one.clone())).unwrap();
        assert!(!path.exists(), "{unit}: it has nothing to be in");
        // What does not say that the agent wrote it is not the agent's, whatever its name.
        std::fs::write(&path, by_hand).unwrap();
        linux.persist_network(&named("eth0", one)).unwrap();
        assert!(path.exists(), "{unit}");
    }
}

#[test]
fn what_was_made_is_forgotten_once_no_service_would_make_it_again() {
    let (root, linux) = linux(&[]);
    let list = |text: &str| {
        let path = root.path().join("var/lib/mezame-agent/links");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        if !text.is_empty() {
            std::fs::write(&path, text).unwrap();
        }
        std::fs::read_to_string(path).unwrap()
    };
    let both = r#"[{"name":"eth0.100","form":{"vlan":{"card":"eth0","id":100}}},{"name":"eth0.7","form":{"vlan":{"card":"eth0","id":7}}}]"#;
    list(both);
    linux.persist_network(&named("eth0", trunk())).unwrap();
    let left = list("");
    assert!(left.contains("eth0.100") && !left.contains("eth0.7\""), "{left}");
    linux.persist_network(&named("eth0", Interface { vlans: Vec::new(), ..trunk() })).unwrap();
    assert_eq!(list(""), "[]");
}

#[test]
fn an_entry_is_forgotten_only_once_the_files_without_it_are_on_the_disk() {
    let (root, linux) = linux(&[]);
    let path = root.path().join("var/lib/mezame-agent/links");
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let list = r#"[{"name":"eth0.7","form":{"vlan":{"card":"eth0","id":7}}}]"#;
    std::fs::write(&path, list).unwrap();
    let known = || std::fs::read_to_string(&path).unwrap();
    let plain = named("eth0", Interface { vlans: Vec::new(), ..trunk() });
    let source = std::io::ErrorKind::StorageFull.into();
    let broken = PlatformError::File { path: "/".into(), source };
    links::forget(&linux.tree, &plain, || Err(broken)).unwrap_err();
    assert_eq!(known(), list, "the old files may still be there after a loss of power");
    let mut at_flush = String::new();
    links::forget(&linux.tree, &plain, || {
        at_flush = known();
        Ok(())
    })
    .unwrap();
    assert_eq!((&*at_flush, &*known()), (list, "[]"));
    links::forget(&linux.tree, &plain, || panic!("nothing changes")).unwrap();
}
