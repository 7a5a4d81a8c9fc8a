//! The devices that the agent makes: VLANs on a card, and bonds of cards.
//!
//! ```text
//!   a card's step: out of a bond of ours ─► card ─► each VLAN: made, configured; others of ours go
//!   a bond's step: made ─► its cards: addresses and VLANs off, down, given to it ─► configured
//! ```
//! What it made is written down before it is made, so that it takes away no others, and stays so
//! over a reboot: after it the network service makes the same out of the agent's own files. One of
//! the wanted name and form that is there already is taken over. Follows the kernel's
//! Documentation/networking/bonding.rst.

pub(super) mod made;

use std::io;

use mezame_model::{
    MacAddress,
    document::{Bond, Interface, VlanInterface},
};

use self::made::{Form, Made, made, remember};
use super::device::Device;
use crate::{
    facts::{Link, LinkKind},
    platform::{
        Change, PlatformError, Result,
        linux::{netlink::Netlink, tree::Tree},
    },
};

/// The name of a VLAN's device: the card's and the tag's, as everybody writes it, where it fits the
/// kernel's 15 bytes; else the tag's and the end of the MAC.
pub(in crate::platform::linux) fn vlan_name(card: &str, mac: MacAddress, id: u16) -> String {
    let usual = format!("{card}.{id}");
    let [_, _, _, a, b, c] = mac.0;
    if usual.len() <= 15 { usual } else { format!("v{id}-{a:02x}{b:02x}{c:02x}") }
}

/// A VLAN as an interface of its own.
pub(in crate::platform::linux) fn vlan_interface(
    vlan: &VlanInterface,
    mac: MacAddress,
) -> Interface {
    Interface {
        mac,
        mtu: vlan.mtu,
        addresses: vlan.addresses.clone(),
        gateways: Vec::new(),
        // The platform answers no frame with a tag: a route to it here would cut it off the card.
        dns: vlan
            .dns
            .iter()
            .copied()
            .filter(|it| !mezame_model::service_address::ALL.contains(it))
            .collect(),
        domain: vlan.domain.clone(),
        routes: vlan.routes.clone(),
        vlans: Vec::new(),
        bond: None,
    }
}

/// The devices of an interface's VLANs.
pub(in crate::platform::linux) fn vlans_of(
    device: &str,
    interface: &Interface,
) -> Vec<(String, Interface)> {
    let of = |vlan: &VlanInterface| {
        let name = vlan_name(device, interface.mac, vlan.id.into());
        (name, vlan_interface(vlan, interface.mac))
    };
    interface.vlans.iter().map(of).collect()
}

/// Makes an interface's VLANs, and takes away those of ours on its device that it no longer has.
pub(super) fn make_vlans(
    netlink: &mut Netlink,
    tree: &Tree,
    device: &str,
    interface: &Interface,
) -> Result<Change> {
    let links = netlink.links()?;
    let wanted = made::wanted_by(&links, device, interface);
    let list = made(tree)?;
    let mut change = Change::Same;
    for old in made::other_vlans(&list, &links, device, &wanted) {
        change = change.and(remove(netlink, tree, old)?);
    }
    for new in wanted.iter().filter(|it| it.is_vlan()) {
        change = change.and(make(netlink, tree, new)?);
    }
    Ok(change)
}

/// Makes an interface's bond, if it is one, of those of its cards that are there.
pub(super) fn make_bond(
    netlink: &mut Netlink,
    tree: &Tree,
    device: &str,
    interface: &Interface,
) -> Result<Change> {
    let mut change = Change::Same;
    let wanted = made::wanted_by(&netlink.links()?, device, interface);
    for new in wanted.iter().filter(|it| !it.is_vlan()) {
        change = change.and(make(netlink, tree, new)?);
    }
    Ok(change)
}

