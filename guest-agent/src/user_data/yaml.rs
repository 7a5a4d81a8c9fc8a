//! YAML as cloud-config uses it, read into a bounded tree.
//!
//! Why not serde: cloud-config was defined by PyYAML, that is YAML 1.1. There `0644` is written
//! for a mode, `yes` for true, and a password may look like a number; a deserializer that guesses
//! a type first has lost the text. Here a scalar keeps its text, and the one who asks decides.
//!
//! Bounds: [`MAX_BYTES`], [`MAX_DEPTH`] and [`MAX_NODES`]; a node behind an alias counts each time
//! that it is used, so a small text can't grow into a large tree. Only the first document is read.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

/// The longest text that is read, in bytes.
pub const MAX_BYTES: usize = 4 << 20;
/// How deep lists and mappings may be nested.
pub const MAX_DEPTH: usize = 48;
/// How many nodes a document may have, aliases resolved.
pub const MAX_NODES: usize = 20_000;

/// Why a text is not taken as YAML.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum YamlError {
    /// Not UTF-8.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// Longer than [`MAX_BYTES`].
    #[error("the text is longer than {MAX_BYTES} bytes")]
    TooLong,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("line {line}: nested deeper than {MAX_DEPTH} levels")]
    TooDeep {
        /// Counted from 1.
        line: usize,
    },
    /// More nodes than [`MAX_NODES`].
    #[error("line {line}: more than {MAX_NODES} nodes, aliases counted each time")]
    TooManyNodes {
        /// Counted from 1.
        line: usize,
    },
    /// A mapping has a list or a mapping as a key.
    #[error("line {line}: a key is not a plain text")]
    KeyNotText {
        /// Counted from 1.
        line: usize,
    },
    /// A key is there twice.
    #[error("line {line}: the key {key:?} is there twice")]
    DoubledKey {
        /// Counted from 1.
        line: usize,
        /// Cut to 80 characters.
        key: String,
    },
    /// An alias names no anchor before it.
    #[error("line {line}: an alias to something that is not there")]
    BadAlias {
        /// Counted from 1.
        line: usize,
    },
    /// No YAML.
    #[error("line {line}: {message}")]
    Syntax {
        /// Counted from 1.
        line: usize,
        /// The parser's words; never the text itself.
        message: String,
    },
}

/// A node of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// Nothing, `~` or `null`.
    Null,
    /// A text, a number, a truth value: whatever the reader makes of it.
    Scalar(Scalar),
    /// A list.
    Sequence(Vec<Node>),
    /// A mapping, in the order in which it was written.
    Mapping(Vec<(String, Node)>),
}

/// A scalar as it was written.
#[derive(Clone, PartialEq, Eq)]
pub struct Scalar {
    /// The text, quotes and escapes resolved.
    pub text: String,
    /// Whether it was written without quotes, so that it may be a number or a truth value.
    pub plain: bool,
    /// Whether it bore the tag `!!binary`: the text is base64.
    pub binary: bool,
}

impl std::fmt::Debug for Scalar {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // It may be a password.
        write!(out, "Scalar({} bytes)", self.text.len())
    }
}

impl Node {
    /// The value of a key, if this is a mapping that has it.
    pub fn entry(&self, key: &str) -> Option<&Node> {
        match self {
            Self::Mapping(entries) => entries.iter().find(|(name, _)| name == key).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The text of a scalar.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Scalar(scalar) => Some(&scalar.text),
            _ => None,
        }
    }

    /// A truth value by YAML 1.1 (yaml.org/type/bool.html); a quoted one counts too, since people
    /// write `"true"`.
    pub fn as_bool(&self) -> Option<bool> {
        match self.as_text()?.to_ascii_lowercase().as_str() {
            "y" | "yes" | "true" | "on" | "1" => Some(true),
            "n" | "no" | "false" | "off" | "0" => Some(false),
            _ => None,
        }
    }

    /// A decimal number.
    pub fn as_u32(&self) -> Option<u32> {
        self.as_text()?.parse().ok()
    }

