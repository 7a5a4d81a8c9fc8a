//! Guests that differ from their record: cards, bonds and VLANs, and who can mend that.

use super::*;

#[test]
fn a_guest_that_differs_from_its_record_is_told_where() {
    let found = |change: fn(&mut Observations)| of(change);
    let owner = Who::GuestOwner;
    let mtu = found(|seen| seen.devices[0].sight.mtu = Some(9000));
    assert_eq!(mtu, [("mtu", owner)]);
    let missing = found(|seen| seen.devices[0].link.addresses.clear());
    assert_eq!(missing, [("address-missing", owner)]);
    assert_eq!(
        found(|seen| seen.devices[0].link.mac.0[5] = 9),
        [("no-such-interface", Who::Either)]
    );
    let by_hand = found(|seen| {
        seen.configures_network = false;
        seen.devices[0].link.addresses.clear();
    });
    assert_eq!(by_hand, []);
}

/// A guest whose two cards are a bond with VLAN 7 on it, all as its record has it.
fn bonded(seen: &mut Observations) {
    let other = MacAddress([0x52, 0x54, 0, 0, 0, 2]);
    let document = document_of(json!([{
        "mac": MAC, "mtu": 1450, "addresses": ["192.168.0.10/24"],
        "bond": {"name": "bond0", "mode": "active-backup", "members": [MAC, other]},
        "vlans": [{"id": 7, "mtu": 1400, "addresses": ["10.1.0.10/20"]}],
    }]));
    let mut one = good();
    let answer = Answer { document: Some(Box::new(document)), ..ok(200, "") };
    one.document = Some(Ok(answer));
    seen.ways = vec![way(LINK_V4.into(), one)];
    let device = |index, name: &str, mac, addresses: &[&str], kind, bond| Device {
        link: Link {
            name: name.into(),
            index,
            mac,
            up: true,
            addresses: addresses.iter().map(|it| it.parse().unwrap()).collect(),
            kind,
            bond,
        },
        sight: Sight { mtu: Some(1400), ..Sight::default() },
    };
    seen.devices = vec![
        device(2, "eth0", MAC, &[], LinkKind::Card, Some(4)),
        device(3, "eth1", other, &[], LinkKind::Card, Some(4)),
        device(4, "bond0", MAC, &["192.168.0.10/24"], LinkKind::Bond { backup: true }, None),
        device(5, "bond0.7", MAC, &["10.1.0.10/20"], LinkKind::Vlan { card: 4, id: 7 }, None),
    ];
}

#[test]
fn a_bond_and_a_vlan_are_judged_by_their_own_devices() {
    let found = |change: fn(&mut Observations)| {
        of(|seen| {
            bonded(seen);
            change(seen);
        })
    };
    let owner = Who::GuestOwner;
    assert_eq!(found(|_| ()), [], "the card in use has no address by design");
    assert_eq!(
        found(|seen| drop(seen.devices.remove(1))),
        [("no-such-interface", Who::Either)],
        "each card is looked for"
    );
    assert_eq!(found(|seen| seen.devices[1].link.up = false), [("device-down", owner)]);
    assert_eq!(found(|seen| seen.devices[2].link.addresses.clear()), [("address-missing", owner)]);
    assert_eq!(found(|seen| seen.devices[3].link.addresses.clear()), [("address-missing", owner)]);
    assert_eq!(found(|seen| seen.devices[3].sight.mtu = Some(1450)), [("mtu", owner)]);
    assert_eq!(found(|seen| seen.devices[3].link.up = false), [("device-down", owner)]);
    assert_eq!(found(|seen| seen.devices.truncate(3)), [("device-missing", owner)]);
    assert_eq!(found(|seen| seen.devices.truncate(2)), [("device-missing", owner)]);
    let failed = found(|seen| {
        seen.devices.truncate(2);
        let step = json!([{"step": "interface bond0", "outcome": "failed",
            "reason": "unsupported", "milliseconds": 1}]);
        seen.agent.report = Some(report(step));
    });
    assert_eq!(failed, [("step-failed", Who::Either)], "what follows from a step that failed");
}

#[test]
fn what_is_missing_is_made_by_a_run_or_by_a_restart_of_the_agent_that_keeps_it_out() {
    let mends = |running: bool, starter: Starter| {
        let mut seen = healthy();
        bonded(&mut seen);
        seen.devices.truncate(3);
        seen.devices[2].link.addresses.clear();
        (seen.agent.running, seen.agent.starter) = (running, starter);
        let found = judge(&seen);
        let mut reasons: Vec<_> = found.iter().map(|it| it.reason).collect();
        reasons.sort_unstable();
        assert_eq!(reasons, ["address-missing", "device-missing"]);
        found.into_iter().map(|it| it.mend).collect::<Vec<_>>()
    };
    let unit = || Starter::Service { name: "a.service".into(), state: ServiceState::Enabled };
    for (running, starter, wanted) in [
        (false, unit(), "`guest-agent run`, and"),
        (true, unit(), "`systemctl restart a.service`, and"),
        (true, Starter::Nothing, "Restart the agent that runs"),
    ] {
        let mends = mends(running, starter);
        assert!(mends.iter().all(|it| it.starts_with(wanted)), "{mends:?}");
    }
}

#[test]
fn a_vlan_that_is_listed_before_its_card_is_not_taken_for_it() {
    let found = of(|seen| {
        let mut vlan = seen.devices[0].clone();
        vlan.link.kind = LinkKind::Vlan { card: 2, id: 7 };
        vlan.link.addresses.clear();
        seen.devices.insert(0, vlan);
    });
    assert_eq!(found, []);
}
