//! Deleting: allowed once nothing refers to the resource any more.

use std::sync::Arc;

use mezame_model::{
    Generation, InstanceName, NetworkName, Port, PortName, ProjectName,
    api::{Event, Fault, Kind},
};

use super::Plan;
use crate::{record::Record, state::State};

/// How many resources that are in the way are named one by one.
const NAMED: usize = 10;

/// Works out what deleting a resource does. None where there is no such resource.
pub(crate) fn release(
    state: &State,
    kind: Kind,
    project: &ProjectName,
    name: &str,
) -> Option<Result<Plan, Vec<Fault>>> {
    let tenant = state.tenant(project)?;
    let mut plan = Plan::default();
    let deleted = match kind {
        Kind::Project => {
            let networks = tenant.networks.keys().map(|n| format!("the network '{n}'"));
            let ports = tenant.ports.keys().map(|n| format!("the port '{n}'"));
            let instances = tenant.instances.keys().map(|n| format!("the instance '{n}'"));
            let volumes = tenant.volumes.keys().map(|id| format!("the volume '{id}'"));
            let schedules = tenant.schedules.keys().map(|n| format!("the backup schedule '{n}'"));
            let all = instances.chain(ports).chain(networks).chain(volumes).chain(schedules);
            if let Some(faults) = in_the_way(all, "is in it") {
                return Some(Err(faults));
            }
            Record::Project(Arc::clone(&tenant.project.record))
        }
        Kind::Network => {
            let network = &tenant.networks.get(&NetworkName::parse(name).ok()?)?.record;
            let segment = state.segment(&network.id);
            let mut ports: Vec<_> = segment
                .into_iter()
                .flat_map(|segment| segment.macs.values())
                .map(|port| format!("the port '{}'", port.name))
                .collect();
            ports.sort();
            if let Some(faults) = in_the_way(ports.into_iter(), "is in it") {
                return Some(Err(faults));
            }
            Record::Network(Arc::clone(network))
        }
        Kind::Port => {
            let port = &tenant.ports.get(&PortName::parse(name).ok()?)?.record;
            if let Some(owner) = &port.instance {
                let owner = state.instance_by_id(owner).map(|o| o.record.instance.name.to_string());
                let owner = format!("the instance '{}'", owner.unwrap_or_default());
                let faults = in_the_way(std::iter::once(owner), "has this port");
                return faults.map(Err);
            }
            Record::Port(Arc::clone(port))
        }
        Kind::Instance => {
            let record = &tenant.instances.get(&InstanceName::parse(name).ok()?)?.record;
            for id in &record.instance.ports {
                if let Some(port) = state.port_by_id(id) {
                    let freed = Port { instance: None, ..(**port).clone() };
                    plan.events.push(event(Kind::Port, project, freed.name.as_str(), "updated"));
                    plan.changes.puts.push(Record::Port(Arc::new(freed)));
                }
            }
            Record::Instance(Arc::clone(record))
        }
    };
    plan.events.push(event(kind, project, name, "deleted"));
    plan.changes.deletes.push(deleted);
    Some(Ok(plan))
}

/// A fault for each, up to a number, if there is any.
fn in_the_way(who: impl Iterator<Item = String>, how: &str) -> Option<Vec<Fault>> {
    let mut faults = Vec::new();
    let mut beyond = 0;
    for one in who {
        if faults.len() == NAMED {
            beyond += 1;
            continue;
        }
        faults.push(Fault {
            document: 0,
            path: String::new(),
            message: format!("{one} {how}"),
            mend: "delete it first, or change it".into(),
        });
    }
    if beyond > 0
        && let Some(last) = faults.last_mut()
    {
        last.message = format!("{} (and {beyond} more)", last.message);
    }
    if faults.is_empty() { None } else { Some(faults) }
}

fn event(kind: Kind, project: &ProjectName, name: &str, what: &str) -> Event {
    Event {
        generation: Generation::ZERO,
        at_ms: 0,
        project: project.to_string(),
        kind,
        name: name.into(),
        what: what.into(),
        detail: String::new(),
    }
}
