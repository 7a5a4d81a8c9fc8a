//! The guest against its record. Pure.

use mezame_model::Document;

use super::{agent, way};
use crate::doctor::{
    finding::{Finding, Who},
    observation::Observations,
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
        let mac = interface.mac;
        let Some(device) = seen.devices.iter().find(|it| it.link.mac == mac) else {
            let wrong = format!("the record has a card {mac}, and this guest has none such");
            let mend = "Have the card added (or its driver loaded), or the port taken out of the \
                 instance's `ports`.";
            findings.push(Finding::new("no-such-interface", Who::Either, wrong, mend));
            continue;
        };
        let name = &device.link.name;
        // Before its first run in a boot the agent brings them up by itself.
        if !device.link.up && agent::has_run(seen) {
            let wrong = format!("{name} is set down");
            let mend = format!("`ip link set {name} up`, then `guest-agent run`.");
            findings.push(
                Finding::new("device-down", Who::GuestOwner, wrong, &mend)
                    .seen("the kernel says so; the agent had set it up in this boot")
                    .seen("brought up for the walk, and set down again, it leads to the service"),
            );
        }
    }
    findings
}

/// Settings of devices that differ from the record, though the agent has run in this boot.
pub(super) fn settings(seen: &Observations, document: &Document) -> Vec<Finding> {
    if !seen.configures_network {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for interface in &document.interfaces {
        let Some(device) = seen.devices.iter().find(|it| it.link.mac == interface.mac) else {
            continue;
        };
        let name = &device.link.name;
        if !device.link.up {
            continue;
        }
        let mtu = device.sight.mtu.filter(|mtu| *mtu > u32::from(interface.mtu));
        if let Some(mtu) = mtu {
            let wrong = format!(
                "{name} has an MTU of {mtu}, and its network one of {}: longer packets get lost",
                interface.mtu
            );
            let mend = format!("`ip link set {name} mtu {}`, or `guest-agent run`.", interface.mtu);
            findings.push(Finding::new("mtu", Who::GuestOwner, wrong, &mend));
        }
        let missing: Vec<String> = interface
            .addresses
            .iter()
            .filter(|it| !device.link.addresses.contains(it))
            .map(ToString::to_string)
            .collect();
        if !missing.is_empty() {
            let wrong = format!("{name} lacks {} of its record", missing.join(", "));
            let mend = "`guest-agent run`, and find out what has taken it off (a DHCP client, a \
                 network service that was restarted?).";
            findings.push(Finding::new("address-missing", Who::GuestOwner, wrong, mend));
        }
    }
    findings
}