/// Whether an interface is a bond that is there, is ours and has a card: one that could be given
/// only some of its cards still leads out.
pub(super) fn leads_out(netlink: &mut Netlink, tree: &Tree, interface: &Interface) -> Result<bool> {
    let Some(bond) = &interface.bond else { return Ok(false) };
    Ok(made::has_card(&made(tree)?, &netlink.links()?, bond.name.as_str()))
}

/// The cards of a bond that are there.
pub(super) fn cards_of<'a>(links: &'a [Link], bond: &'a Bond) -> impl Iterator<Item = &'a Link> {
    links.iter().filter(|it| it.kind == LinkKind::Card && bond.members.contains(&it.mac))
}

/// Takes cards that are to stand for themselves, or to be in the bond of this name, out of another
/// bond that the agent made: the whole bond goes, and its other cards' own steps configure them.
pub(super) fn release(
    netlink: &mut Netlink,
    tree: &Tree,
    cards: &[String],
    bond: Option<&str>,
) -> Result<Change> {
    let list = made(tree)?;
    let mut change = Change::Same;
    for old in made::other_bonds(&list, &netlink.links()?, bond, cards) {
        change = change.and(remove(netlink, tree, old)?);
    }
    Ok(change)
}

/// Takes back what was made since, and makes anew what was taken away since. What was there before
/// stays, whoever made it; and what was on the list before, which the network service makes.
pub(super) fn restore(
    netlink: &mut Netlink,
    tree: &Tree,
    list: &[Made],
    there: &[Made],
) -> Result<()> {
    let mut result = Ok(());
    let now = made(tree)?;
    for new in made::since(&now, &netlink.links()?, list, there) {
        result = result.and(remove(netlink, tree, new).map(drop));
    }
    let (vlans, bonds): (Vec<_>, Vec<_>) = there.iter().partition(|it| it.is_vlan());
    for old in bonds.into_iter().chain(vlans) {
        // Not written down: one that others made is never ours.
        result = result.and(bring(netlink, tree, &now, old).map(drop));
    }
    // What could not be taken back is still known for the next time, and what could not be made
    // anew stays ours: the service's files say it.
    let left = made::left(&made(tree)?, &netlink.links()?, list, there);
    result.and(remember(tree, &[list, &left].concat()))
}

/// Forgets what the service's files no longer make, now that they say these interfaces. They are
/// flushed to the disk before: after a loss of power they must not make what the list has lost.
pub(in crate::platform::linux) fn forget(
    tree: &Tree,
    interfaces: &[(String, Interface)],
    flush: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let list = made(tree)?;
    if list.is_empty() {
        return Ok(());
    }
    let links = Netlink::open()?.links()?;
    let wanted = interfaces.iter().flat_map(|(device, it)| made::wanted_by(&links, device, it));
    let left = made::still_ours(&list, &links, &wanted.collect::<Vec<_>>());
    if left == list {
        return Ok(());
    }
    flush()?;
    remember(tree, &left)
}

/// Makes a device, unless it is there as it is to be, and writes down that it is ours.
fn make(netlink: &mut Netlink, tree: &Tree, new: &Made) -> Result<Change> {
    let list = made(tree)?;
    // What stands in the way is somebody else's, and must not be remembered as ours.
    free(netlink, &list, new)?;
    remember(tree, &made::with(&list, new))?;
    let result = bring(netlink, tree, &list, new);
    // Nor may one be that somebody makes after we could not; one that was ours before stays so.
    if result.is_err() && netlink.links()?.iter().all(|link| link.name != new.name) {
        remember(tree, &list)?;
    }
    result
}

/// Makes a device, unless it is there as it is to be; `list` is of what was ours before.
fn bring(netlink: &mut Netlink, tree: &Tree, list: &[Made], new: &Made) -> Result<Change> {
    free(netlink, list, new)?;
    match &new.form {
        Form::Vlan { card, id } => vlan(netlink, &new.name, card, *id),
        Form::Bond { cards } => bond(netlink, tree, list, new, cards),
    }
}

