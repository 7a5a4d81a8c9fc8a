//! Operators' seeds: YAML or JSON text to documents that know where each of their fields stands.
//!
//! The control plane names a fault by its document and path; an operator wants the file, the line
//! and the column. So the text is composed into a tree that keeps every node's place (YAML 1.2
//! core schema, <https://yaml.org/spec/1.2.2/>; JSON is a part of it). All faults of a text are
//! found in one go. Depth, size and the growth by aliases are bounded before memory is spent.
//!
//! This module never opens a file and never panics on what it reads: [`read`] is the whole way in
//! (and the entry for fuzzing). Files are [`source`]'s part.

pub mod attachment;
mod compose;
pub mod envelope;
mod locate;
pub mod mask;
mod merge;
mod node;
mod scalar;
pub mod source;
mod stop;

pub use locate::Found;
pub use node::{Content, Entry, Node, Place};

/// The greatest length of one seed's text, in bytes: 16 MiB.
pub const MAX_BYTES: usize = 16 << 20;

/// How deep sequences and mappings may be nested.
pub const MAX_DEPTH: usize = 48;

/// The greatest size of one text after its aliases were expanded, counted as the bytes of all
/// scalars and keys and 16 for each node.
pub const MAX_EXPANDED: usize = 32 << 20;

/// How many faults are collected before reading stops.
pub const MAX_FAULTS: usize = 200;

/// One document of a seed.
#[derive(Debug, Clone)]
pub struct Document {
    /// The tree with places. Always a mapping.
    pub root: std::rc::Rc<Node>,
}

/// Something wrong in a text, at its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextFault {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub mend: String,
}

/// What reading a text gave: the documents that could be read, and all that was wrong.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// In their order. Complete only if there is no fault.
    pub documents: Vec<Document>,
    /// In the order of the text.
    pub faults: Vec<TextFault>,
}

/// Reads a seed: any number of YAML documents (or JSON), each a mapping, or a sequence of
/// mappings that each count as a document.
pub fn read(bytes: &[u8]) -> Reading {
    match decode(bytes) {
        Ok(text) => compose::compose(text),
        Err(fault) => Reading { documents: Vec::new(), faults: vec![fault] },
    }
}

/// The text of a seed: UTF-8 with or without a byte order mark.
pub fn decode(bytes: &[u8]) -> Result<&str, TextFault> {
    let start = Place::point(1, 1, 0);
    if bytes.len() > MAX_BYTES {
        return Err(TextFault {
            place: start,
            message: format!("{} bytes are more than the {MAX_BYTES} of a seed", bytes.len()),
            mend: "split it into several files, or put user-data into files of their own with \
                   user_data_file"
                .into(),
        });
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(TextFault {
            place: start,
            message: "the text is UTF-16".into(),
            mend: "save it as UTF-8".into(),
        });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        TextFault {
            place: Place::at_end_of(&valid),
            message: format!(
                "byte 0x{:02x} is not UTF-8",
                bytes.get(error.valid_up_to()).copied().unwrap_or_default()
            ),
            mend: "save the file as UTF-8; for binary user-data use user_data_file".into(),
        }
    })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

#[cfg(test)]
mod tests;
