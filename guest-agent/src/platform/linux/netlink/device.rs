//! Devices that are made of others: VLANs on a card and bonds of cards (rtnetlink(7)).
//!
//! The kernel loads the module for them by itself (8021q, bonding), where it is there.

pub(in crate::platform::linux) use mezame_model::bond::MIIMON_MS;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{
        BondFailOverMac, BondMode, InfoBond, InfoData, InfoKind, InfoPortKind, InfoVlan,
        LinkAttribute, LinkInfo, LinkMessage,
    },
};

use super::Netlink;
use crate::{facts::LinkKind, platform::Result};

impl Netlink {
    /// Makes a VLAN on a card; it has the card's MAC and MTU.
    pub(in crate::platform::linux) fn make_vlan(
        &mut self,
        name: &str,
        card: u32,
        id: u16,
    ) -> Result<()> {
        let mut message = named(name);
        message.attributes.push(LinkAttribute::Link(card));
        let data = InfoData::Vlan(vec![InfoVlan::Id(id)]);
        message.attributes.push(info(InfoKind::Vlan, data));
        self.make(message, "making a VLAN")
    }

    /// Makes a bond without cards, of which one is to be used at a time, by its own MAC.
    pub(in crate::platform::linux) fn make_bond(&mut self, name: &str) -> Result<()> {
        let mut message = named(name);
        let data = InfoData::Bond(vec![
            InfoBond::Mode(BondMode::ActiveBackup),
            InfoBond::MiiMon(MIIMON_MS),
            InfoBond::FailOverMac(BondFailOverMac::Active),
        ]);
        message.attributes.push(info(InfoKind::Bond, data));
        self.make(message, "making a bond")
    }

    /// Gives a card to a bond; with 0, takes it out of the one that it is in. A card must be down
    /// to be given.
    pub(in crate::platform::linux) fn set_bond(&mut self, card: u32, bond: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = card;
        message.attributes.push(LinkAttribute::Controller(bond));
        self.change(RouteNetlinkMessage::SetLink(message), 0, "giving a card to a bond")
    }

    /// Takes such a device away, with all that is on it. A bond's cards are its own no longer.
    pub(in crate::platform::linux) fn remove_link(&mut self, index: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.change(RouteNetlinkMessage::DelLink(message), 0, "taking a device away")
    }

    fn make(&mut self, message: LinkMessage, what: &'static str) -> Result<()> {
        self.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL, what)
    }
}

fn named(name: &str) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    message
}

fn info(kind: InfoKind, data: InfoData) -> LinkAttribute {
    LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind), LinkInfo::Data(data)])
}

/// What a device is made of, and the number of the bond that it is a card of.
pub(super) fn made_of(attributes: &[LinkAttribute]) -> (LinkKind, Option<u32>) {
    let (mut below, mut above, mut infos) = (None, None, &[][..]);
    for attribute in attributes {
        match attribute {
            LinkAttribute::Link(index) => below = Some(*index),
            LinkAttribute::Controller(index) => above = Some(*index),
            LinkAttribute::LinkInfo(list) => infos = list,
            _ => {}
        }
    }
    let data = infos.iter().find_map(|info| match info {
        LinkInfo::Data(data) => Some(data),
        _ => None,
    });
    let kind = match (data, below) {
        (Some(InfoData::Vlan(list)), Some(card)) => list
            .iter()
            .find_map(|item| match item {
                InfoVlan::Id(id) => Some(LinkKind::Vlan { card, id: *id }),
                _ => None,
            })
            .unwrap_or(LinkKind::Card),
        (Some(InfoData::Bond(list)), _) => LinkKind::Bond {
            backup: list.contains(&InfoBond::Mode(BondMode::ActiveBackup))
                && list.contains(&InfoBond::FailOverMac(BondFailOverMac::Active)),
        },
        _ => LinkKind::Card,
    };
    let in_bond = infos.contains(&LinkInfo::PortKind(InfoPortKind::Bond));
    (kind, above.filter(|_| in_bond))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_told_by_what_the_kernel_says_of_it() {
        let vlan =
            [LinkAttribute::Link(2), info(InfoKind::Vlan, InfoData::Vlan(vec![InfoVlan::Id(100)]))];
        assert_eq!(made_of(&vlan), (LinkKind::Vlan { card: 2, id: 100 }, None));
        let bond = |mode| {
            let fail_over = InfoBond::FailOverMac(BondFailOverMac::Active);
            [info(InfoKind::Bond, InfoData::Bond(vec![InfoBond::Mode(mode), fail_over]))]
        };
        let (backup, robin) = (bond(BondMode::ActiveBackup), bond(BondMode::BalanceRr));
        assert_eq!(made_of(&backup), (LinkKind::Bond { backup: true }, None));
        assert_eq!(made_of(&robin), (LinkKind::Bond { backup: false }, None));
        // A bridge's port stands for itself, and a card of a bond does not.
        for (kind, bond) in [(InfoPortKind::Bond, Some(7)), (InfoPortKind::Bridge, None)] {
            let port = LinkAttribute::LinkInfo(vec![LinkInfo::PortKind(kind)]);
            let card = [LinkAttribute::Controller(7), port];
            assert_eq!(made_of(&card), (LinkKind::Card, bond));
        }
        // The other end of a pair of virtual cables is no card below.
        assert_eq!(made_of(&[LinkAttribute::Link(9)]), (LinkKind::Card, None));
    }
}
