//! The devices that the agent makes: VLANs on a card, and bonds of cards.
//!
//! ```text
//!   a card's step: out of a bond of ours ─► card ─► each VLAN: made, configured; others of ours go
//!   a bond's step: made ─► its cards: addresses and VLANs off, down, given to it ─► configured
//! ```
//! What it made is written down in /run before it is made, so that it takes away no others. One of
//! the wanted name and form that is there already, made by the network service out of the agent's
//! own files, is taken over. Follows the kernel's Documentation/networking/bonding.rst.

use std::io;

use mezame_model::{
    MacAddress,
    document::{Bond, Interface, VlanInterface},
};
use serde::{Deserialize, Serialize};

use super::{ADDED, KINDS};
use crate::{
    facts::{Link, LinkKind},
    platform::{
        Change, PlatformError, Result,
        linux::{
            netlink::Netlink,
            tree::{Access, Tree},
        },
    },
};

/// What was made in this boot.
const MADE: &str = "/run/mezame-agent/links";

/// A device that the agent made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Made {
    /// Its name.
    pub(super) name: String,
    form: Form,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Form {
    Vlan { card: String, id: u16 },
    Bond { cards: Vec<String> },
}

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

/// What the agent has made, as far as it is written down.
pub(super) fn made(tree: &Tree) -> Result<Vec<Made>> {
    let bytes = tree.read(MADE)?.unwrap_or_default();
    // Torn, it names nothing: then nothing is taken away.
    Ok(serde_json::from_slice(&bytes).unwrap_or_default())
}

fn remember(tree: &Tree, made: &[Made]) -> Result<()> {
    let json = serde_json::to_vec(made).unwrap_or_default();
    tree.write(MADE, &json, Access::root(0o600)).map(drop)
}

/// Makes an interface's VLANs, and takes away those of ours on its device that it no longer has.
pub(super) fn make_vlans(
    netlink: &mut Netlink,
    tree: &Tree,
    device: &str,
    interface: &Interface,
) -> Result<Change> {
    let wanted: Vec<Made> = interface
        .vlans
        .iter()
        .map(|vlan| {
            let id = vlan.id.into();
            let form = Form::Vlan { card: device.to_owned(), id };
            Made { name: vlan_name(device, interface.mac, id), form }
        })
        .collect();
    let mut change = Change::Same;
    for old in made(tree)?.iter().filter(|it| it.is_vlan_on(device) && !wanted.contains(it)) {
        change = change.and(remove(netlink, tree, old)?);
    }
    for new in &wanted {
        change = change.and(make(netlink, tree, new)?);
    }
    Ok(change)
}

/// Makes a bond of those of its cards that are there.
pub(super) fn make_bond(netlink: &mut Netlink, tree: &Tree, bond: &Bond) -> Result<Change> {
    let links = netlink.links()?;
    let cards = cards_of(&links, bond).map(|link| link.name.clone()).collect();
    make(netlink, tree, &Made { name: bond.name.to_string(), form: Form::Bond { cards } })
}

/// The cards of a bond that are there.
pub(super) fn cards_of<'a>(links: &'a [Link], bond: &'a Bond) -> impl Iterator<Item = &'a Link> {
    links.iter().filter(|it| it.kind == LinkKind::Card && bond.members.contains(&it.mac))
}

/// Takes a card that is to stand for itself out of a bond that the agent made: the whole bond goes,
/// and its other cards' own steps configure them.
pub(super) fn release(netlink: &mut Netlink, tree: &Tree, device: &str) -> Result<Change> {
    let links = netlink.links()?;
    let bond = links.iter().find(|it| it.name == device).and_then(|card| card.bond);
    let Some(bond) = links.iter().find(|it| Some(it.index) == bond) else {
        return Ok(Change::Same);
    };
    match made(tree)?.iter().find(|it| it.name == bond.name) {
        Some(ours) => remove(netlink, tree, ours),
        None => Ok(Change::Same),
    }
}

/// Takes back what was made since, and makes anew what was taken away since.
pub(super) fn restore(netlink: &mut Netlink, tree: &Tree, before: &[Made]) -> Result<()> {
    let mut result = Ok(());
    let since: Vec<Made> = made(tree)?.into_iter().filter(|it| !before.contains(it)).collect();
    // VLANs first: one may be on a bond.
    let (vlans, bonds): (Vec<_>, Vec<_>) = since.iter().partition(|it| it.is_vlan());
    for new in vlans.into_iter().chain(bonds) {
        result = result.and(remove(netlink, tree, new).map(drop));
    }
    let (vlans, bonds): (Vec<_>, Vec<_>) = before.iter().partition(|it| it.is_vlan());
    for old in bonds.into_iter().chain(vlans) {
        result = result.and(make(netlink, tree, old).map(drop));
    }
    result
}

impl Made {
    fn is_vlan(&self) -> bool {
        matches!(self.form, Form::Vlan { .. })
    }

    fn is_vlan_on(&self, device: &str) -> bool {
        matches!(&self.form, Form::Vlan { card, .. } if card == device)
    }
}

/// Makes a device, unless it is there as it is to be.
fn make(netlink: &mut Netlink, tree: &Tree, new: &Made) -> Result<Change> {
    let mut list = made(tree)?;
    let ours = list.iter().any(|it| it.name == new.name);
    // What stands in the way is somebody else's, and must not be remembered as ours.
    check_way(netlink, new, ours)?;
    list.retain(|it| it.name != new.name);
    list.push(new.clone());
    remember(tree, &list)?;
    match &new.form {
        Form::Vlan { card, id } => vlan(netlink, &new.name, card, *id),
        Form::Bond { cards } => bond(netlink, tree, &new.name, cards, ours),
    }
}

