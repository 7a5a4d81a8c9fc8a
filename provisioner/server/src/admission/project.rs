//! Reading a `kind: Project` document.

use mezame_model::ProjectName;

use super::form::{Node, Object};

/// The fields of the document.
pub(crate) const FIELDS: &[&str] = &["kind", "name", "description", "encrypted_images"];

/// A project as its document has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProjectForm {
    pub(crate) name: ProjectName,
    pub(crate) description: Option<Box<str>>,
    /// As it is without; of a new project false.
    pub(crate) encrypted_images: Option<bool>,
}

/// Reads the fields, noting every fault.
pub(super) fn read(node: &Node<'_>) -> Option<ProjectForm> {
    let object = Object::open(node, FIELDS)?;
    let name = object.required("name", "give the project a name", |n| n.parsed(super::NAME_MEND));
    let description = object.field("description", |n| n.text(1024).map(Into::into)).optional();
    let encrypted = object.field("encrypted_images", |n| n.boolean()).optional();
    Some(ProjectForm { name: name?, description: description?, encrypted_images: encrypted? })
}
