//! The tree of a document: values that remember their places.
//!
//! Nodes are shared by reference count, so that an alias costs nothing until it is expanded; each
//! knows its expanded weight, so that an expansion is refused before it is done.

use std::rc::Rc;

use serde_json::Value;

/// Where something stands in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// The first character, counted from the text's start.
    pub start: usize,
    /// The character after the last one.
    pub end: usize,
}

impl Place {
    /// One character.
    pub fn point(line: usize, column: usize, at: usize) -> Self {
        Self { line, column, start: at, end: at + 1 }
    }

    /// Just after a text.
    pub fn at_end_of(text: &str) -> Self {
        let (mut line, mut column, mut at, mut last) = (1, 1, 0, ' ');
        for c in text.chars() {
            at += 1;
            // A carriage return and the line feed after it are one break.
            match c {
                '\n' if last == '\r' => {}
                '\n' | '\r' => {
                    line += 1;
                    column = 1;
                }
                _ => column += 1,
            }
            last = c;
        }
        Self::point(line, column, at)
    }
}

/// A node's value. Debug shows its form and its keys: any scalar may be a secret.
#[derive(Clone)]
pub enum Content {
    /// Null, a boolean, a number or a text.
    Scalar(Value),
    /// A list.
    Sequence(Vec<Rc<Node>>),
    /// Fields in the order of the text; keys are unique.
    Mapping(Vec<Entry>),
}

impl std::fmt::Debug for Content {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Scalar(_) => out.write_str("Scalar(..)"),
            Self::Sequence(items) => out.debug_list().entries(items).finish(),
            Self::Mapping(entries) => out.debug_list().entries(entries).finish(),
        }
    }
}

/// One field of a mapping.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its name.
    pub key: String,
    /// Where the name stands.
    pub place: Place,
    /// Its value.
    pub node: Rc<Node>,
}

/// A value at its place.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where it stands; for a sequence or a mapping, where it begins.
    pub place: Place,
    /// Where its text stands: for an alias, where its anchor's node does.
    pub origin: Place,
    /// What it is.
    pub content: Content,
    /// Its size with all aliases expanded, as [`super::MAX_EXPANDED`] counts it.
    pub(super) weight: usize,
}

/// What each node weighs besides its text.
const NODE_WEIGHT: usize = 16;

impl Node {
    /// A scalar. `text` is its length in the source.
    pub(super) fn scalar(place: Place, value: Value, text: usize) -> Self {
        Self {
            place,
            origin: place,
            content: Content::Scalar(value),
            weight: NODE_WEIGHT.saturating_add(text),
        }
    }

    pub(super) fn sequence(place: Place, items: Vec<Rc<Self>>) -> Self {
        let weight = items.iter().fold(NODE_WEIGHT, |sum, item| sum.saturating_add(item.weight));
        Self { place, origin: place, content: Content::Sequence(items), weight }
    }

    pub(super) fn mapping(place: Place, entries: Vec<Entry>) -> Self {
        let weight = entries.iter().fold(NODE_WEIGHT, |sum, entry| {
            sum.saturating_add(entry.node.weight).saturating_add(entry.key.len())
        });
        Self { place, origin: place, content: Content::Mapping(entries), weight }
    }

    /// The value without places, aliases expanded.
    pub fn to_value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::Sequence(items) => items.iter().map(|item| item.to_value()).collect(),
            Content::Mapping(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.node.to_value())).collect(),
            ),
        }
    }

    /// A field of a mapping.
    pub fn field(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    /// A field's text, if it has one that is a text.
    pub fn text(&self, key: &str) -> Option<&str> {
        match &self.field(key)?.node.content {
            Content::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The fields of a mapping; none of anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.content {
            Content::Mapping(entries) => entries,
            _ => &[],
        }
    }
}
