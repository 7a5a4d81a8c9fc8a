//! The agent's document and its tag.
//!
//! The tag covers what the guest itself can see and not the snapshot's generation: a write for
//! another tenant must not wake everybody. Nor the base64 of user-data but its bytes, so that
//! asking whether something changed costs no rendering.

use bytes::Bytes;
use mezame_model::{
    BondMode, Dialect, Document, Generation, GuestPort, Password, Route,
    document::{Bond, Interface, VlanInterface},
    guest::{GuestInterface, GuestVlan},
};

use crate::{
    etag, network_config,
    response::{Audit, JSON},
    tree::{Body, Scope},
    view::waiting_secrets,
};

/// The document as a leaf.
pub(super) fn read(scope: &Scope<'_>) -> Body {
    let instance = &scope.guest.instance;
    let mut document = without_data(scope);
    let tag = tag(&document, scope);
    document.generation = scope.context.generation;
    document.user_data.clone_from(&instance.user_data);
    document.vendor_data.clone_from(&instance.vendor_data);
    // Serializing plain values fails only where a map's key is no text; there is none.
    let json = serde_json::to_vec(&document).unwrap_or_default();
    let hashed = instance.users.iter().filter(|it| matches!(it.password, Some(Password::Hash(_))));
    let hashed: Vec<_> = hashed.map(|user| user.name.clone()).collect();
    Body {
        content_type: JSON,
        bytes: Bytes::from(json),
        etag: Some(tag),
        audit: (!hashed.is_empty()).then_some(Audit::PasswordHashes(hashed)),
    }
}

/// The tag of the document as it is now.
pub(super) fn tag_now(scope: &Scope<'_>) -> u64 {
    tag(&without_data(scope), scope)
}

/// The document without generation, user-data and vendor-data.
fn without_data(scope: &Scope<'_>) -> Document {
    let instance = &scope.guest.instance;
    Document {
        version: Document::VERSION,
        generation: Generation::ZERO,
        instance_id: instance.id.clone(),
        name: instance.name.clone(),
        hostname: scope.guest.fqdn(),
        ssh_keys: instance.ssh_keys.clone(),
        users: instance.users.clone(),
        interfaces: scope.guest.interfaces().iter().map(device).collect(),
        tags: instance.tags.clone(),
        user_data: None,
        vendor_data: None,
        secrets: waiting_secrets(scope).map(|(name, _)| name.clone()).collect(),
        trusted_certificates: instance.trusted_certificates.to_vec(),
        remote_desktop: instance.remote_desktop,
        winrm: instance.winrm,
        windows_keys: instance.windows_keys.to_vec(),
        nova_password: instance.dialects.contains(&Dialect::Openstack),
    }
}

/// The tag of a document without its data, and of the data.
fn tag(document: &Document, scope: &Scope<'_>) -> u64 {
    let json = serde_json::to_vec(document).unwrap_or_default();
    let instance = &scope.guest.instance;
    let [user, vendor] = [&instance.user_data, &instance.vendor_data]
        .map(|data| data.as_ref().map_or(&[][..], |data| data.bytes().as_ref()));
    // Empty data and no data are one to a reader of the bytes, and two to a reader of the JSON.
    let there = [u8::from(instance.user_data.is_some()), u8::from(instance.vendor_data.is_some())];
    etag::of_parts([json.as_slice(), &there, user, vendor])
}

/// The routes of a port's subnets, each once: several subnets may name the same.
fn routes(entry: &GuestPort, primary: bool) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    for route in network_config::subnets(entry, primary).into_iter().flat_map(|own| own.routes) {
        if !routes.contains(route) {
            routes.push(route.clone());
        }
    }
    routes
}

/// A port as the guest is to configure it. Only the first has default routes.
pub(super) fn interface(entry: &GuestPort, primary: bool) -> Interface {
    Interface {
        mac: entry.port.mac,
        mtu: entry.network.mtu,
        addresses: entry.addresses().collect(),
        gateways: entry.gateways().filter(|_| primary).collect(),
        dns: entry.resolvers(primary),
        domain: entry.network.domain.clone(),
        routes: routes(entry, primary),
        vlans: entry.vlans.iter().map(|vlan| vlan_interface(vlan, entry)).collect(),
        bond: None,
    }
}

/// A port, or the ports of a bond, as the guest is to configure them.
fn device(wanted: &GuestInterface) -> Interface {
    let bond = wanted.bond.as_ref().map(|name| Bond {
        name: name.clone(),
        mode: BondMode::ActiveBackup,
        members: wanted.cards.iter().map(|(_, mac)| *mac).collect(),
    });
    Interface { bond, ..interface(&wanted.entry, wanted.is_primary()) }
}

/// A network behind a tag on this port's card, whose frames can't be longer than the card's own.
fn vlan_interface(vlan: &GuestVlan, card: &GuestPort) -> VlanInterface {
    let entry = &vlan.entry;
    VlanInterface {
        id: vlan.id,
        mtu: entry.network.mtu.min(card.network.mtu),
        addresses: entry.addresses().collect(),
        dns: vlan.resolvers(),
        domain: entry.network.domain.clone(),
        routes: routes(entry, false),
    }
}
