//! What a path's value is: bytes of a kind, as they are sent.
//!
//! Made by the views' leaves and by listings, each in the form that the dialect's clients read.
//! Never looks at the guest by itself.

use bytes::Bytes;
use mezame_model::UserData;

use crate::response::{self, Audit};

/// A leaf's value. No Debug: it may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Body {
    pub(crate) content_type: &'static str,
    pub(crate) bytes: Bytes,
    /// A tag for it, where that is not the hash of its bytes.
    pub(crate) etag: Option<u64>,
    /// The secret in it.
    pub(crate) audit: Option<Audit>,
}

impl Body {
    /// Plain text.
    pub(crate) fn text(text: impl AsRef<str>) -> Self {
        Self::of(response::TEXT, Bytes::copy_from_slice(text.as_ref().as_bytes()))
    }

    /// Plain text that is the same for every guest.
    pub(crate) fn fixed(text: &'static str) -> Self {
        Self::of(response::TEXT, Bytes::from_static(text.as_bytes()))
    }

    /// One line for each item.
    pub(crate) fn lines<T: std::fmt::Display>(items: impl IntoIterator<Item = T>) -> Self {
        let mut text = String::new();
        for item in items {
            push_line(&mut text, &item.to_string());
        }
        Self::of(response::TEXT, Bytes::from(text))
    }

    /// Adds the newline at the end of a text that has lines.
    pub(crate) fn end_last_line(&mut self) {
        if !self.bytes.is_empty() {
            self.bytes = [&self.bytes[..], b"\n"].concat().into();
        }
    }

    /// A text for what may be absent: empty where it is.
    pub(crate) fn optional(value: Option<impl ToString>) -> Self {
        Self::text(value.map(|value| value.to_string()).unwrap_or_default())
    }

    /// An operator's bytes, as they are; empty where there are none.
    pub(crate) fn data(data: Option<&UserData>) -> Self {
        Self::of(response::BYTES, data.map(|data| data.bytes().clone()).unwrap_or_default())
    }

    /// Bytes of a kind.
    pub(crate) fn of(content_type: &'static str, bytes: Bytes) -> Self {
        Self { content_type, bytes, etag: None, audit: None }
    }
}

/// Adds a line; lines are divided, not ended, by newlines.
pub(super) fn push_line(out: &mut String, line: &str) {
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(line);
}
