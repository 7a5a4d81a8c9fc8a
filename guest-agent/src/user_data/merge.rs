//! Merging the cloud-config parts of one user-data into one tree.
//!
//! The rules are cloud-init's (its page "Merging user-data sections"), to the letter, since people
//! write against what it does. Without a word a later part's top-level key replaces an earlier
//! part's: `dict(replace)+list()+str()`. A part can ask for another rule with `merge_how` (or
//! `merge_type`, or the MIME header `Merge-Type`), as text or as a list of mappings with `name` and
//! `settings`:
//!
//! | Rule | Of two values under one key |
//! |---|---|
//! | `dict()`, `dict(no_replace)` | the earlier one stays; mappings are merged |
//! | `dict(replace)` | the later one |
//! | `recurse_list` (`recurse_array`), `recurse_str` in a `dict` | lists, texts are merged by their own rule |
//! | `allow_delete` in a `dict` | a later null takes the key away |
//! | `list(append)`, `list(prepend)` | both, the later ones last or first |
//! | `list()`, `list(replace)` | entry by entry, as many as both have; the rest of the earlier one stays |
//! | `list(no_replace)` | the earlier one |
//! | `str(append)` | joined |
//!
//! One thing is not cloud-init's: there a rule that leaves `dict` out drops the whole part. Here
//! what a rule does not name is as if it were named without words. Vendor-data is not merged with
//! user-data: each is applied by itself, vendor-data first.

use super::yaml::{Node, Scalar};

/// How many rules one text or list may name.
const MAX_RULES: usize = 8;

