//! Records as operators see them: spec, status and revision.

use std::{collections::BTreeMap, ops::Bound, str::FromStr};

use mezame_model::{
    Generation, InstanceName, NetworkName, PortName, ProjectName,
    api::{Kind, Resource},
};
use serde_json::{Value, json};

use crate::{
    lifecycle, spec,
    spec::Secrets,
    state::{HeldInstance, State, Tenant},
};

/// A resource, and the generation up to which anything that it shows has changed.
pub(crate) struct Shown {
    pub(crate) resource: Resource,
    /// At least the revision: a report changes the status and not the revision.
    pub(crate) fresh: Generation,
}

/// One resource by its name. `project` is the name itself of a project.
pub(crate) fn one(state: &State, kind: Kind, project: &ProjectName, name: &str) -> Option<Shown> {
    let tenant = state.tenant(project)?;
    match kind {
        Kind::Project => Some(of_project(tenant)),
        Kind::Network => {
            let held = tenant.networks.get(&NetworkName::parse(name).ok()?)?;
            Some(of_network(held))
        }
        Kind::Port => Some(of_port(state, tenant.ports.get(&PortName::parse(name).ok()?)?)),
        Kind::Instance => {
            Some(of_instance(state, tenant.instances.get(&InstanceName::parse(name).ok()?)?))
        }
    }
}

/// At most `most` resources of a kind, by name, after a name; and whether there are more.
pub(crate) fn many(
    state: &State,
    kind: Kind,
    project: Option<&ProjectName>,
    after: Option<&str>,
    most: usize,
) -> Option<(Vec<Resource>, bool)> {
    let Some(project) = project else {
        return Some(page(&state.tenants, after, most, of_project));
    };
    let tenant = state.tenant(project)?;
    Some(match kind {
        Kind::Project => return None,
        Kind::Network => page(&tenant.networks, after, most, of_network),
        Kind::Port => page(&tenant.ports, after, most, |held| of_port(state, held)),
        Kind::Instance => page(&tenant.instances, after, most, |held| of_instance(state, held)),
    })
}

fn page<N: Ord + FromStr, T>(
    all: &BTreeMap<N, T>,
    after: Option<&str>,
    most: usize,
    show: impl Fn(&T) -> Shown,
) -> (Vec<Resource>, bool) {
    // A name that breaks the rule can be no item's, so nothing is known to come after it.
    let mut rest = match after.map(N::from_str) {
        None => all.range::<N, _>(..),
        Some(Ok(after)) => all.range((Bound::Excluded(after), Bound::Unbounded)),
        Some(Err(_)) => return (Vec::new(), false),
    };
    let items = rest.by_ref().take(most).map(|(_, held)| show(held).resource).collect();
    (items, rest.next().is_some())
}

fn shown(kind: Kind, spec: Value, status: Value, revision: Generation) -> Shown {
    Shown { resource: Resource { kind, spec, status, revision }, fresh: revision }
}

fn of_project(tenant: &Tenant) -> Shown {
    let project = &tenant.project;
    shown(Kind::Project, spec::of_project(&project.record), json!({}), project.revision)
}

fn of_network(held: &crate::state::Held<mezame_model::Network>) -> Shown {
    let status = json!({ "id": held.record.id });
    shown(Kind::Network, spec::of_network(&held.record), status, held.revision)
}

fn of_port(state: &State, held: &crate::state::Held<mezame_model::Port>) -> Shown {
    let port = &*held.record;
    let network = state.network_by_id(&port.network);
    let name = network.map_or("", |network| network.name.as_str());
    let instance = port.instance.as_ref().and_then(|id| state.instance_by_id(id));
    let status = json!({
        "id": port.id,
        "network_id": port.network,
        "vni": network.map(|network| network.vni),
        "instance": instance.map(|held| held.record.instance.name.as_str()),
        "instance_id": port.instance,
    });
    let fresh = network
        .and_then(|network| state.network(&network.project, &network.name))
        .map_or(held.revision, |network| network.revision.max(held.revision));
    Shown { fresh, ..shown(Kind::Port, spec::of_port(port, name), status, held.revision) }
}

fn of_instance(state: &State, held: &HeldInstance) -> Shown {
    let instance = &*held.record.instance;
    let ports: Vec<_> = instance.ports.iter().filter_map(|id| state.port_by_id(id)).collect();
    let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
    let addresses: Vec<_> = ports.iter().flat_map(|port| &port.addresses).collect();
    let (word, report) = lifecycle::status(held.observed.as_deref());
    let waiting = instance.secrets.keys().map(|name| (name.to_string(), "waiting".into()));
    let read = held.record.consumed.keys().map(|name| (name.to_string(), "consumed".into()));
    let secrets: serde_json::Map<String, Value> = waiting.chain(read).collect();
    let mut status = json!({
        "id": instance.id,
        "state": word,
        "launched_at": instance.launched_at,
        "port_ids": instance.ports,
        "addresses": addresses,
    });
    let mut add = |field: &str, value: Option<Value>| {
        if let Some(value) = value {
            status[field] = value;
        }
    };
    add("report", report);
    add("user_data_bytes", instance.user_data.as_ref().map(|data| data.bytes().len().into()));
    add("vendor_data_bytes", instance.vendor_data.as_ref().map(|data| data.bytes().len().into()));
    add("secrets", (!secrets.is_empty()).then_some(Value::Object(secrets)));
    let spec = spec::of_instance(&held.record, &names, Secrets::Hidden);
    let revisions = ports.iter().filter_map(|p| Some(state.port(&p.project, &p.name)?.revision));
    let fresh = revisions.chain([held.revision, held.observed_at]).max().unwrap_or(held.revision);
    Shown { fresh, ..shown(Kind::Instance, spec, status, held.revision) }
}
