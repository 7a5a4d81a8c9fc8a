//! Records as documents: the `spec` that operators see, and the comparison of two of them.
//!
//! A secret is never in either. Shown, it is `"(sealed)"`; compared, it is a digest that no
//! answer contains, so that a change is noticed and reported as `"(changed)"`.

use mezame_model::{Instance, Network, NetworkId, Password, Port, Vlan, api::FieldChange};
use mezame_protocol::spent::digest_of;
use ring::digest::{SHA256, digest};
use serde_json::{Map, Value, json};

use crate::{
    admission::SEALED,
    record::{InstanceRecord, Project},
};

/// How secrets stand in a document.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrets {
    /// As `"(sealed)"`: for answers.
    Hidden,
    /// As a digest in a form that [`differences`] knows: for comparing, never for answers.
    Digested,
}

impl Secrets {
    fn mark(self, bytes: &[u8]) -> Value {
        match self {
            Self::Hidden => SEALED.into(),
            Self::Digested => self.mark_digest(&hex(digest(&SHA256, bytes).as_ref())),
        }
    }

    fn mark_digest(self, digest: &str) -> Value {
        match self {
            Self::Hidden => SEALED.into(),
            Self::Digested => json!({ SEALED: digest }),
        }
    }
}

/// A project's document.
pub(crate) fn of_project(project: &Project) -> Value {
    let mut fields = Map::new();
    fields.insert("kind".into(), "Project".into());
    fields.insert("name".into(), project.name.as_str().into());
    if let Some(text) = &project.description {
        fields.insert("description".into(), (**text).into());
    }
    if project.encrypted_images {
        fields.insert("encrypted_images".into(), true.into());
    }
    if let Some(quota) = &project.volume_quota {
        fields.insert("volume_quota".into(), json!(quota));
    }
    Value::Object(fields)
}

/// A network's document.
pub(crate) fn of_network(network: &Network) -> Value {
    let mut document = json!({
        "kind": "Network",
        "project": network.project,
        "name": network.name,
        "vni": network.vni,
        "mtu": network.mtu,
        "subnets": network.subnets,
        "dns": network.dns,
        "ntp": network.ntp,
        "dhcp": network.dhcp,
        "forward": network.forward,
    });
    if let Some(domain) = &network.domain {
        document["domain"] = (**domain).into();
    }
    document
}

/// A port's document, with its networks' names.
pub(crate) fn of_port(port: &Port, name: impl Fn(&NetworkId) -> String) -> Value {
    let mut document = json!({
        "kind": "Port",
        "project": port.project,
        "name": port.name,
        "network": name(&port.network),
        "mac": port.mac,
        "addresses": port.addresses,
        "allowed": port.allowed,
        "device": port.device,
        "dhcp_server": port.dhcp_server,
        "rate_limit": port.rate_limit,
    });
    if !port.vlans.is_empty() {
        let vlan = |vlan: &Vlan| {
            let network = name(&vlan.network);
            json!({ "id": vlan.id, "network": network, "addresses": vlan.addresses })
        };
        document["vlans"] = port.vlans.iter().map(vlan).collect();
    }
    if let Some(bond) = &port.bond {
        document["bond"] = json!(bond);
    }
    if let Some(boot) = &port.boot {
        document["boot"] = json!(boot);
    }
    document
}

/// An instance's document; `ports` are the names of its ports.
pub(crate) fn of_instance(record: &InstanceRecord, ports: &[&str], secrets: Secrets) -> Value {
    let instance: &Instance = &record.instance;
    let users: Vec<Value> = instance.users.iter().map(|user| of_user(user, secrets)).collect();
    let mut document = json!({
        "kind": "Instance",
        "project": instance.project,
        "name": instance.name,
        "hostname": instance.hostname,
        "ports": ports,
        "ssh_keys": instance.ssh_keys,
        "users": users,
        "tags": instance.tags,
        "tokens": instance.tokens,
        "hop_limit": instance.hop_limit,
        "dialects": instance.dialects,
        "instance_type": instance.instance_type,
        "image_id": instance.image_id,
        "zone": instance.zone,
        "launch_index": instance.launch_index,
        "block_devices": instance.block_devices,
    });
    if let Some(data) = &instance.user_data {
        document["user_data"] = secrets.mark(data.bytes());
    }
    if let Some(data) = &instance.vendor_data {
        document["vendor_data"] = secrets.mark(data.bytes());
    }
    if !instance.trusted_certificates.is_empty() {
        document["trusted_certificates"] = json!(instance.trusted_certificates);
    }
    if let Some(desktop) = &instance.remote_desktop {
        document["remote_desktop"] = json!(desktop);
    }
    if let Some(winrm) = &instance.winrm {
        document["winrm"] = json!(winrm);
    }
    if !instance.windows_keys.is_empty() {
        document["windows_keys"] = json!(instance.windows_keys);
    }
    let named = of_secrets(record, secrets);
    if !named.is_empty() {
        document["secrets"] = Value::Object(named);
    }
    document
}

