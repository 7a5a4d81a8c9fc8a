//! EC2's tree as nova's config drive has it: all of `meta-data/` as one JSON file.
//!
//! ```text
//! ec2/VERSION/meta-data.json   directories as objects, leaves as texts
//! ec2/VERSION/user-data        if there is any
//! ```
//! Only for the versions that nova writes by default. `dynamic/` is not there: a signed document
//! would be out of date as soon as it lies on a disk, and nova has none.
//!
//! Follows "Config drives" in nova's user guide ("Metadata"), and `config_drive_skip_versions` in its
//! configuration reference.

use serde_json::{Map, Value};

use super::{ROOT, VERSIONS, meta_data::META_DATA};
use crate::{
    response::JSON,
    tree::{Body, Directory, Node, Scope},
};

/// What nova writes: it skips the versions before 2009-04-04, and knows none after it.
const WRITTEN: [&str; 2] = ["2009-04-04", "latest"];

/// All of the files, for a disk.
pub(crate) fn files(scope: Scope<'_>, each: &mut dyn FnMut(String, Body)) {
    for (edition, version) in VERSIONS.iter().enumerate() {
        if !WRITTEN.contains(version) {
            continue;
        }
        let scope = Scope { edition: edition as u8, ..scope };
        let meta_data = object(&META_DATA, scope).to_string();
        each(format!("ec2/{version}/meta-data.json"), Body::of(JSON, meta_data.into()));
        ROOT.each(scope, &mut |name, node, scope| {
            if let Node::Leaf(leaf) = node {
                each(format!("ec2/{version}/{name}"), (leaf.read)(&scope));
            }
        });
    }
}

/// All that is below a directory. EC2's leaves are texts, whatever their bytes.
fn object(directory: &'static Directory, scope: Scope<'_>) -> Value {
    let mut members = Map::new();
    directory.each(scope, &mut |name, node, scope| {
        let value = match node {
            Node::Directory(directory) => object(directory, scope),
            Node::Leaf(leaf) => String::from_utf8_lossy(&(leaf.read)(&scope).bytes).into(),
            // Nothing to read; the table of this dialect has none.
            Node::Inbox(_) => Value::Null,
        };
        members.insert(name.to_owned(), value);
    });
    members.into()
}
