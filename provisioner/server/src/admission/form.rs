//! Reading a document field by field, with every fault noted and none that ends the reading.
//!
//! A [`Node`] is a value and its path; a reader answers None after noting why. Faults speak of
//! forms, never of what was found in them, so that a secret in the wrong place is not echoed:
//! only names (which are no secrets) are quoted, by the callers that know it.

use std::{
    cell::{Cell, RefCell},
    fmt,
    str::FromStr,
};

use mezame_model::api::Fault;
use serde_json::{Map, Value};

/// Most faults that one answer holds; what is beyond is counted.
pub(crate) const MOST_FAULTS: usize = 1000;

/// Collects faults.
#[derive(Default)]
pub(crate) struct Faults {
    list: RefCell<Vec<Fault>>,
    beyond: Cell<usize>,
}

impl Faults {
    /// Notes one.
    pub(crate) fn note(
        &self,
        document: usize,
        path: impl ToString,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) {
        let mut list = self.list.borrow_mut();
        if list.len() >= MOST_FAULTS {
            self.beyond.set(self.beyond.get() + 1);
            return;
        }
        let (path, message, mend) = (path.to_string(), message.into(), mend.into());
        list.push(Fault { document, path, message, mend });
    }

    /// All that were noted, in the documents' order. None where there was none.
    pub(crate) fn into_list(self) -> Option<Vec<Fault>> {
        let mut list = self.list.into_inner();
        list.sort_by_key(|fault| fault.document);
        if self.beyond.get() > 0
            && let Some(last) = list.last_mut()
        {
            last.message = format!("{} (and {} more faults)", last.message, self.beyond.get());
        }
        if list.is_empty() { None } else { Some(list) }
    }
}

/// Where in a document, as a chain towards its root: rendered only when there is a fault.
#[derive(Clone, Copy)]
pub(crate) enum Path<'p> {
    /// The document itself.
    Document,
    /// A field of an object.
    Field(&'p Path<'p>, &'p str),
    /// A place in a list.
    Item(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document => Ok(()),
            Self::Item(parent, index) => write!(out, "{parent}[{index}]"),
            Self::Field(parent, name) => {
                let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
                parent.fmt(out)?;
                if name.is_empty() || !name.bytes().all(plain) {
                    // As a JSON string, so that dots and brackets in keys can be told apart.
                    return write!(out, "[{}]", Value::from(*name));
                }
                let dot = if matches!(parent, Self::Document) { "" } else { "." };
                write!(out, "{dot}{name}")
            }
        }
    }
}

/// A value, where it is, and where to note what is wrong with it.
#[derive(Clone, Copy)]
pub(crate) struct Node<'n> {
    pub(super) value: &'n Value,
    pub(super) path: &'n Path<'n>,
    pub(super) document: usize,
    pub(super) faults: &'n Faults,
}

impl<'n> Node<'n> {
    /// Notes a fault here.
    pub(super) fn fault<T>(
        &self,
        message: impl Into<String>,
        mend: impl Into<String>,
    ) -> Option<T> {
        self.faults.note(self.document, self.path, message, mend);
        None
    }

    /// Notes that the value is of a wrong type, without a word about what it is.
    pub(super) fn wrong_type<T>(&self, wanted: &str) -> Option<T> {
        let found = match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "fields",
        };
        let mend = match (wanted, self.value) {
            ("a text", Value::Bool(_) | Value::Number(_)) => "put the value in quotes",
            ("a list", _) => "write a list, such as [a, b]",
            _ => "see the field's description in the OpenAPI document",
        };
        self.fault(format!("this must be {wanted}, and is {found}"), mend)
    }

    /// A text of at most `most` bytes.
    pub(super) fn text(&self, most: usize) -> Option<&'n str> {
        let Value::String(text) = self.value else { return self.wrong_type("a text") };
        if text.len() > most {
            let message = format!("{} bytes are more than the {most} allowed here", text.len());
            return self.fault(message, "shorten it");
        }
        Some(text)
    }

    /// A text that a newtype's parser takes. Its message may quote the text, so this is for names
    /// and numbers only.
    pub(super) fn parsed<T>(&self, mend: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        match self.text(1024)?.parse() {
            Ok(value) => Some(value),
            Err(error) => self.fault(error.to_string(), mend),
        }
    }

    /// A whole number between two bounds.
    pub(super) fn integer(&self, least: u64, most: u64) -> Option<u64> {
        let number = match self.value {
            Value::Number(number) => number.as_u64(),
            _ => return self.wrong_type("a whole number"),
        };
        match number {
            Some(number) if (least..=most).contains(&number) => Some(number),
            _ => self.fault(
                format!("this is not a whole number from {least} to {most}"),
                format!("choose one from {least} to {most}"),
            ),
        }
    }

    /// True or false.
    pub(super) fn boolean(&self) -> Option<bool> {
        match self.value {
            Value::Bool(value) => Some(*value),
            _ => self.wrong_type("true or false"),
        }
    }

    /// A list of at most `most` items; None if any item is at fault.
    pub(super) fn list<T>(
        &self,
        most: usize,
        read: impl Fn(&Node<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let Value::Array(items) = self.value else { return self.wrong_type("a list") };
        if items.len() > most {
            let message = format!("{} entries are more than the {most} allowed", items.len());
            return self.fault(message, "leave some out");
        }
        let mut good = Vec::with_capacity(items.len());
        for (index, value) in items.iter().enumerate() {
            let path = Path::Item(self.path, index);
            good.extend(read(&Node { value, path: &path, ..*self }));
        }
        if good.len() == items.len() { Some(good) } else { None }
    }

    /// Names and values, at most `most`; None if any is at fault.
    pub(super) fn map<K, V>(
        &self,
        most: usize,
        read: impl Fn(&str, &Node<'_>) -> Option<(K, V)>,
    ) -> Option<Vec<(K, V)>> {
        let Value::Object(fields) = self.value else {
            return self.wrong_type("a set of names and values");
        };
        if fields.len() > most {
            let message = format!("{} entries are more than the {most} allowed", fields.len());
            return self.fault(message, "leave some out");
        }
        let mut good = Vec::with_capacity(fields.len());
        for (key, value) in fields {
            let path = Path::Field(self.path, key);
            good.extend(read(key, &Node { value, path: &path, ..*self }));
        }
        if good.len() == fields.len() { Some(good) } else { None }
    }
}

/// An object whose fields are known.
pub(super) struct Object<'n> {
    node: Node<'n>,
    fields: &'n Map<String, Value>,
}