/// How a part is merged onto what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    mapping: Mapping,
    list: List,
    append_text: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Mapping {
    replace: bool,
    recurse: Recurse,
    allow_delete: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct List {
    order: Order,
    recurse: Recurse,
}

/// Into which values a rule goes. Of a mapping's own mappings it always does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Recurse {
    mappings: bool,
    lists: bool,
    texts: bool,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Order {
    #[default]
    Replace,
    Keep,
    Append,
    Prepend,
}

/// What a part has that says nothing.
impl Default for Rule {
    fn default() -> Self {
        let mapping = Mapping { replace: true, ..Mapping::default() };
        Self { mapping, list: List::default(), append_text: false }
    }
}

impl Rule {
    /// Reads `list(append)+dict(recurse_array)+str()`. Unknown words are ignored.
    pub fn parse(text: &str) -> Self {
        let rules = text.split('+').map(|piece| {
            let (kind, words) = piece.trim().split_once('(').unwrap_or((piece.trim(), ""));
            let words = words.trim_end_matches(')').split(',');
            (kind.to_owned(), words.map(|word| word.trim().to_ascii_lowercase()).collect())
        });
        Self::of_rules(rules)
    }

    /// The rule that a part names for itself, if it does.
    pub fn of(part: &Node) -> Option<Self> {
        let named = ["merge_how", "merge_type"].iter().find_map(|key| part.entry(key))?;
        match named {
            Node::Scalar(scalar) => Some(Self::parse(&scalar.text)),
            Node::Sequence(list) => Some(Self::of_rules(list.iter().filter_map(|entry| {
                let name = entry.entry("name")?.as_text()?.to_owned();
                let words = entry.entry("settings").and_then(Node::as_list).unwrap_or_default();
                let words = words.into_iter().filter_map(Node::as_text).map(str::to_owned);
                Some((name, words.collect()))
            }))),
            Node::Null | Node::Mapping(_) => None,
        }
    }

    /// Of two rules for one kind of value the first counts.
    fn of_rules(rules: impl Iterator<Item = (String, Vec<String>)>) -> Self {
        let (mut mapping, mut list, mut text) = (None, None, None);
        for (kind, words) in rules.take(MAX_RULES) {
            let has = |word: &str| words.iter().any(|known| known == word);
            let recurse = Recurse {
                mappings: has("recurse_dict"),
                lists: has("recurse_list") || has("recurse_array"),
                texts: has("recurse_str"),
            };
            match kind.to_ascii_lowercase().as_str() {
                "dict" => {
                    let allow_delete = has("allow_delete");
                    mapping.get_or_insert(Mapping {
                        replace: has("replace"),
                        recurse,
                        allow_delete,
                    });
                }
                "list" => {
                    let order = match () {
                        () if has("append") => Order::Append,
                        () if has("prepend") => Order::Prepend,
                        () if !has("replace") && has("no_replace") => Order::Keep,
                        () => Order::Replace,
                    };
                    list.get_or_insert(List { order, recurse });
                }
                "str" => {
                    text.get_or_insert(has("append"));
                }
                _ => {}
            }
        }
        Self {
            mapping: mapping.unwrap_or_default(),
            list: list.unwrap_or_default(),
            append_text: text.unwrap_or_default(),
        }
    }

    /// Merges two trees.
    pub fn merge(self, base: Node, over: Node) -> Node {
        match (base, over) {
            // Nothing is there yet, whatever the rule.
            (Node::Null, over) => over,
            (Node::Mapping(base), Node::Mapping(over)) => self.mappings(base, over),
            (base @ Node::Mapping(_), _) => base,
            (Node::Sequence(base), Node::Sequence(over)) => self.lists(base, over),
            (Node::Sequence(_), over) if self.list.order == Order::Replace => over,
            (Node::Scalar(base), Node::Scalar(over)) if is_text(&base) => {
                if self.append_text && is_text(&over) {
                    Node::Scalar(Scalar { text: base.text + &over.text, ..over })
                } else {
                    Node::Scalar(over)
                }
            }
            (base, _) => base,
        }
    }

    fn mappings(self, mut base: Vec<(String, Node)>, over: Vec<(String, Node)>) -> Node {
        for (key, new) in over {
            let Some(at) = base.iter().position(|(known, _)| *known == key) else {
                base.push((key, new));
                continue;
            };
            if new == Node::Null && self.mapping.allow_delete {
                base.remove(at);
                continue;
            }
            let old = std::mem::replace(&mut base[at].1, Node::Null);
            let into = Recurse { mappings: true, ..self.mapping.recurse };
            base[at].1 = match self.mapping.replace {
                true => new,
                false if into.goes_into(&new) && old != Node::Null => self.merge(old, new),
                false => old,
            };
        }
        Node::Mapping(base)
    }

    fn lists(self, mut base: Vec<Node>, mut over: Vec<Node>) -> Node {
        match self.list.order {
            Order::Append => base.append(&mut over),
            Order::Prepend => {
                over.append(&mut base);
                base = over;
            }
            Order::Keep => {}
            Order::Replace => {
                for (slot, new) in base.iter_mut().zip(over) {
                    let old = std::mem::replace(slot, Node::Null);
                    let goes_into = self.list.recurse.goes_into(&new);
                    *slot = if goes_into { self.merge(old, new) } else { new };
                }
            }
        }
        Node::Sequence(base)
    }
}

impl Recurse {
    fn goes_into(self, new: &Node) -> bool {
        match new {
            Node::Mapping(_) => self.mappings,
            Node::Sequence(_) => self.lists,
            Node::Scalar(scalar) => self.texts && is_text(scalar),
            Node::Null => false,
        }
    }
}

/// Whether PyYAML makes a text of it, and no number and no truth value.
fn is_text(scalar: &Scalar) -> bool {
    let is_truth = || {
        let word = scalar.text.to_ascii_lowercase();
        matches!(word.as_str(), "yes" | "true" | "on" | "no" | "false" | "off")
    };
    !scalar.plain || !(is_truth() || scalar.text.parse::<f64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::{super::yaml, *};

    fn tree(text: &str) -> Node {
        yaml::parse(text.as_bytes()).unwrap()
    }

    fn merged(rule: &str, base: &str, over: &str) -> Node {
        Rule::parse(rule).merge(tree(base), tree(over))
    }

    #[test]
    fn without_a_rule_a_later_key_replaces_an_earlier_one() {
        let (base, over) = ("a: [1]\nb: {x: 1}\nc: 1", "a: [2, 3]\nb: {y: 2}");
        let whole = tree("a: [2, 3]\nb: {y: 2}\nc: 1");
        assert_eq!(Rule::default().merge(tree(base), tree(over)), whole);
        assert_eq!(merged("dict(replace)", base, over), whole);
    }

    #[test]
    fn a_rule_for_mappings_keeps_what_is_there_and_goes_into_lists_only_on_request() {
        let (base, over) = ("a: [1]\nm: {x: 1, z: 1}", "a: [2]\nm: {x: 2, y: 2}\nn: 1");
        let kept = tree("a: [1]\nm: {x: 1, z: 1, y: 2}\nn: 1");
        assert_eq!(merged("list(append)+dict()+str()", base, over), kept);
        assert_eq!(merged("list(append)+dict(no_replace)", base, over), kept);
        let joined = tree("a: [1, 2]\nm: {x: 1, z: 1, y: 2}\nn: 1");
        assert_eq!(merged("list(append)+dict(recurse_list)", base, over), joined);
        assert_eq!(
            merged("dict(recurse_array)+list(prepend)", "a: [1]", "a: [2]"),
            tree("a: [2, 1]")
        );
    }

    #[test]
    fn a_list_is_replaced_entry_by_entry_and_never_grows_by_that() {
        let into = "dict(recurse_list)+list()";
        assert_eq!(merged(into, "a: [1, 2, 3]", "a: [9]"), tree("a: [9, 2, 3]"));
        assert_eq!(merged(into, "a: [1]", "a: [8, 9]"), tree("a: [8]"));
        let deep = "dict(recurse_list)+list(recurse_dict)";
        assert_eq!(merged(deep, "a: [{x: 1}]", "a: [{y: 2}]"), tree("a: [{x: 1, y: 2}]"));
        assert_eq!(
            merged("dict(recurse_list)+list(no_replace)", "a: [1]", "a: [2]"),
            tree("a: [1]")
        );
    }

    #[test]
    fn texts_are_joined_and_keys_are_taken_away_on_request() {
        let join = "dict(recurse_str)+str(append)";
        assert_eq!(merged(join, "t: ab\nn: 1", "t: cd\nn: 2"), tree("t: abcd\nn: 1"));
        assert_eq!(merged("dict(recurse_str)+str()", "t: ab", "t: cd"), tree("t: cd"));
        assert_eq!(merged("dict(allow_delete)", "a: 1\nb: 2", "a:"), tree("b: 2"));
        assert_eq!(merged("dict()", "a: 1", "a:"), tree("a: 1"));
    }

    #[test]
    fn a_rule_is_read_as_a_list_of_mappings_too() {
        let part = "merge_how:\n- {name: list, settings: [append]}\n\
            - {name: dict, settings: [no_replace, recurse_list]}\n";
        let rule = Rule::of(&tree(part)).unwrap();
        assert_eq!(rule, Rule::parse("list(append)+dict(no_replace,recurse_list)"));
        assert_eq!(Rule::of(&tree("merge_type: str(append)")), Some(Rule::parse("str(append)")));
        assert_eq!(Rule::of(&tree("a: 1")), None);
    }
}
