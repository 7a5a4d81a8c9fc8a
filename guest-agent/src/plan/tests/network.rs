//! Bonds and VLANs as steps, and what becomes of them elsewhere than on Linux.

use super::*;

/// The facts of a guest with two cards, on this system.
fn two_cards(system: System) -> crate::facts::Facts {
    let mut facts = facts();
    facts.system = system;
    let second = "52:54:00:00:00:02".parse().unwrap();
    facts.links.push(Link { name: "eth1".into(), index: 3, mac: second, ..facts.links[0].clone() });
    // What lies on a card has its MAC, and is none.
    let kind = LinkKind::Vlan { card: 2, id: 7 };
    facts.links.insert(0, Link { name: "eth0.7".into(), kind, ..facts.links[0].clone() });
    facts
}

fn network_of(interfaces: serde_json::Value, system: System) -> Vec<String> {
    let document = document(json!({ "interfaces": interfaces }));
    let history = History::default().entering(&document.instance_id, "boot-1");
    let none = user_data::parse(b"");
    let text = plan(&document, &none, &none, &two_cards(system), &history, Mode::Boot).to_string();
    let about = |line: &&str| line.contains("interface ") || line.contains("network");
    text.lines().filter(about).map(str::to_owned).collect()
}

const BOND: &str = r#"[{"mac": "52:54:00:00:00:01", "mtu": 1450, "addresses": ["192.168.0.10/24"],
    "bond": {"name": "bond0", "mode": "active-backup",
             "members": ["52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03"]}}]"#;
const TRUNK: &str = r#"[{"mac": "52:54:00:00:00:01", "mtu": 1450, "addresses": ["192.168.0.10/24"],
    "vlans": [{"id": 100, "mtu": 1400, "addresses": ["10.1.0.10/24"]}]}]"#;

#[test]
fn a_bond_is_one_step_of_the_cards_that_are_there_and_vlans_are_the_cards_step() {
    let lines = network_of(serde_json::from_str(BOND).unwrap(), System::Unix);
    let [missing, bond, written] = &lines[..] else { panic!("{lines:#?}") };
    assert!(missing.starts_with("skip    interface 52:54:00:00:00:03: no-such-interface"));
    assert!(
        bond.starts_with("do      interface bond0: configure bond0 (52:54:00:00:00:01)"),
        "{bond}"
    );
    assert!(bond.contains("a bond (active-backup) of ["), "{bond}");
    assert!(written.contains("the network configuration of bond0"), "{written}");
    let lines = network_of(serde_json::from_str(TRUNK).unwrap(), System::Unix);
    let [card, _] = &lines[..] else { panic!("{lines:#?}") };
    assert!(card.starts_with("do      interface eth0: "), "{card}");
    assert!(card.contains(", VLAN 100: mtu 1400, addresses 10.1.0.10/24"), "{card}");
}

#[test]
fn what_is_made_on_linux_alone_is_told_elsewhere_and_the_first_card_is_configured() {
    let lines = network_of(serde_json::from_str(BOND).unwrap(), System::Windows);
    let told: Vec<&String> = lines.iter().filter(|line| line.contains("unsupported")).collect();
    assert!(told[0].contains("interface bond0: unsupported: bonds are made on Linux alone"));
    assert!(lines.iter().any(|it| it.starts_with("do      interface eth0: ")), "{lines:#?}");
    let lines = network_of(serde_json::from_str(TRUNK).unwrap(), System::Windows);
    let told: Vec<&String> = lines.iter().filter(|line| line.contains("unsupported")).collect();
    assert!(told[0].contains("interface eth0.100: unsupported: VLANs"), "{lines:#?}");
    let card = lines.iter().find(|it| it.starts_with("do      interface eth0: ")).unwrap();
    assert!(!card.contains("VLAN"), "{card}");
}
