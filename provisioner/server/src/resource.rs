//! Records as operators see them: spec, status and revision.

use std::{collections::BTreeMap, ops::Bound, str::FromStr, sync::Arc};

use mezame_model::{
    Generation, Instance, InstanceName, Network, NetworkId, NetworkName, Port, PortName,
    ProjectName, Smbios, Snapshot,
    api::{Kind, Resource},
    service_address::METADATA,
};
use serde_json::{Value, json};

use crate::{
    lifecycle, password_resets,
    record::Project,
    spec,
    spec::Secrets,
    state::{Held, HeldInstance, State, sorted::find},
    volume_keys,
};

/// A resource, and the generation up to which anything that it shows has changed.
pub(crate) struct Shown {
    pub(crate) resource: Resource,
    /// At least the revision: a report changes the status and not the revision.
    pub(crate) fresh: Generation,
}

/// One resource by its name. `project` is the name itself of a project.
pub(crate) fn one(state: &State, kind: Kind, project: &ProjectName, name: &str) -> Option<Shown> {
    let (tenant, snapshot) = (state.tenant(project)?, state.snapshot());
    let (resource, others) = match kind {
        Kind::Project => (of_project(&tenant.project), None),
        Kind::Network => {
            let held = tenant.networks.get(&NetworkName::parse(name).ok()?)?;
            (of_network(held), None)
        }
        Kind::Port => {
            let held = tenant.ports.get(&PortName::parse(name).ok()?)?;
            let network = state.network_by_id(&held.record.network);
            let network = network.and_then(|it| state.network(&it.project, &it.name));
            (of_port(snapshot, held), network.map(|network| network.revision))
        }
        Kind::Instance => {
            let held = tenant.instances.get(&InstanceName::parse(name).ok()?)?;
            let ports = &held.record.instance.ports;
            let ports = ports.iter().filter_map(|id| state.port_by_id(id));
            let ports = ports.filter_map(|it| Some(state.port(&it.project, &it.name)?.revision));
            (of_instance(snapshot, held), ports.chain([held.observed_at]).max())
        }
    };
    let fresh = others.map_or(resource.revision, |others| others.max(resource.revision));
    Some(Shown { resource, fresh })
}

/// Several records of a kind at one generation, taken out of the state: pointers are copied while
/// the state is held, and the resources are made of them afterwards, however many they are.
pub(crate) struct Page {
    pub(crate) generation: Generation,
    /// Whether there are more after these.
    pub(crate) more: bool,
    records: Records,
    /// The state in which the records' references are followed.
    snapshot: Arc<Snapshot>,
}

/// By name.
enum Records {
    Projects(Vec<Held<Project>>),
    Networks(Vec<Held<Network>>),
    Ports(Vec<Held<Port>>),
    Instances(Vec<HeldInstance>),
}

impl Page {
    /// At most `most` records of a kind, by name, after a name. None without such a project.
    pub(crate) fn take(
        state: &State,
        kind: Kind,
        project: Option<&ProjectName>,
        after: Option<&str>,
        most: usize,
    ) -> Option<Self> {
        let (records, more) = match (project, kind) {
            (None, _) => {
                let (tenants, more) = some_of(&state.tenants, after, most, |it| it.project.clone());
                (Records::Projects(tenants), more)
            }
            (Some(_), Kind::Project) => return None,
            (Some(project), Kind::Network) => {
                let (held, more) =
                    some_of(&state.tenant(project)?.networks, after, most, Held::clone);
                (Records::Networks(held), more)
            }
            (Some(project), Kind::Port) => {
                let (held, more) = some_of(&state.tenant(project)?.ports, after, most, Held::clone);
                (Records::Ports(held), more)
            }
            (Some(project), Kind::Instance) => {
                let instances = &state.tenant(project)?.instances;
                let (held, more) = some_of(instances, after, most, HeldInstance::clone);
                (Records::Instances(held), more)
            }
        };
        let snapshot = Arc::clone(state.snapshot());
        Some(Self { generation: state.generation, more, records, snapshot })
    }

