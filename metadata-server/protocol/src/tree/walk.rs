//! Walks through a tree without a path to follow: everything that a guest has, once.
//!
//! For what holds a whole tree and not one leaf of it: a directory as one JSON value, a disk. It
//! reads the table that look-ups and listings come from, so whatever is walked is what is
//! answered.

use super::{Body, Directory, Label, Name, Node, Scope};

impl Directory {
    /// Calls `each` with what is there in the directory, in the order of its listing: the segment
    /// that leads to it, the node, its scope. Places to post to are passed over, as listings do.
    pub(crate) fn each<'a>(
        &'static self,
        scope: Scope<'a>,
        each: &mut dyn FnMut(&str, &'static Node, Scope<'a>),
    ) {
        for entry in self.entries.iter().filter(|entry| entry.since <= scope.edition) {
            match (&entry.name, &entry.node) {
                (_, Node::Inbox(_)) => {}
                (Name::Fixed(name), node) => {
                    if entry.is_there(&scope) {
                        each(name, node, scope);
                    }
                }
                (Name::Family(family), node) => (family.members)(&scope, &mut |label| {
                    let segment = segment(label, node);
                    if let Some(chosen) = (family.choose)(scope, segment) {
                        each(segment, node, chosen);
                    }
                }),
            }
        }
    }

    /// Calls `each` with every leaf below the directory, at any depth: its path, which begins with
    /// `above`, and its value.
    pub(crate) fn leaves(
        &'static self,
        scope: Scope<'_>,
        above: &str,
        each: &mut dyn FnMut(String, Body),
    ) {
        self.each(scope, &mut |name, node, scope| match node {
            Node::Directory(directory) => {
                directory.leaves(scope, &format!("{above}{name}/"), each);
            }
            Node::Leaf(leaf) => each(format!("{above}{name}"), (leaf.read)(&scope)),
            Node::Inbox(_) => {}
        });
    }
}

/// The segment of a path that a listing's line stands for.
fn segment<'l>(label: &'l str, node: &Node) -> &'l str {
    match node {
        Node::Directory(directory) if directory.label == Label::Family => {
            label.split_once('=').map_or(label, |(segment, _)| segment)
        }
        _ => label,
    }
}
