//! Forms that views share: errors as JSON, YAML scalars, base64 in lines.
//!
//! Views decide what is said; this file only how it is spelled.

use std::fmt::{Display, Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;

use crate::response::{JSON, Response, Status};

/// An error for programs: `{"error": a stable word, "detail": for people}`.
pub(crate) fn error(status: Status, code: &'static str, detail: impl Display) -> Response {
    let text = serde_json::json!({ "error": code, "detail": detail.to_string() }).to_string();
    Response::new(status, JSON, Bytes::from(text + "\n"))
}

/// An error for Azure's clients: `{"error": for people}`.
pub(crate) fn azure_error(status: Status, text: impl Display) -> Response {
    let text = serde_json::json!({ "error": text.to_string() }).to_string();
    Response::new(status, JSON, Bytes::from(text))
}

/// A YAML scalar in double quotes, ASCII only, so that no reader takes it for a number, a date or
/// a key, and no character of it for a control (YAML 1.1 and 1.2 alike).
pub(crate) fn yaml_scalar(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            ' '..='~' => out.push(character),
            // Writing to a String does not fail.
            _ => drop(match u32::from(character) {
                code @ 0..=0xff => write!(out, "\\x{code:02x}"),
                code @ 0x100..=0xffff => write!(out, "\\u{code:04x}"),
                code => write!(out, "\\U{code:08x}"),
            }),
        }
    }
    out.push('"');
    out
}

/// A list's items as YAML scalars, a line each, with what stands before every one of them.
pub(crate) fn yaml_lines(
    out: &mut String,
    before: &str,
    items: impl Iterator<Item = impl ToString>,
) {
    for item in items {
        // Writing to a String does not fail.
        let _ = writeln!(out, "{before}{}", yaml_scalar(&item.to_string()));
    }
}

/// Base64 in lines of 64 characters without an armour, as EC2 sends signatures and as
/// `openssl base64 -d` reads them.
pub(crate) fn base64_lines(bytes: &[u8]) -> String {
    let text = STANDARD.encode(bytes);
    let mut out = String::with_capacity(text.len() + text.len() / 64 + 1);
    let mut rest = text.as_str();
    while rest.len() > 64 {
        let (line, after) = rest.split_at(64);
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out.push_str(rest);
    out
}

/// What follows the key's base64 in an `authorized_keys` line, which may begin with options
/// (sshd(8)); empty where there is nothing.
pub(crate) fn key_comment(line: &str) -> &str {
    // Every key's base64 begins with the length of its type's name: AAAA.
    line.split_once(" AAAA")
        .and_then(|(_, rest)| rest.split_once(' '))
        .map_or("", |(_, comment)| comment.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_text_comes_back_from_a_yaml_scalar(text: String) {
            let yaml = yaml_scalar(&text);
            proptest::prop_assert!(yaml.bytes().all(|b| (b' '..=b'~').contains(&b)));
            proptest::prop_assert_eq!(serde_yaml::from_str::<String>(&yaml).unwrap(), text);
        }
    }

    #[test]
    fn base64_lines_are_at_most_64_characters_long() {
        let text = base64_lines(&[7; 100]);
        assert!(text.lines().all(|line| line.len() <= 64));
        assert!(!text.ends_with('\n'));
        assert_eq!(STANDARD.decode(text.replace('\n', "")).unwrap(), [7; 100]);
    }
}