/// Whether a device of the name is there that is another's, and not of the form that is wanted. One
/// that is of it was made by the network service, out of what the agent has written down.
fn check_way(netlink: &mut Netlink, new: &Made, ours: bool) -> Result<()> {
    let links = netlink.links()?;
    let Some(there) = links.iter().find(|link| link.name == new.name) else { return Ok(()) };
    match &new.form {
        Form::Vlan { card, id } => {
            let card = netlink.link(card)?.index;
            let is_it = there.kind == (LinkKind::Vlan { card, id: *id });
            if is_it { Ok(()) } else { Err(in_the_way("making a VLAN")) }
        }
        Form::Bond { .. } => match there.kind {
            LinkKind::Bond { backup: true } => Ok(()),
            LinkKind::Bond { .. } if ours || !has_cards(there.index, &links) => Ok(()),
            _ => Err(in_the_way("making a bond")),
        },
    }
}

/// Whether a bond has a card.
fn has_cards(bond: u32, links: &[Link]) -> bool {
    links.iter().any(|link| link.bond == Some(bond))
}

/// Takes away what the agent made, and forgets what it added there.
fn remove(netlink: &mut Netlink, tree: &Tree, old: &Made) -> Result<Change> {
    let mut change = Change::Same;
    if let Some(link) = netlink.links()?.iter().find(|link| link.name == old.name) {
        netlink.remove_link(link.index)?;
        change = Change::Changed;
    }
    forget_added(tree, &old.name)?;
    let mut list = made(tree)?;
    list.retain(|it| it.name != old.name);
    remember(tree, &list)?;
    Ok(change)
}

fn forget_added(tree: &Tree, device: &str) -> Result<()> {
    for kind in KINDS {
        tree.remove(&format!("{ADDED}/{device}.{kind}"))?;
    }
    Ok(())
}

fn vlan(netlink: &mut Netlink, name: &str, card: &str, id: u16) -> Result<Change> {
    let card = netlink.link(card)?;
    let links = netlink.links()?;
    match links.iter().find(|link| link.name == name) {
        Some(there) if there.kind == (LinkKind::Vlan { card: card.index, id }) => {
            return Ok(Change::Same);
        }
        Some(_) => return Err(in_the_way("making a VLAN")),
        None => netlink.make_vlan(name, card.index, id)?,
    }
    Ok(Change::Changed)
}

fn bond(
    netlink: &mut Netlink,
    tree: &Tree,
    name: &str,
    cards: &[String],
    ours: bool,
) -> Result<Change> {
    let mut change = Change::Same;
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
        Some(Link { kind: LinkKind::Bond { .. }, index, .. })
            if ours || !has_cards(index, &links) =>
        {
            netlink.remove_link(index)?;
            netlink.make_bond(name)?;
            change = Change::Changed;
            netlink.link(name)?.index
        }
        _ => return Err(in_the_way("making a bond")),
    };
    for card in netlink.links()?.iter().filter(|it| it.kind == LinkKind::Card) {
        let is_wanted = cards.contains(&card.name);
        if is_wanted && card.bond != Some(index) {
            give(netlink, tree, card, index)?;
            change = Change::Changed;
        } else if !is_wanted && card.bond == Some(index) {
            netlink.set_bond(card.index, 0)?;
            change = Change::Changed;
        }
    }
    Ok(change)
}

/// Gives a card to a bond. What comes in by it is the bond's from then on, so an address that
/// stayed on it, of whomever it is, would only answer for nobody.
fn give(netlink: &mut Netlink, tree: &Tree, card: &Link, bond: u32) -> Result<()> {
    for vlan in made(tree)?.iter().filter(|it| it.is_vlan_on(&card.name)) {
        remove(netlink, tree, vlan)?;
    }
    for address in &card.addresses {
        netlink.remove_address(card.index, *address)?;
    }
    forget_added(tree, &card.name)?;
    netlink.set_down(card.index)?;
    netlink.set_bond(card.index, bond)
}

/// Something else has the name.
fn in_the_way(what: &'static str) -> PlatformError {
    PlatformError::Network { what, source: io::ErrorKind::AlreadyExists.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vlans_device_has_a_name_that_fits() {
        let mac = MacAddress([0x52, 0x54, 0, 0xab, 0xcd, 1]);
        assert_eq!(vlan_name("eth0", mac, 100), "eth0.100");
        assert_eq!(vlan_name("enp0s31f6", mac, 4094), "enp0s31f6.4094");
        let long = vlan_name("enx525400abcd01", mac, 4094);
        assert_eq!(long, "v4094-abcd01");
        assert!(long.len() <= 15);
    }

    #[test]
    fn what_was_made_is_remembered_and_a_torn_list_names_nothing() {
        let root = tempfile::tempdir().unwrap();
        let tree = Tree::open(root.path()).unwrap();
        assert_eq!(made(&tree).unwrap(), []);
        let list = [
            Made { name: "eth0.7".into(), form: Form::Vlan { card: "eth0".into(), id: 7 } },
            Made { name: "bond0".into(), form: Form::Bond { cards: vec!["eth0".into()] } },
        ];
        remember(&tree, &list).unwrap();
        assert_eq!(made(&tree).unwrap(), list);
        assert!(list[0].is_vlan_on("eth0") && !list[0].is_vlan_on("eth1"));
        tree.write(MADE, b"[{\"name\":", Access::root(0o600)).unwrap();
        assert_eq!(made(&tree).unwrap(), []);
    }
}