/// What became of reading a field.
pub(super) enum Field<T> {
    /// Not given, or null.
    Absent,
    /// Given, and at fault.
    Bad,
    /// Given, and good.
    Good(T),
}

impl<T> Field<T> {
    /// The value or a default; None of a bad one.
    pub(super) fn or(self, default: impl FnOnce() -> T) -> Option<T> {
        match self {
            Self::Absent => Some(default()),
            Self::Bad => None,
            Self::Good(value) => Some(value),
        }
    }

    /// The value, if there is one; the outer None of a bad one.
    pub(super) fn optional(self) -> Option<Option<T>> {
        match self {
            Self::Absent => Some(None),
            Self::Bad => None,
            Self::Good(value) => Some(Some(value)),
        }
    }
}

impl<'n> Object<'n> {
    /// Opens an object and notes the fields that are not known.
    pub(super) fn open(node: &Node<'n>, known: &[&str]) -> Option<Self> {
        let Value::Object(fields) = node.value else { return node.wrong_type("a set of fields") };
        for (name, value) in fields {
            if known.contains(&name.as_str()) {
                continue;
            }
            let path = Path::Field(node.path, name);
            let mend = match nearest(name, known) {
                Some(near) => format!("did you mean '{near}'?"),
                None => format!("known are {}", known.join(", ")),
            };
            Node { value, path: &path, ..*node }.fault::<()>("no such field", mend);
        }
        Some(Self { node: *node, fields })
    }

    /// Reads a field that may be left out.
    pub(super) fn field<T>(
        &self,
        name: &str,
        read: impl FnOnce(&Node<'_>) -> Option<T>,
    ) -> Field<T> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Field::Absent,
            Some(value) => {
                let path = Path::Field(self.node.path, name);
                match read(&Node { value, path: &path, ..self.node }) {
                    Some(value) => Field::Good(value),
                    None => Field::Bad,
                }
            }
        }
    }

    /// Reads a field that must be there. One that is missing is a fault of what it is missing in,
    /// since a fault's path always exists in the document.
    pub(super) fn required<T>(
        &self,
        name: &str,
        mend: &str,
        read: impl FnOnce(&Node<'_>) -> Option<T>,
    ) -> Option<T> {
        match self.field(name, read) {
            Field::Good(value) => Some(value),
            Field::Bad => None,
            Field::Absent => self.node.fault(format!("the field '{name}' is missing"), mend),
        }
    }

    /// Whether a field is there at all, and not null.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.get(name).is_some_and(|value| !value.is_null())
    }

    /// Notes a fault of a field that is there.
    pub(super) fn fault_at(&self, name: &str, message: &str, mend: &str) {
        let path = Path::Field(self.node.path, name);
        self.node.faults.note(self.node.document, path, message, mend);
    }
}

/// The known word that a misspelt one is nearest to, if any is near.
pub(super) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    if word.len() > 64 {
        return None;
    }
    let near = known.iter().map(|known| {
        let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
        (strsim::damerau_levenshtein(&plain(word), &plain(known)), *known)
    });
    let (distance, known) = near.min_by_key(|(distance, _)| *distance)?;
    if distance <= 1 + known.len() / 4 { Some(known) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_fields_items_and_odd_keys() {
        let users = Path::Field(&Path::Document, "users");
        let first = Path::Item(&users, 0);
        assert_eq!(Path::Field(&first, "ssh_keys").to_string(), "users[0].ssh_keys");
        let tags = Path::Field(&Path::Document, "tags");
        assert_eq!(Path::Field(&tags, "a.b\"").to_string(), r#"tags["a.b\""]"#);
        assert_eq!(Path::Document.to_string(), "");
    }

    #[test]
    fn a_misspelt_word_is_answered_with_the_nearest_one() {
        let known = ["ssh_keys", "user_data", "ports"];
        assert_eq!(nearest("ssh-keys", &known), Some("ssh_keys"));
        assert_eq!(nearest("userdata", &known), Some("user_data"));
        assert_eq!(nearest("prots", &known), Some("ports"));
        assert_eq!(nearest("volume", &known), None);
    }
}
