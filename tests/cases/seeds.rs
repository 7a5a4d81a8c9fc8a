//! What the cases' operators apply.

use mezame_tests::{
    namespace_guest::NamespaceGuest,
    operator::{instance, network, port, project},
    wait::{self, SOON},
};
use serde_json::Value;

/// The MAC of every guest here: they may all be the same.
pub(crate) const MAC: &str = "52:54:00:00:00:0a";

/// A project, its network, one port and one instance, whose host name is the project's. The
/// address is 192.168.0.10 in every tenant.
pub(crate) fn tenant(name: &str, vni: u32, device: &str, more: &Value) -> Vec<Value> {
    let mut guest = instance(name, "guest", "port", more);
    guest["hostname"] = name.into();
    vec![
        project(name),
        network(name, "lan", vni, "192.168.0.0/24"),
        port(name, "port", "lan", MAC, &["192.168.0.10"], device),
        guest,
    ]
}

/// The port's document among a tenant's.
pub(crate) fn port_of(documents: &mut [Value]) -> &mut Value {
    documents.iter_mut().find(|document| document["kind"] == "Port").unwrap()
}

/// Waits until a guest reads this host name.
pub(crate) fn until_served(guest: &NamespaceGuest, hostname: &str) {
    wait::until("the guest's metadata", SOON, || {
        let answer = guest.get("/latest/meta-data/hostname")?;
        anyhow::ensure!(answer.status == 200, "status {}: {}", answer.status, answer.text());
        anyhow::ensure!(answer.text() == hostname, "it is {}", answer.text());
        Ok(())
    })
    .unwrap();
}

/// Waits until the service knows a guest, whatever it then says of a token.
pub(crate) fn until_known(guest: &NamespaceGuest) {
    wait::until("an answer", SOON, || {
        let answer = guest.get("/")?;
        anyhow::ensure!(matches!(answer.status, 200 | 401), "status {}", answer.status);
        Ok(())
    })
    .unwrap();
}
