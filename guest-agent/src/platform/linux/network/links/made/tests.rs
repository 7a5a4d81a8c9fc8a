//! What is the agent's, by lists and devices that need no kernel.

use super::*;

fn link(name: &str, index: u32, kind: LinkKind, bond: Option<u32>) -> Link {
    let mac = mezame_model::MacAddress([0x52, 0x54, 0, 0, 0, index as u8]);
    Link { name: name.into(), index, mac, up: true, addresses: Vec::new(), kind, bond }
}

fn card(name: &str, index: u32, bond: Option<u32>) -> Link {
    link(name, index, LinkKind::Card, bond)
}

const BACKUP: LinkKind = LinkKind::Bond { backup: true };
const ROBIN: LinkKind = LinkKind::Bond { backup: false };

/// A bond of two cards, the card of a VLAN, and that VLAN.
fn links() -> Vec<Link> {
    vec![
        card("eth0", 1, Some(9)),
        card("eth1", 2, Some(9)),
        card("eth2", 3, None),
        link("bond0", 9, BACKUP, None),
        link("eth2.100", 10, LinkKind::Vlan { card: 3, id: 100 }, None),
    ]
}

fn bond(name: &str, cards: &[&str]) -> Made {
    let cards = cards.iter().map(|&it| it.to_owned()).collect();
    Made { name: name.into(), form: Form::Bond { cards } }
}

fn vlan(card: &str, id: u16) -> Made {
    Made { name: format!("{card}.{id}"), form: Form::Vlan { card: card.into(), id } }
}

#[test]
fn what_was_made_is_remembered_and_a_torn_list_names_nothing() {
    let root = tempfile::tempdir().unwrap();
    let tree = Tree::open(root.path()).unwrap();
    assert_eq!(made(&tree).unwrap(), []);
    let list = [vlan("eth0", 7), bond("bond0", &["eth0"])];
    remember(&tree, &list).unwrap();
    assert_eq!(made(&tree).unwrap(), list);
    tree.write(&path(), b"[{\"name\":", Access::root(0o600)).unwrap();
    assert_eq!(made(&tree).unwrap(), []);
}

#[test]
fn the_list_is_where_a_reboot_leaves_it() {
    let root = tempfile::tempdir().unwrap();
    let tree = Tree::open(root.path()).unwrap();
    let list = [bond("bond0", &["eth0", "eth1"])];
    remember(&tree, &list).unwrap();
    assert!(!root.path().join("run").exists(), "/run is empty after a boot");
    assert_eq!(made(&tree).unwrap(), list);
}

#[test]
fn a_device_that_the_service_made_at_boot_is_taken_over_and_no_rollback_takes_it_away() {
    // As the first run after a boot finds it, with a list of nothing.
    let links = links();
    let wanted = [bond("bond0", &["eth0", "eth1"]), vlan("eth2", 100), vlan("eth2", 200)];
    assert!(wanted.iter().all(|it| is_free(&[], &links, it)));
    let before = seen(&[], &links, &wanted);
    assert_eq!(before, wanted[..2]);
    // It lists them all as its own, and makes the last.
    let mut now = links.clone();
    now.push(link("eth2.200", 11, LinkKind::Vlan { card: 3, id: 200 }, None));
    assert_eq!(since(&wanted, &now, &[], &before), [&wanted[2]]);
}

#[test]
fn what_the_service_makes_only_after_the_run_began_is_not_taken_back() {
    // On the list since an earlier boot, and not there yet when the run looked.
    let listed = [bond("bond0", &["eth0", "eth1"]), vlan("eth2", 100)];
    let now = with(&listed, &vlan("eth2", 200));
    let mut links = links();
    links.push(link("eth2.200", 11, LinkKind::Vlan { card: 3, id: 200 }, None));
    assert_eq!(since(&now, &links, &listed, &[]), [&now[2]]);
    // With a card that the service's files don't give to it, it is what the run has made of it.
    let now = with(&listed, &bond("bond0", &["eth0", "eth1", "eth2"]));
    links[2].bond = Some(9);
    assert_eq!(since(&now, &links, &listed, &[]), [&now[1]]);
}

#[test]
fn what_was_before_is_told_by_what_is_there_and_not_by_the_list() {
    let list = [bond("bond0", &["eth0"]), vlan("eth2", 7), bond("bond7", &["eth2"])];
    let wanted = [bond("bond0", &["eth2"])];
    assert_eq!(seen(&list, &links(), &wanted), [bond("bond0", &["eth0", "eth1"])]);
}

#[test]
fn vlans_of_others_on_a_bond_of_ours_were_there_before_and_others_are_not_looked_at() {
    let mut links = links();
    links.push(link("trunk.5", 11, LinkKind::Vlan { card: 12, id: 5 }, None));
    links.push(link("trunk", 12, LinkKind::Vlan { card: 9, id: 7 }, None));
    let list = [bond("bond0", &["eth0", "eth1"])];
    let of = |name: &str, card: &str, id| Made { name: name.into(), ..vlan(card, id) };
    let before = seen(&list, &links, &[]);
    let wanted = [list[0].clone(), of("trunk", "bond0", 7), of("trunk.5", "trunk", 5)];
    assert_eq!(before, wanted, "and not eth2.100");
    // They are no more ours for that.
    assert_eq!(left(&before, &links, &list, &before), []);
    assert!(other_vlans(&list, &links, "bond0", &[]).is_empty());
}

