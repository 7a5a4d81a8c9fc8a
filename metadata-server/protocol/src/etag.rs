//! Entity tags: a hash of the content, the same on every server and after every restart.
//!
//! 64 bits of xxHash. It need not withstand an adversary: all that goes into a guest's tags is the
//! guest's own, and a collision would only make that guest miss a change of its own.
//!
//! Follows RFC 9110, sections 8.8.3, 13.1.1 and 13.1.2.

use twox_hash::XxHash64;

use crate::response::etag_text;

/// The tag of some content.
pub(crate) fn of(content: &[u8]) -> u64 {
    XxHash64::oneshot(0, content)
}

/// The tag of several parts in their order; moving a byte from one part to the next changes it.
pub(crate) fn of_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    parts.into_iter().fold(0, |tag, part| XxHash64::oneshot(tag ^ part.len() as u64, part))
}

/// Whether an `If-None-Match` names the tag, also without the quotes: Google's dialect tells it so.
pub(crate) fn matches(if_none_match: &[u8], etag: u64) -> bool {
    let text = etag_text(etag);
    // Whether a tag is weak doesn't matter here (section 13.1.2).
    if_none_match == b"*"
        || items(if_none_match).any(|item| {
            let item = item.strip_prefix(b"W/").unwrap_or(item);
            item == text || item == &text[1..text.len() - 1]
        })
}

/// Whether an `If-Match` names the tag; a weak one is none (section 13.1.1).
pub(crate) fn matches_strongly(if_match: &[u8], etag: u64) -> bool {
    let text = etag_text(etag);
    if_match == b"*" || items(if_match).any(|item| item == text)
}

fn items(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Parses a tag as a query has it: the digits, with the quotes or without.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let text = text.strip_prefix("%22").unwrap_or(text);
    let text = text.strip_suffix("%22").unwrap_or(text).trim_matches('"');
    let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    digits.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_in_a_list_weak_or_strong() {
        let etag = of(b"content");
        let text = String::from_utf8(etag_text(etag).to_vec()).unwrap();
        let bare = text.trim_matches('"').to_owned();
        for list in [text.clone(), format!("\"x\", W/{text}"), bare, "*".into()] {
            assert!(matches(list.as_bytes(), etag), "{list}");
            assert!(!matches(list.replace('*', "x").as_bytes(), etag ^ 1), "{list}");
        }
        for list in [&b""[..], b"\"", b"\"\"", &text.as_bytes()[1..]] {
            assert!(!matches(list, etag), "{list:?}");
        }
    }

    #[test]
    fn a_precondition_wants_a_strong_tag() {
        let etag = of(b"content");
        let text = String::from_utf8(etag_text(etag).to_vec()).unwrap();
        for list in [text.clone(), format!("\"x\" , {text}"), "*".into()] {
            assert!(matches_strongly(list.as_bytes(), etag), "{list}");
        }
        for list in [format!("W/{text}"), text.replace('"', ""), String::new(), "**".into()] {
            assert!(!matches_strongly(list.as_bytes(), etag), "{list}");
        }
    }

    #[test]
    fn a_tag_comes_back_from_a_query_in_each_spelling() {
        let etag = of(b"content");
        for text in
            [format!("{etag:016x}"), format!("\"{etag:016x}\""), format!("%22{etag:016X}%22")]
        {
            assert_eq!(parse(&text), Some(etag), "{text}");
        }
        for text in ["NONE", "", "+123456789abcdef", "123"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn parts_are_not_confused_with_their_concatenation() {
        assert_ne!(of_parts([&b"ab"[..], b"c"]), of_parts([&b"a"[..], b"bc"]));
        assert_ne!(of_parts([&b""[..], b"a"]), of_parts([&b"a"[..], b""]));
    }
}