    /// The resources that the records are.
    pub(crate) fn resources(&self) -> Vec<Resource> {
        let snapshot = &self.snapshot;
        match &self.records {
            Records::Projects(all) => all.iter().map(of_project).collect(),
            Records::Networks(all) => all.iter().map(of_network).collect(),
            Records::Ports(all) => all.iter().map(|held| of_port(snapshot, held)).collect(),
            Records::Instances(all) => all.iter().map(|held| of_instance(snapshot, held)).collect(),
        }
    }
}

fn some_of<N: Ord + FromStr, T, R>(
    all: &BTreeMap<N, T>,
    after: Option<&str>,
    most: usize,
    take: impl Fn(&T) -> R,
) -> (Vec<R>, bool) {
    // A name that breaks the rule can be no item's, so nothing is known to come after it.
    let mut rest = match after.map(N::from_str) {
        None => all.range::<N, _>(..),
        Some(Ok(after)) => all.range((Bound::Excluded(after), Bound::Unbounded)),
        Some(Err(_)) => return (Vec::new(), false),
    };
    let items = rest.by_ref().take(most).map(|(_, held)| take(held)).collect();
    (items, rest.next().is_some())
}

fn of_project(held: &Held<Project>) -> Resource {
    Resource {
        kind: Kind::Project,
        spec: spec::of_project(&held.record),
        status: json!({}),
        revision: held.revision,
    }
}

fn of_network(held: &Held<Network>) -> Resource {
    Resource {
        kind: Kind::Network,
        spec: spec::of_network(&held.record),
        status: json!({ "id": held.record.id }),
        revision: held.revision,
    }
}

fn of_port(snapshot: &Snapshot, held: &Held<Port>) -> Resource {
    let port = &*held.record;
    let network = find(&snapshot.networks, &port.network);
    let name = |id: &NetworkId| {
        find(&snapshot.networks, id).map(|network| network.name.to_string()).unwrap_or_default()
    };
    let instance = port.instance.as_ref().and_then(|id| find(&snapshot.instances, id));
    let status = json!({
        "id": port.id,
        "network_id": port.network,
        "vni": network.map(|network| network.vni),
        "instance": instance.map(|instance| instance.name.as_str()),
        "instance_id": port.instance,
    });
    Resource { kind: Kind::Port, spec: spec::of_port(port, name), status, revision: held.revision }
}

/// What the hypervisor must set for each of the instance's dialects, as values and as QEMU's
/// options; a machine has the strings of one, and the first is the one to take.
fn smbios(snapshot: &Snapshot, instance: &Instance) -> Option<Value> {
    let first = instance.ports.first().and_then(|id| find(&snapshot.ports, id));
    let metadata = first.map_or(METADATA.into(), |port| port.metadata_address());
    let strings: Vec<Value> = Smbios::all_of(instance, metadata)
        .map(|(dialect, smbios)| {
            let qemu = smbios.qemu();
            json!({ "dialect": dialect, "strings": smbios, "qemu": qemu })
        })
        .collect();
    (!strings.is_empty()).then_some(Value::Array(strings))
}

fn of_instance(snapshot: &Snapshot, held: &HeldInstance) -> Resource {
    let instance = &*held.record.instance;
    let ports: Vec<_> = instance.ports.iter().filter_map(|id| find(&snapshot.ports, id)).collect();
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
    add("smbios", smbios(snapshot, instance));
    let attributes = &instance.guest_attributes;
    add("guest_attributes", (!attributes.is_empty()).then(|| json!(attributes)));
    add("nova_password", instance.nova_password.as_ref().map(|it| it.expose().into()));
    let keys = volume_keys::views(&held.record);
    let resets = password_resets::views(&held.record);
    add("password_resets", (!resets.is_empty()).then(|| json!(resets)));
    add("volume_keys", (!keys.is_empty()).then(|| json!(keys)));
    add("secrets", (!secrets.is_empty()).then_some(Value::Object(secrets)));
    let spec = spec::of_instance(&held.record, &names, Secrets::Hidden);
    Resource { kind: Kind::Instance, spec, status, revision: held.revision }
}
