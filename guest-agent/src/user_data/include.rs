//! `#include` lists: user-data that names addresses of further user-data.
//!
//! Refused unless the settings say otherwise: what is behind an address can change after the
//! operator looked at it, and plain HTTP can be changed on its way. Where they are followed, only
//! `http://` is, since the agent carries no TLS; each address counts against [`MAX_ADDRESSES`],
//! and an included part can't include again.

use super::{Content, Part};

/// How many addresses all lists of one user-data may name together.
pub const MAX_ADDRESSES: usize = 32;

/// Fetches the body behind an address, or says why not.
pub type FetchInclude<'a> = dyn FnMut(&str) -> Result<Vec<u8>, String> + 'a;

/// Puts what the addresses hold in the place of each list; without a `fetch`, refuses them.
pub fn resolve(parts: Vec<Part>, mut fetch: Option<&mut FetchInclude<'_>>) -> Vec<Part> {
    let mut out = Vec::new();
    let mut left = MAX_ADDRESSES;
    for part in parts {
        let Content::Include { urls } = &part.content else {
            out.push(part);
            continue;
        };
        for url in urls {
            let refuse = |reason, detail: String| Part {
                name: part.name.clone(),
                content: Content::Refused { reason, detail },
            };
            let Some(fetch) = fetch.as_mut() else {
                out.push(refuse(
                    "include-refused",
                    "'#include' is followed only where the setting follow_includes is on".into(),
                ));
                break;
            };
            if left == 0 {
                out.push(refuse("include-refused", format!("more than {MAX_ADDRESSES} addresses")));
                return out;
            }
            left -= 1;
            match fetch(url) {
                Err(detail) => out.push(refuse("include-failed", detail)),
                Ok(bytes) => out.extend(super::parse(&bytes).into_iter().map(|inner| {
                    let name = format!("{} / {}", part.name, inner.name);
                    match inner.content {
                        Content::Include { .. } => refuse(
                            "include-refused",
                            "an included part can't include further ones".into(),
                        ),
                        content => Part { name, content },
                    }
                })),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_refused_unless_the_settings_allow_it() {
        let parts = resolve(super::super::parse(b"#include\nhttp://a/\nhttp://b/\n"), None);
        assert_eq!(parts.len(), 1);
        assert!(matches!(parts[0].content, Content::Refused { reason: "include-refused", .. }));
    }

    #[test]
    fn a_followed_list_is_replaced_by_what_it_names_and_does_not_nest() {
        let mut fetch = |url: &str| match url {
            "http://a/" => Ok(b"#!/bin/sh\necho a\n".to_vec()),
            "http://b/" => Ok(b"#include\nhttp://c/\n".to_vec()),
            _ => Err("no such host".to_owned()),
        };
        let parts = super::super::parse(b"#include\nhttp://a/\nhttp://b/\nhttp://d/\n");
        let parts = resolve(parts, Some(&mut fetch));
        assert!(matches!(parts[0].content, Content::Script { .. }));
        assert!(matches!(parts[1].content, Content::Refused { reason: "include-refused", .. }));
        assert!(matches!(parts[2].content, Content::Refused { reason: "include-failed", .. }));
    }
}
