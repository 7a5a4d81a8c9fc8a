//! Which devices are the agent's: what it has made, as it is written down, against what is there.
//!
//! The list is in the agent's state and not in /run: after a reboot the network service makes the
//! same devices again, out of the files that the agent has written, and they are no less its own.
//! So an entry stays until those files no longer say it. It is only a name, and somebody may have
//! made another device of that name since: what is there is ours if it has the form, too. Nothing
//! here changes a device.

use mezame_model::document::Interface;
use serde::{Deserialize, Serialize};

use super::{cards_of, vlan_name};
use crate::{
    facts::{Link, LinkKind},
    platform::{
        Result,
        linux::tree::{Access, Tree},
    },
    settings::{LINKS, STATE},
};

/// A device that the agent made, or is to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::platform::linux::network) struct Made {
    /// Its name.
    pub(in crate::platform::linux::network) name: String,
    pub(super) form: Form,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Form {
    Vlan { card: String, id: u16 },
    Bond { cards: Vec<String> },
}

impl Made {
    pub(super) fn is_vlan(&self) -> bool {
        matches!(self.form, Form::Vlan { .. })
    }

    /// The device that is there of this name and form. A VLAN's card may have another name since;
    /// a bond of another mode is it as long as it has no card that it never had.
    pub(super) fn among<'a>(&self, links: &'a [Link]) -> Option<&'a Link> {
        let there = links.iter().find(|link| link.name == self.name)?;
        let is_it = match (&self.form, there.kind) {
            (Form::Vlan { id, .. }, LinkKind::Vlan { id: own, .. }) => *id == own,
            (Form::Bond { cards }, LinkKind::Bond { backup }) => {
                backup || names_in(links, there.index).all(|card| cards.contains(card))
            }
            _ => false,
        };
        is_it.then_some(there)
    }

    /// Whether the device that is there is all that this entry says: a bond has no further card.
    fn says(&self, links: &[Link]) -> bool {
        let Some(there) = self.among(links) else { return false };
        match &self.form {
            Form::Vlan { .. } => true,
            Form::Bond { cards } => names_in(links, there.index).all(|card| cards.contains(card)),
        }
    }
}

/// Whether a device that is to be made can be: nothing of the name is there, or it is ours, or it is
/// of the wanted form, made by the network service out of what the agent has written down.
pub(super) fn is_free(list: &[Made], links: &[Link], new: &Made) -> bool {
    let Some(there) = links.iter().find(|link| link.name == new.name) else { return true };
    match (&new.form, there.kind) {
        (Form::Vlan { card, id }, LinkKind::Vlan { card: below, id: own }) => {
            let card = links.iter().find(|link| link.name == *card);
            *id == own && card.is_some_and(|card| card.index == below)
        }
        (Form::Bond { .. }, LinkKind::Bond { backup }) => {
            let is_ours = list.iter().any(|it| it.name == new.name && it.among(links).is_some());
            backup || is_ours || names_in(links, there.index).next().is_none()
        }
        _ => false,
    }
}

/// The file of the list.
pub(super) fn path() -> String {
    format!("/{STATE}/{LINKS}")
}

/// What the agent has made, as far as it is written down.
pub(in crate::platform::linux::network) fn made(tree: &Tree) -> Result<Vec<Made>> {
    let bytes = tree.read(&path())?.unwrap_or_default();
    // Torn, it names nothing: then nothing is taken away.
    Ok(serde_json::from_slice(&bytes).unwrap_or_default())
}

/// Writes the list, so that it outlives a loss of power.
pub(in crate::platform::linux::network) fn remember(tree: &Tree, list: &[Made]) -> Result<()> {
    let json = serde_json::to_vec(list).unwrap_or_default();
    tree.edit_durably(&path(), &json, Access::root(0o600)).map(drop)
}

/// The list with this device as it is to be.
pub(super) fn with(list: &[Made], new: &Made) -> Vec<Made> {
    let others = list.iter().filter(|it| it.name != new.name);
    others.chain([new]).cloned().collect()
}

/// The list once the service's files make no more than what is wanted: what else is on it, and is
/// not there, is no longer ours should somebody make it.
pub(super) fn still_ours(list: &[Made], links: &[Link], wanted: &[Made]) -> Vec<Made> {
    let is_wanted = |old: &Made| wanted.iter().any(|new| new.name == old.name);
    list.iter().filter(|old| is_wanted(old) || old.among(links).is_some()).cloned().collect()
}

/// The devices that an interface is to have: its bond, and its VLANs.
pub(in crate::platform::linux::network) fn wanted_by(
    links: &[Link],
    device: &str,
    interface: &Interface,
) -> Vec<Made> {
    let bond = interface.bond.as_ref().map(|bond| {
        let cards = cards_of(links, bond).map(|link| link.name.clone()).collect();
        Made { name: bond.name.to_string(), form: Form::Bond { cards } }
    });
    let vlans = interface.vlans.iter().map(|vlan| {
        let id = vlan.id.into();
        let form = Form::Vlan { card: device.to_owned(), id };
        Made { name: vlan_name(device, interface.mac, id), form }
    });
    bond.into_iter().chain(vlans).collect()
}

