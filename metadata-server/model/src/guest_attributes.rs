//! What a guest keeps with its own metadata, as Google's clients do: values by `NAMESPACE/KEY`.
//!
//! Written by the guest, so bounded here, in one place for the edge that takes a value and for the
//! control plane that keeps it. Debug shows no value: what a guest puts there is its own business.
//! Never decides who may write.

use serde::{Deserialize, Serialize};

use crate::Tags;

/// A change of one attribute.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestAttribute {
    /// `NAMESPACE/KEY`, at most [`GuestAttribute::NAME_MAX`] bytes each.
    pub path: Box<str>,
    /// At most [`GuestAttribute::VALUE_MAX`] bytes; None removes it.
    pub value: Option<Box<str>>,
}

impl GuestAttribute {
    /// The longest namespace, and the longest key, in bytes.
    pub const NAME_MAX: usize = 128;
    /// The longest value, in bytes.
    pub const VALUE_MAX: usize = 32 << 10;
}

/// Without the value.
impl std::fmt::Debug for GuestAttribute {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("GuestAttribute").field("path", &self.path).finish_non_exhaustive()
    }
}

/// All of a guest's attributes. In JSON: an object.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GuestAttributes(Tags);

/// Why a change is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GuestAttributeError {
    /// The path or the value breaks a rule.
    #[error("the name or the value of the attribute is too long or malformed")]
    Malformed,
    /// There are too many, or they are too long together.
    #[error("the guest has no room for more attributes")]
    Full,
}

impl GuestAttributes {
    /// Most attributes of a guest.
    pub const COUNT_MAX: usize = 256;
    /// The most bytes of their paths and values together: 64 KiB.
    pub const TOTAL_MAX: usize = 64 << 10;

    /// The same after a change.
    pub fn with(&self, change: &GuestAttribute) -> Result<Self, GuestAttributeError> {
        let is_name = |name: &str| {
            (1..=GuestAttribute::NAME_MAX).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/')
        };
        let is_path = change.path.split_once('/').is_some_and(|(a, b)| is_name(a) && is_name(b));
        let length = change.value.as_deref().map_or(0, str::len);
        if !is_path || length > GuestAttribute::VALUE_MAX {
            return Err(GuestAttributeError::Malformed);
        }
        let after = Self(self.0.with(&change.path, change.value.as_deref()));
        let total: usize = after.iter().map(|(path, value)| path.len() + value.len()).sum();
        // A guest over a limit may still take away.
        if change.value.is_some()
            && (after.0.keys().len() > Self::COUNT_MAX || total > Self::TOTAL_MAX)
        {
            return Err(GuestAttributeError::Full);
        }
        Ok(after)
    }

    /// The value of a path.
    pub fn get(&self, path: &str) -> Option<&str> {
        self.0.get(path)
    }

    /// The path as it is kept, and its value.
    pub fn get_key_value(&self, path: &str) -> Option<(&str, &str)> {
        self.0.get_key_value(path)
    }

    /// Paths and values, sorted by path.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter()
    }

    /// The paths, sorted.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.keys()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Only how many.
impl std::fmt::Debug for GuestAttributes {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "GuestAttributes({})", self.keys().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &str, value: Option<&str>) -> GuestAttribute {
        GuestAttribute { path: path.into(), value: value.map(Box::from) }
    }

    #[test]
    fn an_attribute_is_set_replaced_and_taken_away() {
        let set = |all: &GuestAttributes, path, value| all.with(&change(path, value)).unwrap();
        let mut all = set(&GuestAttributes::default(), "b/x", Some("1"));
        all = set(&all, "a/y", Some("2"));
        all = set(&all, "b/x", Some("3"));
        assert_eq!(all.iter().collect::<Vec<_>>(), [("a/y", "2"), ("b/x", "3")]);
        assert!(set(&set(&all, "a/y", None), "b/x", None).is_empty());
        assert_eq!(set(&all, "c/z", None), all);
    }

    #[test]
    fn names_and_values_are_bounded_and_so_are_all_together() {
        let none = GuestAttributes::default();
        let long = "x".repeat(GuestAttribute::NAME_MAX + 1);
        for path in ["", "a", "/a", "a/", "a/b/c", "a/b c", "a/\n", &format!("a/{long}")] {
            let refused = none.with(&change(path, Some("1")));
            assert_eq!(refused, Err(GuestAttributeError::Malformed), "{path:?}");
        }
        let value = "x".repeat(GuestAttribute::VALUE_MAX);
        let half = none.with(&change("a/1", Some(&value))).unwrap();
        assert!(none.with(&change("a/1", Some(&format!("{value}x")))).is_err());
        assert_eq!(half.with(&change("a/2", Some(&value))), Err(GuestAttributeError::Full));
        let mut many = none;
        for number in 0..GuestAttributes::COUNT_MAX {
            many = many.with(&change(&format!("a/{number}"), Some(""))).unwrap();
        }
        assert_eq!(many.with(&change("b/1", Some(""))), Err(GuestAttributeError::Full));
        assert!(
            many.with(&change("a/1", Some("x"))).is_ok() && many.with(&change("a/1", None)).is_ok()
        );
    }

    #[test]
    fn debug_shows_no_value() {
        let one = change("a/b", Some("hunter2"));
        let all = GuestAttributes::default().with(&one).unwrap();
        assert!(!format!("{one:?}{all:?}").contains("hunter2"));
    }
}
