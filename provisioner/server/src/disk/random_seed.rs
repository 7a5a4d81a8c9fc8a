//! The bytes of a config drive's `random_seed`: those of nobody else, and the same each time.
//!
//! Over HTTP a guest gets fresh ones with each answer. A disk that is to be the same each time it
//! is made can't have them fresh, but it can have some that nobody can foresee: derived from the
//! installation's signing key, which never leaves the control plane and the hypervisors, and from
//! the instance's id. Another instance, or one that was made anew, gets others.
//!
//! Follows RFC 5869 (HKDF).

use mezame_model::{InstanceId, SecretBytes};
use mezame_protocol::{NoRandomness, Randomness};
use ring::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};

/// What these bytes are for, so that none are ever the same as those of another use of the key.
const PURPOSE: &[u8] = b"mezame config drive random_seed";

/// An instance's bytes.
pub(super) struct RandomSeed {
    key: Prk,
    instance: InstanceId,
}

impl RandomSeed {
    /// Derived from a secret of the installation.
    pub(super) fn new(secret: &SecretBytes, instance: &InstanceId) -> Self {
        let key = Salt::new(HKDF_SHA256, PURPOSE).extract(secret.expose());
        Self { key, instance: instance.clone() }
    }
}

impl Randomness for RandomSeed {
    /// The same bytes for each call; at most 8,160 of them (RFC 5869, section 2.3).
    fn fill(&self, out: &mut [u8]) -> Result<(), NoRandomness> {
        let info = [self.instance.as_str().as_bytes()];
        let expanded = self.key.expand(&info, Length(out.len())).map_err(|_| NoRandomness)?;
        expanded.fill(out).map_err(|_| NoRandomness)
    }
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(secret: &[u8], instance: &str) -> [u8; 512] {
        let instance = InstanceId::parse(instance).unwrap();
        let mut out = [0; 512];
        RandomSeed::new(&SecretBytes::new(secret.to_vec()), &instance).fill(&mut out).unwrap();
        out
    }

    #[test]
    fn a_seed_is_the_instances_own_and_the_installations() {
        let (one, other) = ("i-000000000000000a1", "i-000000000000000a2");
        assert_eq!(seed(b"secret", one), seed(b"secret", one));
        assert_ne!(seed(b"secret", one), seed(b"secret", other));
        assert_ne!(seed(b"secret", one), seed(b"Secret", one));
        assert_ne!(seed(b"secret", one)[..256], seed(b"secret", one)[256..]);
    }
}