/// The VLANs on a device that are ours and not among these.
pub(super) fn other_vlans<'a>(
    list: &'a [Made],
    links: &[Link],
    device: &str,
    wanted: &[Made],
) -> Vec<&'a Made> {
    let Some(below) = links.iter().find(|link| link.name == device) else { return Vec::new() };
    let is_other = |old: &&Made| {
        let there = old.among(links).map(|link| link.kind);
        matches!(there, Some(LinkKind::Vlan { card, .. }) if card == below.index)
            && wanted.iter().all(|new| new.name != old.name)
    };
    list.iter().filter(is_other).collect()
}

/// The bonds of ours, but for the one of this name, that have one of these cards.
pub(super) fn other_bonds<'a>(
    list: &'a [Made],
    links: &[Link],
    name: Option<&str>,
    cards: &[String],
) -> Vec<&'a Made> {
    let has_one = |bond: &Link| names_in(links, bond.index).any(|card| cards.contains(card));
    let is_other = |old: &&Made| {
        !old.is_vlan() && name != Some(&*old.name) && old.among(links).is_some_and(has_one)
    };
    list.iter().filter(is_other).collect()
}

/// Whether a bond of this name is there, is ours and has a card.
pub(super) fn has_card(list: &[Made], links: &[Link], name: &str) -> bool {
    let ours = list.iter().filter(|it| !it.is_vlan() && it.name == name);
    ours.filter_map(|it| it.among(links)).any(|bond| names_in(links, bond.index).next().is_some())
}

/// What is there of ours, and of what is wanted, as it is: all that a change may take away or take
/// over, and the VLANs of whomever on those, which go with them. What is of another form is neither.
pub(in crate::platform::linux::network) fn seen(
    list: &[Made],
    links: &[Link],
    wanted: &[Made],
) -> Vec<Made> {
    let mut seen: Vec<Made> = Vec::new();
    let taken_over = wanted.iter().filter(|it| is_free(list, links, it));
    for one in list.iter().chain(taken_over) {
        let Some(there) = one.among(links) else { continue };
        let form = match there.kind {
            LinkKind::Vlan { card, id } => {
                let below = links.iter().find(|link| link.index == card);
                let Some(card) = below.map(|link| link.name.clone()) else { continue };
                Form::Vlan { card, id }
            }
            LinkKind::Bond { .. } => {
                Form::Bond { cards: names_in(links, there.index).cloned().collect() }
            }
            LinkKind::Card => continue,
        };
        if seen.iter().all(|it| it.name != one.name) {
            seen.push(Made { name: one.name.clone(), form });
        }
    }
    add_vlans_on(&mut seen, links);
    seen
}

/// Adds every VLAN on one of these devices, and on those.
fn add_vlans_on(seen: &mut Vec<Made>, links: &[Link]) {
    let mut next = 0;
    while let Some(Made { name, .. }) = seen.get(next).cloned() {
        next += 1;
        let Some(below) = links.iter().find(|link| link.name == name) else { continue };
        for link in links {
            if let LinkKind::Vlan { card, id } = link.kind
                && card == below.index
                && seen.iter().all(|it| it.name != link.name)
            {
                let form = Form::Vlan { card: name.clone(), id };
                seen.push(Made { name: link.name.clone(), form });
            }
        }
    }
}

/// What was made since, VLANs first, as one may be on a bond: what is ours now, was not there
/// before, and was not on the list before either. Of the latter it may be the network service that
/// has made it since, as it does at a boot, and would make it again at the next one.
pub(super) fn since<'a>(
    list: &'a [Made],
    links: &[Link],
    listed: &[Made],
    before: &[Made],
) -> Vec<&'a Made> {
    let is_new = |it: &&Made| {
        it.among(links).is_some()
            && before.iter().all(|known| known.name != it.name)
            && !listed.iter().any(|known| known.name == it.name && known.says(links))
    };
    let (mut vlans, bonds): (Vec<_>, Vec<_>) =
        list.iter().filter(is_new).partition(|it| it.is_vlan());
    vlans.extend(bonds);
    vlans
}

/// What is still there of what was made since, after it should have gone: it is on neither the list
/// of before nor among what was there before.
pub(super) fn left(list: &[Made], links: &[Link], before: &[Made], there: &[Made]) -> Vec<Made> {
    let is_known = |it: &Made| before.iter().chain(there).any(|known| known.name == it.name);
    list.iter().filter(|it| !is_known(it) && it.among(links).is_some()).cloned().collect()
}

/// The names of a bond's cards.
fn names_in(links: &[Link], bond: u32) -> impl Iterator<Item = &String> {
    links.iter().filter(move |link| link.bond == Some(bond)).map(|link| &link.name)
}

#[cfg(test)]
mod tests;
