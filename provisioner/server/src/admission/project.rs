//! Reading a `kind: Project` document.

use mezame_model::ProjectName;

use super::form::{Node, Object};

/// The fields of the document.
pub(crate) const FIELDS: &[&str] = &["kind", "name", "description"];

/// A project as its document has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProjectForm {
    pub(crate) name: ProjectName,
    pub(crate) description: Option<Box<str>>,
}

/// Reads the fields, noting every fault.
pub(super) fn read(node: &Node<'_>) -> Option<ProjectForm> {
    let object = Object::open(node, FIELDS)?;
    let name = object.required("name", "give the project a name", |n| n.parsed(super::NAME_MEND));
    let description = object.field("description", |n| n.text(1024).map(Into::into)).optional();
    Some(ProjectForm { name: name?, description: description? })
}
