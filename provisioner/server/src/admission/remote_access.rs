//! Reading the `remote_desktop` and the `winrm` of an instance.

use std::num::NonZeroU16;

use mezame_model::{RemoteDesktop, Winrm};

use super::form::{Node, Object};

/// The fields of `remote_desktop`.
pub(crate) const DESKTOP_FIELDS: &[&str] = &["enabled", "port", "nla"];

/// The fields of `winrm`.
pub(crate) const WINRM_FIELDS: &[&str] = &["https", "port", "basic"];

/// Reads both, noting every fault, and the one that only both together have.
pub(super) fn read(object: &Object<'_>) -> Option<(Option<RemoteDesktop>, Option<Winrm>)> {
    let desktop = object.field("remote_desktop", read_desktop).optional();
    let winrm = object.field("winrm", read_winrm).optional();
    let (desktop, winrm) = (desktop?, winrm?);
    if let (Some(desktop), Some(winrm)) = (&desktop, &winrm)
        && desktop.enabled
        && winrm.https
        && desktop.port == winrm.port
    {
        object.fault_at(
            "winrm",
            &format!("port {} is Remote Desktop's already", winrm.port),
            "give one of the two another port",
        );
        return None;
    }
    Some((desktop, winrm))
}

fn read_desktop(node: &Node<'_>) -> Option<RemoteDesktop> {
    let object = Object::open(node, DESKTOP_FIELDS)?;
    let enabled =
        object
            .required("enabled", "say true or false, or leave remote_desktop out", |n| n.boolean());
    let port = object.field("port", read_port).or(|| RemoteDesktop::PORT);
    let nla = object.field("nla", |n| n.boolean()).or(|| true);
    Some(RemoteDesktop { enabled: enabled?, port: port?, nla: nla? })
}

fn read_winrm(node: &Node<'_>) -> Option<Winrm> {
    let object = Object::open(node, WINRM_FIELDS)?;
    let https = object.required("https", "say true or false, or leave winrm out", |n| n.boolean());
    let port = object.field("port", read_port).or(|| Winrm::PORT);
    let basic = object.field("basic", |n| n.boolean()).or(|| false);
    Some(Winrm { https: https?, port: port?, basic: basic? })
}

fn read_port(node: &Node<'_>) -> Option<NonZeroU16> {
    let port = node.integer(1, u64::from(u16::MAX))?;
    NonZeroU16::new(u16::try_from(port).ok()?)
}
