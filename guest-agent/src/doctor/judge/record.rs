//! The guest against its record. Pure.

use ipnetwork::IpNetwork;
use mezame_model::{BondName, Document, MacAddress, document::Interface, report::Outcome};

use super::{agent, way};
use crate::{
    doctor::{
        finding::{Finding, Who},
        observation::{Device, Observations},
    },
    facts::LinkKind,
};

/// The document, by whichever way it came.
pub(super) fn document(seen: &Observations) -> Option<&Document> {
    seen.ways.iter().find_map(way::document)
}

/// Devices that keep the guest from what its record says, though the service is reached.
pub(super) fn devices(seen: &Observations) -> Vec<Finding> {
    let Some(document) = document(seen) else { return Vec::new() };
    let mut findings = Vec::new();
    for interface in &document.interfaces {
        for mac in interface.cards().iter().filter(|mac| card(seen, **mac).is_none()) {
            let wrong = format!("the record has a card {mac}, and this guest has none such");
            let mend = "Have the card added (or its driver loaded), or the port taken out of the \
                 instance's `ports`.";
            findings.push(Finding::new("no-such-interface", Who::Either, wrong, mend));
        }
        // Before its first run in a boot the agent makes and brings up all by itself.
        if agent::has_run(seen) {
            let wanted = wanted(seen, interface);
            findings.extend(wanted.iter().filter_map(|it| missing(seen, it)));
            let cards = interface.cards().iter().filter_map(|mac| card(seen, *mac));
            let others = wanted.iter().filter_map(|it| it.device);
            let mut all: Vec<&Device> = Vec::new();
            for device in cards.chain(others) {
                if !all.contains(&device) {
                    all.push(device);
                }
            }
            findings.extend(all.into_iter().filter_map(|it| down(seen, it)));
        }
    }
    findings
}

fn down(seen: &Observations, device: &Device) -> Option<Finding> {
    if device.link.up {
        return None;
    }
    let name = &device.link.name;
    let wrong = format!("{name} is set down");
    let mend = format!("`ip link set {name} up`. Then: {}.", agent::run_again(seen));
    let finding = Finding::new("device-down", Who::GuestOwner, wrong, &mend)
        .seen("the kernel says so; the agent had set it up in this boot");
    if !device.link.leads_out() {
        return Some(finding);
    }
    Some(finding.seen("brought up for the walk, and set down again, it leads to the service"))
}

/// A bond or a VLAN that is not there. Where its step has failed, that is told instead.
fn missing(seen: &Observations, wanted: &Wanted<'_>) -> Option<Finding> {
    if wanted.device.is_some() || !seen.configures_network {
        return None;
    }
    let failed = seen.agent.report.iter().flat_map(|report| &report.steps).any(|step| {
        let of = step.step.strip_prefix("interface ");
        step.outcome == Outcome::Failed && (of == Some(&wanted.name) || of == Some(wanted.on))
    });
    if failed {
        return None;
    }
    let wrong = format!("the record has {}, and it is not there any more", wanted.name);
    let mend = format!(
        "{}, and find out what has taken it away (a network service that was restarted?).",
        agent::run_again(seen)
    );
    Some(Finding::new("device-missing", Who::GuestOwner, wrong, &mend))
}

/// A device that the record wants, and what it is to have.
struct Wanted<'a> {
    /// Its name; of a VLAN, as people write it.
    name: String,
    /// The name of the device that its step is called by.
    on: &'a str,
    /// None where a bond or a VLAN is not there.
    device: Option<&'a Device>,
    mtu: u16,
    addresses: &'a [IpNetwork],
}

/// The devices of an interface of which any card is there: the card or the bond, and its VLANs.
fn wanted<'a>(seen: &'a Observations, interface: &'a Interface) -> Vec<Wanted<'a>> {
    let mut cards = interface.cards().iter().filter_map(|mac| card(seen, *mac));
    let Some(first) = cards.next() else { return Vec::new() };
    let (on, device) = match &interface.bond {
        // By its name: it has the MAC of whichever card is in use, and that card has no address.
        Some(bond) => (bond.name.as_str(), seen.devices.iter().find(|it| is_bond(it, &bond.name))),
        None => (first.link.name.as_str(), Some(first)),
    };
    let mut all = vec![Wanted {
        name: on.to_owned(),
        on,
        device,
        mtu: interface.mtu,
        addresses: &interface.addresses,
    }];
    let Some(below) = device else { return all };
    all.extend(interface.vlans.iter().map(|vlan| {
        let kind = LinkKind::Vlan { card: below.link.index, id: vlan.id.into() };
        Wanted {
            name: format!("{on}.{}", vlan.id),
            on,
            device: seen.devices.iter().find(|it| it.link.kind == kind),
            mtu: vlan.mtu,
            addresses: &vlan.addresses,
        }
    }));
    all
}

/// The card with a MAC: a bond, and each VLAN, has the same one as a card below it.
fn card(seen: &Observations, mac: MacAddress) -> Option<&Device> {
    seen.devices.iter().find(|it| it.link.mac == mac && it.link.kind == LinkKind::Card)
}

fn is_bond(device: &Device, name: &BondName) -> bool {
    device.link.name == name.as_str() && matches!(device.link.kind, LinkKind::Bond { .. })
}

/// Settings of devices that differ from the record, though the agent has run in this boot.
pub(super) fn settings(seen: &Observations, document: &Document) -> Vec<Finding> {
    if !seen.configures_network {
        return Vec::new();
    }
    let of = |interface| wanted(seen, interface);
    document.interfaces.iter().flat_map(of).flat_map(|it| differing(seen, &it)).collect()
}

fn differing(seen: &Observations, wanted: &Wanted<'_>) -> Vec<Finding> {
    let Some(device) = wanted.device.filter(|it| it.link.up) else { return Vec::new() };
    let mut findings = Vec::new();
    let name = &device.link.name;
    if let Some(mtu) = device.sight.mtu.filter(|mtu| *mtu > u32::from(wanted.mtu)) {
        let wrong = format!(
            "{name} has an MTU of {mtu}, and its network one of {}: longer packets get lost",
            wanted.mtu
        );
        let mend =
            format!("`ip link set {name} mtu {}`, or: {}.", wanted.mtu, agent::run_again(seen));
        findings.push(Finding::new("mtu", Who::GuestOwner, wrong, &mend));
    }
    let missing: Vec<String> = wanted
        .addresses
        .iter()
        .filter(|it| !device.link.addresses.contains(it))
        .map(ToString::to_string)
        .collect();
    if !missing.is_empty() {
        let wrong = format!("{name} lacks {} of its record", missing.join(", "));
        let mend = format!(
            "{}, and find out what has taken it off (a DHCP client, a network service that was \
             restarted?).",
            agent::run_again(seen)
        );
        findings.push(Finding::new("address-missing", Who::GuestOwner, wrong, &mend));
    }
    findings
}