/// Whether nothing stands in a device's way.
fn free(netlink: &mut Netlink, list: &[Made], new: &Made) -> Result<()> {
    if made::is_free(list, &netlink.links()?, new) {
        return Ok(());
    }
    Err(in_the_way(match new.form {
        Form::Vlan { .. } => "making a VLAN",
        Form::Bond { .. } => "making a bond",
    }))
}

/// Takes away what the agent made, and forgets what it added there. It stays on the list: the
/// service's files still say it, and would make it again at a boot before they are written anew.
fn remove(netlink: &mut Netlink, tree: &Tree, old: &Made) -> Result<Change> {
    let mut change = Change::Same;
    if let Some(link) = old.among(&netlink.links()?) {
        netlink.remove_link(link.index)?;
        change = Change::Changed;
    }
    forget_added(tree, &old.name)?;
    Ok(change)
}

fn forget_added(tree: &Tree, device: &str) -> Result<()> {
    for path in super::added_to(device) {
        tree.remove(&path)?;
    }
    Ok(())
}

fn vlan(netlink: &mut Netlink, name: &str, card: &str, id: u16) -> Result<Change> {
    let links = netlink.links()?;
    if links.iter().any(|link| link.name == name) {
        return Ok(Change::Same);
    }
    let card = netlink.link(card)?.index;
    netlink.make_vlan(name, card, id)?;
    Ok(Change::Changed)
}

/// The bond of these cards; `list` is of what was ours before.
fn bond(
    netlink: &mut Netlink,
    tree: &Tree,
    list: &[Made],
    new: &Made,
    cards: &[String],
) -> Result<Change> {
    let name = &*new.name;
    let mut change = release(netlink, tree, cards, Some(name))?;
    let mut links = netlink.links()?;
    let mut there = links.iter().find(|link| link.name == name).cloned();
    if there.is_none() {
        let made = netlink.make_bond(name);
        links = netlink.links()?;
        there = links.iter().find(|link| link.name == name).cloned();
        // The module, loaded for this very request, makes a bond0 of its own by default.
        if there.is_none() {
            made?;
        }
        change = Change::Changed;
    }
    let index = match there {
        Some(Link { kind: LinkKind::Bond { backup: true }, index, .. }) => index,
        // The module's, or ours with another mode.
        Some(Link { kind: LinkKind::Bond { .. }, index, .. })
            if made::is_free(list, &links, new) =>
        {
            netlink.remove_link(index)?;
            netlink.make_bond(name)?;
            change = Change::Changed;
            netlink.link(name)?.index
        }
        _ => return Err(in_the_way("making a bond")),
    };
    let links = netlink.links()?;
    let all = links.iter().filter(|it| it.kind == LinkKind::Card);
    let deeds = all.map(|card| match (cards.contains(&card.name), card.bond == Some(index)) {
        (true, false) => give(netlink, tree, card, index).map(|()| Change::Changed),
        (false, true) => netlink.set_bond(card.index, 0).map(|()| Change::Changed),
        _ => Ok(Change::Same),
    });
    Ok(change.and(Change::of_all(deeds)?))
}

/// Gives a card to a bond. What comes in by it is the bond's from then on, so an address that
/// stayed on it, of whomever it is, would only answer for nobody. A card that is refused is as it
/// was: it may be the one by which the guest is reached.
fn give(netlink: &mut Netlink, tree: &Tree, card: &Link, bond: u32) -> Result<()> {
    let before = Device::look(netlink, card)?;
    let given = netlink.set_down(card.index).and_then(|()| netlink.set_bond(card.index, bond));
    if given.is_err() {
        if card.up {
            let _ = before.put_back(netlink, 0);
        }
        return given;
    }
    let list = made(tree)?;
    for vlan in made::other_vlans(&list, &netlink.links()?, &card.name, &[]) {
        remove(netlink, tree, vlan)?;
    }
    for address in netlink.link(&card.name)?.addresses {
        netlink.remove_address(card.index, address)?;
    }
    forget_added(tree, &card.name)
}

