//! A part of the tree as one JSON value, or as lines of `path value`.
//!
//! Walks the table that listings and look-ups come from, so the three agree. In JSON, Google's
//! names lose their hyphens (`network-interfaces` is `networkInterfaces`), numbered directories
//! are arrays, and some leaves are numbers; names of the tenant's and of the guest's stay as they
//! are. Only names that the table fixes have such a form: a tag called `id` is a text.
//!
//! Follows "View and query VM metadata": "Directory listings", "Query parameters".

use serde_json::{Map, Value};

use crate::{
    response::JSON,
    tree::{Directory, Item, Leaf, Node, Scope},
};

/// Directories whose entries are numbered.
const LISTS: [&str; 7] = [
    "access-configs",
    "disks",
    "forwarded-ips",
    "ip-aliases",
    "licenses",
    "network-interfaces",
    "target-instance-ips",
];
/// Leaves that are numbers.
const NUMBERS: [&str; 4] = ["id", "index", "mtu", "numeric-project-id"];
/// Leaves whose lines are an array's items.
const LINES: [&str; 4] = ["aliases", "dns-servers", "ipv6s", "scopes"];

/// A leaf's value. `name` is what it is called in the directory above.
pub(super) fn of_leaf(leaf: &Leaf, name: &str, scope: &Scope<'_>) -> Value {
    let body = (leaf.read)(scope);
    if body.content_type == JSON {
        // Ours, and well-formed.
        return serde_json::from_slice(&body.bytes).unwrap_or_default();
    }
    let text = String::from_utf8_lossy(&body.bytes);
    if is_fixed(scope) {
        if LINES.contains(&name) {
            return text.lines().collect();
        }
        if NUMBERS.contains(&name)
            && let Ok(number) = text.parse::<u64>()
        {
            return number.into();
        }
    }
    text.into()
}

/// All that is below a directory. `name` is what it is called in the directory above.
pub(super) fn of_directory(directory: &'static Directory, name: &str, scope: Scope<'_>) -> Value {
    let of = |node: &'static Node, name: &str, scope: Scope<'_>| match node {
        Node::Directory(directory) => of_directory(directory, name, scope),
        Node::Leaf(leaf) => of_leaf(leaf, name, &scope),
        // Nothing to read; the table of this dialect has none.
        Node::Inbox(_) => Value::Null,
    };
    if is_fixed(&scope) && LISTS.contains(&name) {
        let mut items = Vec::new();
        directory.each(scope, &mut |name, node, scope| items.push(of(node, name, scope)));
        return items.into();
    }
    let mut members = Map::new();
    directory.each(scope, &mut |name, node, scope| {
        let key = if is_fixed(&scope) { camel_case(name) } else { name.to_owned() };
        members.insert(key, of(node, name, scope));
    });
    members.into()
}

/// All that is below a directory, a leaf a line: its path from here, a space, its text.
pub(super) fn lines(directory: &'static Directory, scope: Scope<'_>) -> Vec<u8> {
    fn collect(directory: &'static Directory, scope: Scope<'_>, path: &str, out: &mut Vec<u8>) {
        directory.each(scope, &mut |name, node, scope| match node {
            Node::Directory(directory) => {
                collect(directory, scope, &format!("{path}{name}/"), out);
            }
            Node::Leaf(leaf) => {
                out.extend_from_slice(format!("{path}{name} ").as_bytes());
                out.extend_from_slice(&(leaf.read)(&scope).bytes);
                out.push(b'\n');
            }
            Node::Inbox(_) => {}
        });
    }
    let mut out = Vec::new();
    collect(directory, scope, "", &mut out);
    out
}

/// Whether the table names what the scope is at, and not the record.
fn is_fixed(scope: &Scope<'_>) -> bool {
    !matches!(scope.item, Item::Name(_))
}

/// `network-interfaces` as `networkInterfaces`.
fn camel_case(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for (at, word) in name.split('-').enumerate() {
        match word.split_at_checked(1) {
            Some((first, rest)) if at > 0 => {
                out.push_str(&first.to_ascii_uppercase());
                out.push_str(rest);
            }
            _ => out.push_str(word),
        }
    }
    out
}
