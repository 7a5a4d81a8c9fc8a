//! Which values of its read-once secrets a guest has acknowledged.
//!
//! A secret is spent with its value and not by its name alone: the operator may set another value
//! under the same name at any moment, which the guest is yet to read. Hypervisor and control plane
//! tell values apart by the one digest that is made here.

use std::collections::BTreeMap;

use mezame_model::{Acknowledgement, InstanceId, SecretDigest, SecretName, SecretString};
use ring::digest::{Context, SHA256};

/// The digest of a read-once secret, which outlives its value: bound to the instance and the
/// name, so that equal values of two guests are not seen to be equal.
pub fn digest_of(instance: &InstanceId, name: &SecretName, value: &SecretString) -> SecretDigest {
    let mut hash = Context::new(&SHA256);
    for part in [instance.as_str(), name.as_str(), value.expose()] {
        hash.update(part.as_bytes());
        hash.update(&[0]);
    }
    let mut bytes = [0; 32];
    // SHA-256 has these 32 bytes.
    bytes.copy_from_slice(hash.finish().as_ref());
    SecretDigest::new(bytes)
}

/// The values that one guest has acknowledged: of each secret the last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spent(BTreeMap<SecretName, Option<SecretDigest>>);

impl Spent {
    /// Nothing is spent.
    pub const NONE: Self = Self(BTreeMap::new());

    /// Notes an acknowledgement; one of another value of the secret is forgotten for it.
    pub fn note(&mut self, read: Acknowledgement) {
        self.0.insert(read.name, read.digest);
    }

    /// Notes it unless one of the same secret is noted.
    pub fn note_if_new(&mut self, read: Acknowledgement) {
        self.0.entry(read.name).or_insert(read.digest);
    }

    /// Whether a secret's value is spent. So is every value of a secret that was acknowledged
    /// before values were told apart.
    ///
    /// The value's digest is asked for only where it matters.
    pub fn covers(&self, name: &SecretName, digest: impl FnOnce() -> SecretDigest) -> bool {
        match self.0.get(name) {
            None => false,
            Some(None) => true,
            Some(Some(spent)) => *spent == digest(),
        }
    }

    /// Keeps those that `keep` says.
    pub fn retain(&mut self, mut keep: impl FnMut(&SecretName, Option<SecretDigest>) -> bool) {
        self.0.retain(|name, digest| keep(name, *digest));
    }

    /// The secrets.
    pub fn names(&self) -> impl Iterator<Item = &SecretName> {
        self.0.keys()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(number: u8) -> InstanceId {
        InstanceId::parse(&format!("i-{number:017x}")).unwrap()
    }

    fn name(text: &str) -> SecretName {
        SecretName::parse(text).unwrap()
    }

    fn value(text: &str) -> SecretString {
        SecretString::new(text.into())
    }

    #[test]
    fn the_digest_is_the_one_that_databases_hold() {
        // printf 'i-00000000000000001\0one\0first\0' | sha256sum
        let digest = digest_of(&instance(1), &name("one"), &value("first"));
        assert_eq!(
            digest.hex(),
            "4516ba99e4f55470cd8ab6fcd5387777d301aaf4f900de236d7f6b73bd5cec59"
        );
    }

    #[test]
    fn a_digest_is_of_one_value_of_one_secret_of_one_instance() {
        let digest =
            |number, secret, text| digest_of(&instance(number), &name(secret), &value(text));
        let one = digest(1, "one", "first");
        assert_eq!(one, digest(1, "one", "first"));
        for other in [
            digest(2, "one", "first"),
            digest(1, "two", "first"),
            digest(1, "one", "second"),
            digest(1, "one", ""),
            digest(1, "onef", "irst"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn another_value_of_a_spent_secret_is_not_spent() {
        let [one, two] = ["one", "two"].map(name);
        let [first, second] = [1, 2].map(|byte| SecretDigest::new([byte; 32]));
        let read = |digest| Acknowledgement { name: one.clone(), digest: Some(digest) };
        let mut spent = Spent::NONE;
        assert!(!spent.covers(&one, || first));
        spent.note(read(first));
        assert!(spent.covers(&one, || first));
        assert!(!spent.covers(&one, || second));
        assert!(!spent.covers(&two, || first));
        spent.note_if_new(read(second));
        assert!(!spent.covers(&one, || second));
        spent.note(read(second));
        assert!(spent.covers(&one, || second));
    }

    #[test]
    fn a_secret_that_was_spent_by_its_name_alone_is_spent_with_any_value() {
        let mut spent = Spent::NONE;
        spent.note(Acknowledgement { name: name("one"), digest: None });
        assert!(spent.covers(&name("one"), || SecretDigest::new([1; 32])));
        assert!(!spent.covers(&name("two"), || SecretDigest::new([1; 32])));
    }
}