fn of_user(user: &mezame_model::User, secrets: Secrets) -> Value {
    let mut fields = json!({
        "name": user.name,
        "ssh_keys": user.ssh_keys,
        "sudo": user.sudo,
        "groups": user.groups,
    });
    match &user.password {
        Some(Password::Hash(hash)) => {
            fields["password"] = json!({ "hash": secrets.mark(hash.expose().as_bytes()) });
        }
        Some(Password::Generate) => fields["password"] = json!({ "generate": true }),
        None => {}
    }
    if let Some(shell) = &user.shell {
        fields["shell"] = (**shell).into();
    }
    if user.stopped {
        fields["stopped"] = true.into();
    }
    fields
}

/// Those that wait for the guest, and those that it has read.
fn of_secrets(record: &InstanceRecord, secrets: Secrets) -> Map<String, Value> {
    let instance = &record.instance;
    let waiting = instance.secrets.iter().map(|(name, value)| {
        let mark = match secrets {
            Secrets::Hidden => SEALED.into(),
            Secrets::Digested => secrets.mark_digest(&digest_of(&instance.id, name, value).hex()),
        };
        (name.to_string(), mark)
    });
    let consumed = record
        .consumed
        .iter()
        .map(|(name, digest)| (name.to_string(), secrets.mark_digest(&digest.hex())));
    waiting.chain(consumed).collect()
}

/// The fields in which two documents differ. Secrets must be digested in both.
pub(crate) fn differences(before: &Value, after: &Value) -> Vec<FieldChange> {
    let mut found = Vec::new();
    compare(String::new(), before, after, &mut found);
    found
}

fn compare(path: String, before: &Value, after: &Value, found: &mut Vec<FieldChange>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Value::Object(old), Value::Object(new))
            if !old.contains_key(SEALED) && !new.contains_key(SEALED) =>
        {
            let added = new.keys().filter(|key| !old.contains_key(*key));
            for key in old.keys().chain(added) {
                let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
                let path = if !key.bytes().all(plain) {
                    format!("{path}[{}]", Value::from(key.as_str()))
                } else if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                let of = |fields: &Map<String, Value>| fields.get(key).cloned().unwrap_or_default();
                compare(path, &of(old), &of(new), found);
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for index in 0..old.len().max(new.len()) {
                let of = |list: &[Value]| list.get(index).cloned().unwrap_or_default();
                compare(format!("{path}[{index}]"), &of(old), &of(new), found);
            }
        }
        _ => {
            let changed = is_mark(before) && is_mark(after);
            let after = if changed { "(changed)".into() } else { hide(after) };
            found.push(FieldChange { path, before: hide(before), after });
        }
    }
}

fn is_mark(value: &Value) -> bool {
    value.as_object().is_some_and(|fields| fields.contains_key(SEALED))
}

/// The value with every digest replaced.
fn hide(value: &Value) -> Value {
    match value {
        _ if is_mark(value) => SEALED.into(),
        Value::Object(fields) => {
            fields.iter().map(|(key, value)| (key.clone(), hide(value))).collect()
        }
        Value::Array(items) => items.iter().map(hide).collect(),
        other => other.clone(),
    }
}

/// Bytes as lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_name_the_innermost_fields_and_hide_secrets() {
        let mark = |text: &str| Secrets::Digested.mark(text.as_bytes());
        let before = json!({
            "mtu": 1450,
            "users": [{ "name": "a", "password": { "hash": mark("one") } }],
            "tags": { "a.b": "1", "same": "x" },
            "dns": ["10.0.0.1"],
        });
        let after = json!({
            "mtu": 1400,
            "users": [{ "name": "a", "password": { "hash": mark("two") } }],
            "tags": { "same": "x" },
            "dns": ["10.0.0.1", "10.0.0.2"],
            "user_data": mark("x"),
        });
        let mut found = differences(&before, &after);
        found.sort_by(|a, b| a.path.cmp(&b.path));
        let shown: Vec<_> =
            found.iter().map(|f| format!("{}: {} -> {}", f.path, f.before, f.after)).collect();
        assert_eq!(
            shown,
            [
                r#"dns[1]: null -> "10.0.0.2""#,
                "mtu: 1450 -> 1400",
                r#"tags["a.b"]: "1" -> null"#,
                r#"user_data: null -> "(sealed)""#,
                r#"users[0].password.hash: "(sealed)" -> "(changed)""#,
            ]
        );
        assert!(differences(&before, &before).is_empty());
    }

    #[test]
    fn a_digest_never_leaves_a_comparison() {
        let mark = Secrets::Digested.mark(b"hunter2");
        let digest = mark[SEALED].as_str().unwrap().to_owned();
        let whole = json!({ "users": [{ "password": { "hash": mark } }] });
        for (before, after) in [(json!({}), whole.clone()), (whole, json!({ "users": 1 }))] {
            let text = serde_json::to_string(&differences(&before, &after)).unwrap();
            assert!(!text.contains(&digest), "{text}");
        }
    }
}
