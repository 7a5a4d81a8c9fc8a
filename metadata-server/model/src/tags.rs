//! A tenant's labels: a few short texts for each of very many instances.
//!
//! A sorted slice and not a tree: a node of a `BTreeMap` has room for eleven pairs and takes 368
//! bytes, and most instances have one or two.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Visitor};

/// Labels by their keys. In JSON: an object.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tags(Box<[(Box<str>, Box<str>)]>);

impl Tags {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.get_key_value(key).map(|(_, value)| value)
    }

    /// The key as it is kept, and its value.
    pub fn get_key_value(&self, key: &str) -> Option<(&str, &str)> {
        let at = self.0.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        self.0.get(at).map(|(key, value)| (&**key, &**value))
    }

    /// The keys, sorted.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|(key, _)| &**key)
    }

    /// Keys and values, sorted by key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same with one more, or with another value; without the key where the value is None.
    pub fn with(&self, key: &str, value: Option<&str>) -> Self {
        let others = self.iter().filter(|(known, _)| *known != key);
        let pairs = others.chain(value.map(|value| (key, value)));
        pairs.map(|(key, value)| (Box::from(key), Box::from(value))).collect()
    }

    /// Takes all away.
    pub fn clear(&mut self) {
        self.0 = Box::default();
    }
}

impl FromIterator<(Box<str>, Box<str>)> for Tags {
    /// Of a key that comes twice the last value counts.
    fn from_iter<I: IntoIterator<Item = (Box<str>, Box<str>)>>(pairs: I) -> Self {
        let sorted: std::collections::BTreeMap<_, _> = pairs.into_iter().collect();
        Self(sorted.into_iter().collect())
    }
}

impl std::fmt::Debug for Tags {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Tags {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Tags {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Tags;
            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("an object of texts")
            }
            fn visit_map<M: serde::de::MapAccess<'de>>(self, mut map: M) -> Result<Tags, M::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(pairs.into_iter().collect())
            }
        }
        input.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_an_object_in_json_sorted_by_key_and_the_last_of_two_counts() {
        let tags: Tags = serde_json::from_str(r#"{"b":"2","a":"1","b":"3"}"#).unwrap();
        assert_eq!(serde_json::to_string(&tags).unwrap(), r#"{"a":"1","b":"3"}"#);
        assert_eq!(tags.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((tags.get("b"), tags.get("c")), (Some("3"), None));
        assert_eq!(serde_json::from_str::<Tags>("{}").unwrap(), Tags::default());
        assert!(serde_json::from_str::<Tags>("[]").is_err());
    }

    #[test]
    fn one_tag_more_or_less_leaves_the_others() {
        let tags = Tags::default().with("b", Some("2")).with("a", Some("1")).with("b", Some("3"));
        assert_eq!(tags.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "3")]);
        assert_eq!(tags.with("a", None).keys().collect::<Vec<_>>(), ["b"]);
        assert!(tags.with("a", None).with("b", None).with("c", None).is_empty());
    }
}
