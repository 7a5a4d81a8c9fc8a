//! From documents to a write: every document is read, every reference followed, every rule of
//! the installation checked, and all faults are named at once.
//!
//! Pure: works on a [`State`] and gives [`Changes`]; nothing is stored here. Documents may stand
//! in any order, and what one gives up another may take in the same call.
//!
//! The rules that span documents:
//! - A VNI is one layer-2 segment, so it belongs to one network of the whole installation.
//! - In one network a MAC and an address belong to one port. Two networks may have the same ones.
//! - A device belongs to one port of the whole installation: it is what a frame is known by.
//! - A port belongs to one instance, and the MACs of an instance's ports differ, since a guest
//!   finds its interfaces by them.
//! - A resource can't be deleted while another refers to it.
//!
//! No fault repeats a value that may be a secret.

mod boot;
mod certificate;
mod crypt;
mod dhcp;
mod form;
mod instance;
mod network;
mod port;
mod project;
mod release;
mod remote_access;
mod resolve;
mod service_address;
mod ssh_key;
mod subnet;
mod user;
mod vlan;
mod windows_key;

use std::collections::HashMap;

use mezame_model::api::{Change, Event, Fault, Kind};
use serde_json::Value;

use crate::{
    environment::{Environment, NoRandomness},
    state::{Changes, State},
};
use form::{Faults, Node, Path, nearest};

pub(crate) use dhcp::MODES as DHCP_MODES;
pub(crate) use instance::SEALED;
pub(crate) use release::release;

/// A write that may be done, and what it is to be told as.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) changes: Changes,
    /// One for each document.
    pub(crate) outcome: Vec<Change>,
    /// For the event stream; generation and time are not set yet.
    pub(crate) events: Vec<Event>,
}

/// Why documents can't be admitted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Rejection {
    /// They are wrong.
    #[error("{} faults", .0.len())]
    Faults(Vec<Fault>),
    /// No ids can be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// Works out what applying the documents does, or names all their faults.
pub(crate) fn admit(
    documents: &[Value],
    state: &State,
    environment: &dyn Environment,
) -> Result<Plan, Rejection> {
    let faults = Faults::default();
    let read = read(documents, &faults);
    let plan = resolve::resolve(documents, read, state, environment, &faults)?;
    match faults.into_list() {
        Some(list) => Err(Rejection::Faults(list)),
        None => Ok(plan),
    }
}

/// The fields that each kind of document has, for the OpenAPI document and its test.
#[cfg(test)]
pub(crate) fn fields_of(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Project => project::FIELDS,
        Kind::Network => network::FIELDS,
        Kind::Port => port::FIELDS,
        Kind::Instance => instance::FIELDS,
    }
}

/// The nested fields, by the name of their schema.
#[cfg(test)]
pub(crate) const NESTED_FIELDS: [(&str, &[&str]); 11] = [
    ("VolumeQuota", project::QUOTA_FIELDS),
    ("Subnet", subnet::FIELDS),
    ("Route", subnet::ROUTE_FIELDS),
    ("Dhcp", dhcp::FIELDS),
    ("Forward", dhcp::FORWARD_FIELDS),
    ("Boot", boot::FIELDS),
    ("RateLimit", port::RATE_LIMIT_FIELDS),
    ("Vlan", vlan::FIELDS),
    ("User", user::FIELDS),
    ("RemoteDesktop", remote_access::DESKTOP_FIELDS),
    ("Winrm", remote_access::WINRM_FIELDS),
];

const NAME_MEND: &str = "choose a name of a-z, 0-9 and '-'";
const PROJECT_MEND: &str = "name the project that it belongs to";

/// A document that was read, and its place.
struct Document<F> {
    index: usize,
    form: F,
}

/// All documents, by kind, those that could be read.
#[derive(Default)]
struct Documents {
    projects: Vec<Document<project::ProjectForm>>,
    networks: Vec<Document<network::NetworkForm>>,
    ports: Vec<Document<port::PortForm>>,
    instances: Vec<Document<instance::InstanceForm>>,
    /// What is named by some document, also by one that is at fault: a reference to it is no
    /// fault of its own. The project of a project is empty.
    declared: Declared,
}

/// Named resources and the documents that name them.
#[derive(Default)]
struct Declared(HashMap<(Kind, Box<str>), HashMap<Box<str>, usize>>);

impl Declared {
    /// Notes a document's name; answers the earlier document of the same name, if there is one.
    fn add(&mut self, kind: Kind, project: &str, name: &str, index: usize) -> Option<usize> {
        let names = self.0.entry((kind, project.into())).or_default();
        if let Some(earlier) = names.get(name) {
            return Some(*earlier);
        }
        names.insert(name.into(), index);
        None
    }

    fn has(&self, kind: Kind, project: &str, name: &str) -> bool {
        self.0.get(&(kind, project.into())).is_some_and(|names| names.contains_key(name))
    }
}

fn read(documents: &[Value], faults: &Faults) -> Documents {
    let mut read = Documents::default();
    for (index, value) in documents.iter().enumerate() {
        let node = Node { value, path: &Path::Document, document: index, faults };
        let Some(kind) = kind_of(&node) else { continue };
        let text = |field: &str| value.get(field).and_then(Value::as_str);
        let project = if kind == Kind::Project { Some("") } else { text("project") };
        if let (Some(project), Some(name)) = (project, text("name"))
            && let Some(earlier) = read.declared.add(kind, project, name, index)
        {
            let path = Path::Field(&Path::Document, "name");
            Node { path: &path, ..node }.fault::<()>(
                format!("document {earlier} is the {} '{name}' too", kind.as_str()),
                "give one of them another name, or make them one",
            );
        }
        match kind {
            Kind::Project => {
                read.projects.extend(project::read(&node).map(|form| Document { index, form }));
            }
            Kind::Network => {
                read.networks.extend(network::read(&node).map(|form| Document { index, form }));
            }
            Kind::Port => {
                read.ports.extend(port::read(&node).map(|form| Document { index, form }));
            }
            Kind::Instance => {
                read.instances.extend(instance::read(&node).map(|form| Document { index, form }));
            }
        }
    }
    read
}

/// The document's kind: nothing else of it can be read without.
fn kind_of(node: &Node<'_>) -> Option<Kind> {
    const KNOWN: &str = "Project, Network, Port or Instance";
    let Value::Object(fields) = node.value else { return node.wrong_type("a set of fields") };
    let Some(value) = fields.get("kind") else {
        return node.fault("the field 'kind' is missing", format!("give {KNOWN}"));
    };
    let path = Path::Field(node.path, "kind");
    let node = Node { value, path: &path, ..*node };
    let text = node.text(64)?;
    let found = Kind::ALL.into_iter().find(|kind| kind.as_str() == text);
    found.or_else(|| {
        let near = nearest(text, &Kind::ALL.map(Kind::as_str));
        let mend = near.map_or(format!("give {KNOWN}"), |near| format!("did you mean '{near}'?"));
        node.fault(format!("this is none of {KNOWN}"), mend)
    })
}

#[cfg(test)]
mod tests;
