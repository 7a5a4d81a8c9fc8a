//! Paths such as `users[0].ssh_keys[1]` to places.
//!
//! The control plane writes paths; they are looked up in the tree as far as they lead. A path that
//! leads nowhere (a field that is missing) is answered with the nearest place that exists.

use super::node::{Content, Entry, Node, Place};

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Where the value stands.
    pub value: Place,
    /// Where the key of the value, or of the nearest mapping's field around it, stands.
    pub key: Option<Place>,
    /// Whether the value is a scalar, so that its own place says more than its key's.
    pub is_scalar: bool,
    /// Whether the whole path was followed.
    pub exact: bool,
}

impl Found {
    /// The place to show: of a scalar beside its key the value, of anything else (a list, a text
    /// of several lines) the key.
    pub fn place(&self) -> Place {
        let beside = |key: Place| self.is_scalar && self.exact && key.line == self.value.line;
        match self.key {
            Some(key) if !beside(key) => key,
            _ => self.value,
        }
    }
}

impl Node {
    /// Follows a path as far as it leads.
    pub fn locate(&self, path: &str) -> Found {
        let mut found = Found { value: self.place, key: None, is_scalar: false, exact: true };
        let (mut node, mut rest) = (self, path);
        loop {
            found.is_scalar = matches!(&node.content, Content::Scalar(value) if !value.is_null());
            found.value = node.place;
            rest = rest.strip_prefix('.').unwrap_or(rest);
            if rest.is_empty() {
                return found;
            }
            let step = match &node.content {
                Content::Mapping(entries) => field(entries, rest).map(|(entry, rest)| {
                    found.key = Some(entry.place);
                    (&entry.node, rest)
                }),
                Content::Sequence(items) => {
                    index(rest).and_then(|(at, rest)| Some((items.get(at)?, rest)))
                }
                Content::Scalar(_) => None,
            };
            match step {
                Some((next, after)) => {
                    // An item's own place says more than the key of the list that it is in.
                    if matches!(node.content, Content::Sequence(_)) {
                        found.key = Some(next.place);
                    }
                    node = next;
                    rest = after;
                }
                None => {
                    found.exact = false;
                    return found;
                }
            }
        }
    }

    /// Every path of this tree with the node that it names, children before their parents.
    pub fn paths(&self) -> Vec<(String, &Node)> {
        let mut all = Vec::new();
        collect(self, String::new(), &mut all);
        all
    }
}

fn collect<'node>(node: &'node Node, path: String, all: &mut Vec<(String, &'node Node)>) {
    match &node.content {
        Content::Scalar(_) => {}
        Content::Sequence(items) => {
            for (at, item) in items.iter().enumerate() {
                collect(item, format!("{path}[{at}]"), all);
            }
        }
        Content::Mapping(entries) => {
            for entry in entries {
                let dot = if path.is_empty() { "" } else { "." };
                collect(&entry.node, format!("{path}{dot}{}", entry.key), all);
            }
        }
    }
    all.push((path, node));
}

/// The field that `rest` begins with. Keys may have dots and brackets (tags do), so the longest
/// one that fits is taken; `["key"]` names any.
fn field<'node, 'path>(
    entries: &'node [Entry],
    rest: &'path str,
) -> Option<(&'node Entry, &'path str)> {
    if let Some(quoted) = rest.strip_prefix('[') {
        let mut texts = serde_json::Deserializer::from_str(quoted).into_iter::<String>();
        if let Some(Ok(key)) = texts.next() {
            let after = quoted.get(texts.byte_offset()..)?.strip_prefix(']')?;
            return entries.iter().find(|entry| entry.key == key).map(|entry| (entry, after));
        }
    }
    entries
        .iter()
        .filter_map(|entry| {
            let after = rest.strip_prefix(entry.key.as_str())?;
            (after.is_empty() || after.starts_with(['.', '['])).then_some((entry, after))
        })
        .min_by_key(|(_, after)| after.len())
}

/// `[7]…`
fn index(rest: &str) -> Option<(usize, &str)> {
    let (digits, after) = rest.strip_prefix('[')?.split_once(']')?;
    Some((digits.parse().ok()?, after))
}