#[test]
fn what_is_new_is_taken_back_vlans_before_the_bond_below_them() {
    let mut links = links();
    links.push(link("bond0.5", 11, LinkKind::Vlan { card: 9, id: 5 }, None));
    let list = [bond("bond0", &["eth0", "eth1"]), vlan("bond0", 5), vlan("eth2", 9)];
    assert_eq!(since(&list, &links, &[], &[]), [&list[1], &list[0]]);
}

#[test]
fn a_card_that_leaves_a_bond_of_ours_takes_it_along_and_leaves_one_of_others() {
    let ours = [bond("bond0", &["eth0", "eth1"])];
    let cards = ["eth0".to_owned()];
    assert_eq!(other_bonds(&ours, &links(), None, &cards), [&ours[0]]);
    assert!(other_bonds(&[], &links(), None, &cards).is_empty());
    assert!(other_bonds(&ours, &links(), None, &["eth2".to_owned()]).is_empty());
}

#[test]
fn a_bond_under_a_new_name_takes_the_old_one_along_and_not_itself() {
    let ours = [bond("bond0", &["eth0", "eth1"])];
    let cards = ["eth0".to_owned(), "eth1".to_owned()];
    assert_eq!(other_bonds(&ours, &links(), Some("bond1"), &cards), [&ours[0]]);
    assert!(other_bonds(&ours, &links(), Some("bond0"), &cards).is_empty());
}

#[test]
fn vlans_of_ours_go_by_the_device_they_are_on_whatever_it_is_called_now() {
    let list = [vlan("eth2", 100), vlan("eth2", 7)];
    assert_eq!(other_vlans(&list, &links(), "eth2", &[]), [&list[0]]);
    assert!(other_vlans(&list, &links(), "eth2", &list).is_empty());
    assert!(other_vlans(&[], &links(), "eth2", &[]).is_empty());
    assert!(other_vlans(&list, &links(), "eth0", &[]).is_empty());
    let mut renamed = links();
    renamed[2].name = "ens3".into();
    assert_eq!(other_vlans(&list, &renamed, "ens3", &[]), [&list[0]]);
}

#[test]
fn a_device_of_our_name_and_of_another_form_is_not_ours() {
    let list = [bond("bond0", &["eth0", "eth1"]), vlan("eth2", 100)];
    let mut links = links();
    links[3].kind = ROBIN;
    assert!(list[0].among(&links).is_some(), "of another mode, with our cards alone");
    assert!(is_free(&list, &links, &list[0]) && !is_free(&[], &links, &list[0]));
    links[2].bond = Some(9);
    assert_eq!(list[0].among(&links), None);
    assert!(!is_free(&list, &links, &list[0]));
    assert_eq!(seen(&[], &links, &list[..1]), []);
    links[4].kind = LinkKind::Card;
    assert_eq!(list[1].among(&links), None);
    assert!(!is_free(&list, &links, &list[1]));
    links[4].kind = LinkKind::Vlan { card: 1, id: 100 };
    assert!(!is_free(&list, &links, &list[1]), "on another card");
}

#[test]
fn an_entry_stays_while_it_is_wanted_or_there_and_no_longer() {
    let list = [vlan("eth2", 100), vlan("eth2", 200), bond("bond7", &["eth2"])];
    assert_eq!(
        still_ours(&list, &links(), &[bond("bond7", &[])]),
        [list[0].clone(), list[2].clone()]
    );
    assert_eq!(with(&list, &bond("bond7", &["eth1"]))[2], bond("bond7", &["eth1"]));
}

#[test]
fn a_bond_leads_out_if_it_is_ours_and_has_got_a_card() {
    let list = [bond("bond0", &["eth0", "eth1"])];
    let mut links = links();
    assert!(has_card(&list, &links, "bond0"));
    assert!(!has_card(&[], &links, "bond0"), "of others");
    assert!(!has_card(&list, &links, "bond1"));
    links[0].bond = None;
    assert!(has_card(&list, &links, "bond0"));
    links[1].bond = None;
    assert!(!has_card(&list, &links, "bond0"));
}

#[test]
fn what_could_not_be_taken_back_is_still_known_and_what_others_made_is_not() {
    let list = [bond("bond0", &["eth0"]), vlan("eth2", 100), vlan("eth2", 200)];
    assert_eq!(left(&list, &links(), &list[..1], &[]), [list[1].clone()]);
    assert_eq!(left(&list, &links(), &list[..1], &list[1..2]), []);
    assert_eq!(left(&list, &links(), &list[1..], &[]), [list[0].clone()]);
}