/// Something else has the name.
fn in_the_way(what: &'static str) -> PlatformError {
    PlatformError::Network { what, source: io::ErrorKind::AlreadyExists.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::platform::linux::link_local6::tests::with_devices;

    #[test]
    fn a_vlans_device_has_a_name_that_fits() {
        let mac = MacAddress([0x52, 0x54, 0, 0xab, 0xcd, 1]);
        assert_eq!(vlan_name("eth0", mac, 100), "eth0.100");
        assert_eq!(vlan_name("enp0s31f6", mac, 4094), "enp0s31f6.4094");
        let long = vlan_name("enx525400abcd01", mac, 4094);
        assert_eq!(long, "v4094-abcd01");
        assert!(long.len() <= 15);
    }

    /// The kernel refuses a bond that is not there whether or not it has the module.
    #[test]
    fn a_card_that_no_bond_takes_keeps_its_addresses_its_routes_and_what_the_agent_has_added() {
        with_devices(|_, [card, _]| {
            let root = tempfile::tempdir().unwrap();
            let tree = Tree::open(root.path()).unwrap();
            let interface: Interface = serde_json::from_value(serde_json::json!({
                "mac": "52:54:00:00:00:01", "mtu": 1450, "gateways": ["10.0.0.1"],
                "addresses": ["10.0.0.9/24", "2001:db8::10/64"],
            }))
            .unwrap();
            super::super::configure(&tree, card, &interface).unwrap();
            let mut netlink = Netlink::open().unwrap();
            let link = netlink.link(card).unwrap();
            let routes = netlink.routes(link.index).unwrap();
            give(&mut netlink, &tree, &link, 99_999).unwrap_err();
            let now = netlink.link(card).unwrap();
            assert!(now.up);
            assert!(interface.addresses.iter().all(|it| now.addresses.contains(it)), "{now:?}");
            let now = netlink.routes(link.index).unwrap();
            assert!(routes.iter().all(|it| now.contains(it)), "{routes:?}, {now:?}");
            assert!(tree.read(&super::super::added_to(card).next().unwrap()).unwrap().is_some());
        });
    }

    /// The kernel refuses a VLAN above 4094 whether or not it has the module.
    #[test]
    fn what_could_not_be_made_is_not_ours_when_somebody_makes_it_later() {
        with_devices(|_, [card, _]| {
            let root = tempfile::tempdir().unwrap();
            let tree = Tree::open(root.path()).unwrap();
            let form = Form::Vlan { card: card.to_owned(), id: 5000 };
            let new = Made { name: "mzv6a.5000".into(), form };
            let mut netlink = Netlink::open().unwrap();
            make(&mut netlink, &tree, &new).unwrap_err();
            assert_eq!(made(&tree).unwrap(), []);
        });
    }

    /// Likewise.
    #[test]
    fn what_was_ours_before_stays_so_where_it_can_not_be_made_again() {
        with_devices(|_, [card, _]| {
            let root = tempfile::tempdir().unwrap();
            let tree = Tree::open(root.path()).unwrap();
            let of = |card: &str, id| Form::Vlan { card: card.to_owned(), id };
            let old = Made { name: "mzv6a.5000".into(), form: of("gone", 5) };
            let new = Made { form: of(card, 5000), ..old.clone() };
            let mut netlink = Netlink::open().unwrap();
            remember(&tree, std::slice::from_ref(&old)).unwrap();
            make(&mut netlink, &tree, &new).unwrap_err();
            assert_eq!(made(&tree).unwrap(), [old]);
            // A change has made another, and that one can't be brought back.
            let other = Made { name: "mzv6a.7".into(), form: of(card, 7) };
            let list = [new];
            remember(&tree, &[list[0].clone(), other]).unwrap();
            restore(&mut netlink, &tree, &list, &list).unwrap_err();
            assert_eq!(made(&tree).unwrap(), list);
        });
    }
}
