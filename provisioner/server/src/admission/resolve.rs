//! Following references: forms become records, checked against each other and the state.
//!
//! Networks first, then ports, then instances; each kind is built whole before its rules are
//! checked, so that the documents' order does not matter.

mod allocate;
mod bonds;
mod instances;
mod networks;
mod places;
mod ports;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use mezame_model::{
    DeviceName, Generation, InstanceId, MacAddress, Network, NetworkId, NetworkName, Port, PortId,
    PortName, ProjectName, SecretBytes,
    api::{Action, Change, Event, FieldChange, Kind},
};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{Declared, Document, Documents, Faults, Plan, project::ProjectForm};
use crate::{
    environment::{Environment, NoRandomness, random},
    record::{InstanceRecord, Project, Record},
    spec::{self, Secrets},
    state::{Changes, State},
    store::{Key, RowKind},
};

/// Works out the write. What it gives is good only if no fault was noted.
pub(super) fn resolve(
    values: &[Value],
    documents: Documents,
    state: &State,
    environment: &dyn Environment,
    faults: &Faults,
) -> Result<Plan, NoRandomness> {
    let Documents { projects, networks, ports, instances, declared } = documents;
    let mut resolver = Resolver {
        values,
        state,
        environment,
        faults,
        declared,
        projects: Vec::new(),
        networks: BTreeMap::new(),
        ports: BTreeMap::new(),
        port_ids: HashMap::new(),
        instances: BTreeMap::new(),
        macs: HashMap::new(),
        addresses: HashMap::new(),
        devices: HashMap::new(),
        last_allocated: HashMap::new(),
    };
    resolver.resolve_projects(projects)?;
    resolver.resolve_networks(networks)?;
    resolver.resolve_ports(ports)?;
    resolver.resolve_instances(instances)?;
    resolver.check_bonds();
    Ok(resolver.plan(values.len()))
}

/// A record in the making.
struct Pending<T> {
    /// The document that it comes from; none of a record that changes because of another one.
    document: Option<usize>,
    record: T,
    before: Option<Arc<T>>,
}

impl<T: PartialEq> Pending<T> {
    /// Whether the state has it so already.
    fn is_same(&self) -> bool {
        self.before.as_deref() == Some(&self.record)
    }
}

struct Resolver<'s> {
    values: &'s [Value],
    state: &'s State,
    environment: &'s dyn Environment,
    faults: &'s Faults,
    declared: Declared,
    projects: Vec<Pending<Project>>,
    networks: BTreeMap<(ProjectName, NetworkName), Pending<Network>>,
    ports: BTreeMap<PortId, Pending<Port>>,
    port_ids: HashMap<(ProjectName, PortName), PortId>,
    instances: BTreeMap<InstanceId, Pending<InstanceRecord>>,
    /// Who has what among the pending ports.
    macs: HashMap<(NetworkId, MacAddress), PortId>,
    addresses: HashMap<NetworkId, BTreeMap<IpAddr, PortId>>,
    devices: HashMap<DeviceName, PortId>,
    last_allocated: HashMap<(NetworkId, bool), IpAddr>,
}

/// What a name leads to.
enum Found<T> {
    /// This.
    Here(T),
    /// A document that is at fault itself; more can't be said.
    Faulty,
    /// Nothing.
    Missing,
}

