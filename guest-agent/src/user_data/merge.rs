//! Merging the cloud-config parts of one user-data into one tree.
//!
//! The rule is cloud-init's default, `dict(replace)+list()+str()`: a later part's top-level key
//! replaces an earlier part's. A part can ask for another rule with `merge_how` (or `merge_type`,
//! or the MIME header `Merge-Type`), as text: `list(append)`, `list(prepend)`,
//! `dict(no_replace)`, `dict(recurse_list)` (`recurse_array`), `str(append)`. Vendor-data is not
//! merged with user-data: each is applied by itself, vendor-data first.

use super::yaml::{Node, Scalar};

/// How a part is merged onto what is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rule {
    list: Order,
    text: Order,
    keep: bool,
    recurse_mappings: bool,
    recurse_lists: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Order {
    #[default]
    Replace,
    Keep,
    Append,
    Prepend,
}

impl Rule {
    /// Reads `list(append)+dict(recurse_array)+str()`. Unknown words are ignored, as cloud-init
    /// does.
    pub fn parse(text: &str) -> Self {
        let mut rule = Self::default();
        for piece in text.split('+').take(8) {
            let (kind, words) = piece.trim().split_once('(').unwrap_or((piece.trim(), ""));
            let words: Vec<&str> = words.trim_end_matches(')').split(',').map(str::trim).collect();
            let has = |word: &str| words.contains(&word);
            let order = if has("append") {
                Order::Append
            } else if has("prepend") {
                Order::Prepend
            } else if has("no_replace") {
                Order::Keep
            } else {
                Order::Replace
            };
            match kind {
                "list" => rule.list = order,
                "str" => rule.text = order,
                "dict" => {
                    rule.keep = has("no_replace");
                    rule.recurse_mappings = has("recurse_dict");
                    rule.recurse_lists = has("recurse_list") || has("recurse_array");
                    // Any recursion means that nested mappings are merged, not replaced.
                    rule.recurse_mappings |= rule.recurse_lists || has("recurse_str");
                }
                _ => {}
            }
        }
        rule
    }

    /// The rule that a part names for itself, if it does.
    pub fn of(part: &Node) -> Option<Self> {
        ["merge_how", "merge_type"]
            .iter()
            .find_map(|key| part.entry(key)?.as_text())
            .map(Self::parse)
    }

    /// Merges two trees.
    pub fn merge(self, base: Node, over: Node) -> Node {
        match (base, over) {
            (Node::Mapping(mut entries), Node::Mapping(new)) => {
                for (key, value) in new {
                    match entries.iter_mut().find(|(known, _)| *known == key) {
                        None => entries.push((key, value)),
                        Some((_, slot)) => {
                            let old = std::mem::replace(slot, Node::Null);
                            *slot = self.value(old, value);
                        }
                    }
                }
                Node::Mapping(entries)
            }
            (base, Node::Null) => base,
            (_, over) => over,
        }
    }

    fn value(self, old: Node, new: Node) -> Node {
        match (old, new) {
            (old @ Node::Mapping(_), new @ Node::Mapping(_)) if self.recurse_mappings => {
                self.merge(old, new)
            }
            (Node::Sequence(mut old), Node::Sequence(mut new)) => match self.list {
                Order::Append => {
                    old.append(&mut new);
                    Node::Sequence(old)
                }
                Order::Prepend => {
                    new.append(&mut old);
                    Node::Sequence(new)
                }
                Order::Keep => Node::Sequence(old),
                Order::Replace if self.keep => Node::Sequence(old),
                Order::Replace => Node::Sequence(new),
            },
            (Node::Scalar(old), Node::Scalar(new)) if self.text == Order::Append => {
                Node::Scalar(Scalar { text: old.text + &new.text, ..new })
            }
            (old, new) => {
                if self.keep {
                    old
                } else {
                    new
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::yaml, *};

    fn merged(rule: &str, base: &str, over: &str) -> Node {
        let read = |text: &str| yaml::parse(text.as_bytes()).unwrap();
        Rule::parse(rule).merge(read(base), read(over))
    }

    fn tree(text: &str) -> Node {
        yaml::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn by_default_a_later_key_replaces_an_earlier_one() {
        assert_eq!(
            merged("", "a: [1]\nb: {x: 1}\nc: 1", "a: [2]\nb: {y: 2}"),
            tree("a: [2]\nb: {y: 2}\nc: 1")
        );
    }

    #[test]
    fn lists_are_appended_or_prepended_on_request() {
        let (a, b) = ("a: [1]", "a: [2]");
        assert_eq!(merged("list(append)+dict()+str()", a, b), tree("a: [1, 2]"));
        assert_eq!(merged("list(prepend)", a, b), tree("a: [2, 1]"));
    }

    #[test]
    fn nested_mappings_are_merged_and_kept_on_request() {
        let (a, b) = ("m: {x: 1, z: 1}", "m: {x: 2, y: 2}");
        assert_eq!(merged("dict(recurse_dict)", a, b), tree("m: {x: 2, z: 1, y: 2}"));
        assert_eq!(merged("dict(no_replace,recurse_dict)", a, b), tree("m: {x: 1, z: 1, y: 2}"));
        assert_eq!(merged("str(append)", "t: ab", "t: cd"), tree("t: abcd"));
    }
}
