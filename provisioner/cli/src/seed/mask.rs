//! Which parts of a seed's text must not be shown when a line of it is.
//!
//! A fault's message comes with the line that it is about, and terminals are recorded. So the
//! values of passwords and secrets are hidden, and user-data with them, since people put secrets
//! into it. Where the tree is known it is asked; where a text could not be read, the line and the
//! keys above it are, and rather too much is hidden.

use std::ops::Range;

use serde_json::Value;

use super::node::{Content, Node};

/// Fields whose values are hidden, with all below them.
const HIDDEN: [&str; 6] =
    ["password", "secrets", "user_data", "user_data_base64", "vendor_data", "vendor_data_base64"];

/// Whether a field of this name holds what must not be shown.
pub fn is_hidden(key: &str) -> bool {
    HIDDEN.contains(&key)
}

/// Whether a path such as `users[0].password.hash` leads into a hidden field.
pub fn is_hidden_path(path: &str) -> bool {
    path.split(['.', '[', ']']).any(is_hidden)
}

/// The characters of a document's text that must not be shown.
pub fn hidden_ranges(root: &Node) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    collect(root, false, &mut ranges);
    ranges
}

fn collect(node: &Node, hidden: bool, ranges: &mut Vec<Range<usize>>) {
    match &node.content {
        // `generate: true` tells nothing.
        Content::Scalar(Value::Bool(_) | Value::Null) => {}
        Content::Scalar(_) if hidden => ranges.push(node.origin.start..node.origin.end),
        Content::Scalar(_) => {}
        Content::Sequence(items) => {
            items.iter().for_each(|item| collect(item, hidden, ranges));
        }
        Content::Mapping(entries) => {
            for entry in entries {
                collect(&entry.node, hidden || is_hidden(&entry.key), ranges);
            }
        }
    }
}

/// From which character on a line of an unreadable text must not be shown, if at all.
pub fn hidden_from(lines: &[&str], line: usize) -> Option<usize> {
    let text = lines.get(line)?;
    let named = HIDDEN
        .iter()
        .filter_map(|key| {
            let at = text.find(key)? + key.len();
            let colon = at + text[at..].find(':')?;
            Some(text[..=colon].chars().count())
        })
        .min();
    if named.is_some() {
        return named;
    }
    let indentation = |text: &str| text.chars().take_while(|c| c.is_whitespace()).count();
    let mut depth = indentation(text);
    for above in lines[..line].iter().rev() {
        let here = indentation(above);
        if above.trim().is_empty() || here >= depth {
            continue;
        }
        let key = above.trim_start_matches([' ', '-', '"', '\'', '{', '[']);
        if HIDDEN.iter().any(|hidden| {
            key.strip_prefix(hidden)
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()))
        }) {
            let colon = text.find(':').map(|at| text[..=at].chars().count());
            return Some(colon.unwrap_or_else(|| indentation(text)));
        }
        depth = here;
        if depth == 0 {
            break;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_passwords_secrets_and_user_data_are_hidden_and_nothing_else() {
        let text = "name: web\nusers:\n- name: bob\n  password: {hash: $6$x}\n  x: &a hunter2\n\
                    - password: {generate: true}\nsecrets: {db: 's3', z: *a}\nuser_data: |\n  key\n";
        let reading = super::super::read(text.as_bytes());
        let chars: Vec<char> = text.chars().collect();
        let hidden: Vec<String> = hidden_ranges(&reading.documents[0].root)
            .into_iter()
            .map(|range| chars[range].iter().collect::<String>())
            .collect();
        assert_eq!(hidden[..3], ["$6$x", "'s3'", "&a hunter2"]);
        assert!(hidden[3].contains("key"), "{hidden:?}");
        assert_eq!(hidden.len(), 4);
    }

    #[test]
    fn a_line_of_an_unreadable_text_is_hidden_behind_a_hidden_key_or_below_one() {
        let lines: Vec<&str> = "users:\n- name: bob\n  password:\n    hash: \"$6$x\nsecrets:\n\n  \
                                db: hunter2\n  - hunter3\nname: x\nusers: [{password: {hash: x}}]"
            .split('\n')
            .collect();
        let shown = |line: usize| {
            let from = hidden_from(&lines, line);
            lines[line].chars().take(from.unwrap_or(usize::MAX)).collect::<String>()
        };
        assert_eq!(shown(1), "- name: bob");
        assert_eq!(shown(3), "    hash:");
        assert_eq!(shown(6), "  db:");
        assert_eq!(shown(7), "  ");
        assert_eq!(shown(8), "name: x");
        assert_eq!(shown(9), "users: [{password:");
    }
}