    /// The entries of a list; a scalar is a list of one, as cloud-config allows in most places.
    pub fn as_list(&self) -> Option<Vec<&Node>> {
        match self {
            Self::Sequence(nodes) => Some(nodes.iter().collect()),
            Self::Scalar(_) => Some(vec![self]),
            _ => None,
        }
    }

    /// What kind of node this is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar(_) => "a text",
            Self::Sequence(_) => "a list",
            Self::Mapping(_) => "a mapping",
        }
    }

    fn count(&self) -> usize {
        1 + match self {
            Self::Null | Self::Scalar(_) => 0,
            Self::Sequence(nodes) => nodes.iter().map(Node::count).sum(),
            Self::Mapping(entries) => entries.iter().map(|(_, node)| 1 + node.count()).sum(),
        }
    }
}

/// Reads the first document of a YAML text; an empty text is [`Node::Null`].
pub fn parse(bytes: &[u8]) -> Result<Node, YamlError> {
    if bytes.len() > MAX_BYTES {
        return Err(YamlError::TooLong);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| YamlError::NotUtf8)?;
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| YamlError::Syntax {
            line: error.marker().line(),
            message: error.info().chars().take(200).collect(),
        })?;
        let line = span.start.line();
        match event {
            Event::Nothing | Event::StreamStart | Event::DocumentStart(_) => {}
            Event::DocumentEnd | Event::StreamEnd => break,
            Event::Alias(anchor) => {
                let node = builder.anchors.get(&anchor).cloned();
                let node = node.ok_or(YamlError::BadAlias { line })?;
                builder.spend(node.count(), line)?;
                builder.put(node, 0, line)?;
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let binary = tag.is_some_and(|tag| tag.suffix == "binary");
                let node = if plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL") {
                    Node::Null
                } else {
                    Node::Scalar(Scalar { text: text.into_owned(), plain, binary })
                };
                builder.spend(1, line)?;
                builder.put(node, anchor, line)?;
            }
            Event::SequenceStart(anchor, _) => {
                builder.open(Open::Sequence(Vec::new()), anchor, line)?;
            }
            Event::MappingStart(anchor, _) => {
                builder.open(Open::Mapping(Vec::new(), None), anchor, line)?;
            }
            Event::SequenceEnd | Event::MappingEnd => builder.close(line)?,
        }
    }
    Ok(builder.root.unwrap_or(Node::Null))
}

enum Open {
    Sequence(Vec<Node>),
    Mapping(Vec<(String, Node)>, Option<String>),
}

#[derive(Default)]
struct Builder {
    root: Option<Node>,
    open: Vec<(Open, usize)>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
}

impl Builder {
    fn open(&mut self, open: Open, anchor: usize, line: usize) -> Result<(), YamlError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(YamlError::TooDeep { line });
        }
        self.spend(1, line)?;
        self.open.push((open, anchor));
        Ok(())
    }

    fn spend(&mut self, nodes: usize, line: usize) -> Result<(), YamlError> {
        self.nodes += nodes;
        if self.nodes > MAX_NODES { Err(YamlError::TooManyNodes { line }) } else { Ok(()) }
    }

    fn close(&mut self, line: usize) -> Result<(), YamlError> {
        match self.open.pop() {
            Some((Open::Sequence(nodes), anchor)) => self.put(Node::Sequence(nodes), anchor, line),
            Some((Open::Mapping(entries, _), anchor)) => {
                self.put(Node::Mapping(entries), anchor, line)
            }
            None => Ok(()),
        }
    }

    fn put(&mut self, node: Node, anchor: usize, line: usize) -> Result<(), YamlError> {
        if anchor != 0 {
            self.spend(node.count(), line)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some((Open::Sequence(nodes), _)) => nodes.push(node),
            Some((Open::Mapping(entries, key), _)) => match key.take() {
                None => {
                    let name = match node {
                        Node::Scalar(scalar) => scalar.text,
                        Node::Null => String::new(),
                        _ => return Err(YamlError::KeyNotText { line }),
                    };
                    if entries.iter().any(|(known, _)| *known == name) {
                        let key = name.chars().take(80).collect();
                        return Err(YamlError::DoubledKey { line, key });
                    }
                    *key = Some(name);
                }
                Some(name) => entries.push((name, node)),
            },
        }
        Ok(())
    }
}