impl Resolver<'_> {
    fn resolve_projects(
        &mut self,
        documents: Vec<Document<ProjectForm>>,
    ) -> Result<(), NoRandomness> {
        for Document { index, form } in documents {
            let before =
                self.state.tenant(&form.name).map(|tenant| Arc::clone(&tenant.project.record));
            let was = before.as_ref().map(|before| before.encrypted_images);
            let encrypted_images = form.encrypted_images.or(was).unwrap_or(false);
            if was.is_some_and(|was| was != encrypted_images) {
                let message = "a project's images are encrypted from its beginning on, or never";
                let mend = "make another project, and import its images there again";
                self.note(index, "encrypted_images", message, mend);
            }
            let image_key = match &before {
                Some(before) => before.image_key.clone(),
                None if encrypted_images => {
                    let key: Zeroizing<[u8; 32]> = Zeroizing::new(random(self.environment)?);
                    Some(SecretBytes::new(key.to_vec()))
                }
                None => None,
            };
            let ProjectForm { name, description, volume_quota, .. } = form;
            let record = Project { name, description, encrypted_images, volume_quota, image_key };
            self.projects.push(Pending { document: Some(index), record, before });
        }
        Ok(())
    }

    /// Notes a fault if no such project is there or comes to be.
    fn check_project(&self, document: usize, project: &ProjectName) {
        let known = self.state.tenant(project).is_some()
            || self.declared.has(Kind::Project, "", project.as_str());
        if !known {
            let names: Vec<&str> =
                self.state.tenants.keys().map(|n| n.as_str()).take(1000).collect();
            let mend = match super::nearest(project.as_str(), &names) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("add a document {{kind: Project, name: {project}}}"),
            };
            self.note(document, "project", format!("there is no project '{project}'"), mend);
        }
    }

    fn note(
        &self,
        document: usize,
        path: impl ToString,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.faults.note(document, path, message, mend);
    }

    /// The path of a field, or the document's own where the field was left out of it.
    fn path_of(&self, document: usize, field: &str, full: impl ToString) -> String {
        let given = self.values[document].get(field).is_some_and(|value| !value.is_null());
        if given { full.to_string() } else { String::new() }
    }

    /// An id that nothing has, with this prefix.
    fn make_id(&self, prefix: &str) -> Result<String, NoRandomness> {
        let bytes: [u8; 9] = random(self.environment)?;
        // 17 digits are 68 bits: a clash among a billion ids is one in a hundred.
        Ok(format!("{prefix}{}", &spec::hex(&bytes)[..17]))
    }

    /// The plan: what differs from the state, and what became of each document.
    fn plan(self, documents: usize) -> Plan {
        let mut told = Told::of(documents);
        for project in self.projects {
            told.settle(project, Record::Project, spec::of_project);
        }
        let names: HashMap<NetworkId, NetworkName> =
            self.networks.values().map(|n| (n.record.id.clone(), n.record.name.clone())).collect();
        for network in self.networks.into_values() {
            told.settle(network, Record::Network, spec::of_network);
        }
        let network_name = |id: &NetworkId| -> String {
            let known = names.get(id).map(ToString::to_string);
            let stored = || self.state.network_by_id(id).map(|network| network.name.to_string());
            known.or_else(stored).unwrap_or_default()
        };
        let port_name = |id: &PortId| -> String {
            let pending = self.ports.get(id).map(|port| port.record.name.to_string());
            let stored = || self.state.port_by_id(id).map(|port| port.name.to_string());
            pending.or_else(stored).unwrap_or_default()
        };
        for instance in self.instances.into_values() {
            told.settle(instance, Record::Instance, |record| {
                let names: Vec<String> = record.instance.ports.iter().map(&port_name).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                spec::of_instance(record, &names, Secrets::Digested)
            });
        }
        for port in self.ports.into_values() {
            if port.document.is_none() && !port.is_same() {
                told.event(
                    &Record::Port(Arc::new(port.record.clone())).key(),
                    "updated",
                    match port.record.instance {
                        Some(_) => "claimed by an instance",
                        None => "given up by its instance",
                    },
                );
            }
            told.settle(port, Record::Port, |record| spec::of_port(record, network_name));
        }
        let last = self.last_allocated.into_iter().map(|((network, _), last)| (network, last));
        let changes =
            Changes { puts: told.puts, last_allocated: last.collect(), ..Changes::default() };
        let outcome = told.outcome.into_iter().flatten().collect();
        Plan { changes, outcome, events: told.events }
    }
}

/// What is written, and what is told of it, document by document.
struct Told {
    puts: Vec<Record>,
    outcome: Vec<Option<Change>>,
    events: Vec<Event>,
}

impl Told {
    fn of(documents: usize) -> Self {
        let outcome = (0..documents).map(|_| None).collect();
        Self { puts: Vec::new(), outcome, events: Vec::new() }
    }

    /// Writes a record that differs from the state's, by its document, and tells of it.
    fn settle<T: PartialEq>(
        &mut self,
        pending: Pending<T>,
        of: fn(Arc<T>) -> Record,
        spec: impl Fn(&T) -> Value,
    ) {
        let is_same = pending.is_same();
        let Pending { document, record, before } = pending;
        let fields = match before.as_deref() {
            Some(before) if !is_same => spec::differences(&spec(before), &spec(&record)),
            _ => Vec::new(),
        };
        let record = of(Arc::new(record));
        if let Some(document) = document {
            self.tell(record.key(), document, before.is_none(), fields);
        }
        if !is_same {
            self.puts.push(record);
        }
    }

    fn tell(&mut self, key: Key, document: usize, created: bool, fields: Vec<FieldChange>) {
        let action = match (created, fields.is_empty()) {
            (true, _) => Action::Created,
            (false, true) => Action::Unchanged,
            (false, false) => Action::Updated,
        };
        match action {
            Action::Created => self.event(&key, "created", ""),
            Action::Updated => {
                let paths: Vec<&str> = fields.iter().map(|f| f.path.as_str()).take(8).collect();
                let more = if fields.len() > paths.len() { ", …" } else { "" };
                self.event(&key, "updated", &format!("{}{more}", paths.join(", ")));
            }
            Action::Unchanged => {}
        }
        let Key { kind, project, name } = key;
        let RowKind::Document(kind) = kind else { return };
        let project = (kind != Kind::Project).then(|| project.into());
        self.outcome[document] = Some(Change { kind, project, name: name.into(), action, fields });
    }

    fn event(&mut self, key: &Key, what: &str, detail: &str) {
        // What has no document comes of none.
        let RowKind::Document(kind) = key.kind else { return };
        // A project's own is in itself.
        let project = if kind == Kind::Project { &key.name } else { &key.project };
        self.events.push(Event {
            generation: Generation::ZERO,
            at_ms: 0,
            project: project.to_string(),
            kind,
            name: key.name.to_string(),
            what: what.into(),
            detail: detail.into(),
        });
    }
}
