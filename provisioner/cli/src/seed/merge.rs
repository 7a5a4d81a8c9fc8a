//! Merge keys (`<<: *defaults`), as <https://yaml.org/type/merge.html> describes them.
//!
//! Not part of YAML 1.2, but what people write to share fields between documents' parts. A field
//! that the mapping has itself wins; of several merged mappings the earlier wins.

use std::collections::HashSet;

use super::node::{Content, Entry, Node};

/// The value of a merge key is neither a mapping nor a list of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotMergeable;

/// Puts the fields of `source` behind a mapping's own `entries`, those excepted that it has.
pub(super) fn merge(entries: &mut Vec<Entry>, source: &Node) -> Result<(), NotMergeable> {
    let mut known: HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
    let mut take = |node: &Node| match &node.content {
        Content::Mapping(fields) => {
            entries.extend(fields.iter().filter(|entry| known.insert(entry.key.clone())).cloned());
            Ok(())
        }
        _ => Err(NotMergeable),
    };
    match &source.content {
        Content::Mapping(_) => take(source),
        Content::Sequence(items) => items.iter().try_for_each(|item| take(item)),
        Content::Scalar(_) => Err(NotMergeable),
    }
}
