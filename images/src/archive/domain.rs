//! Whose chunks are one another's: all unencrypted projects' together, or one encrypted project's.
//!
//! A domain decides a chunk's address and whether it is sealed. Of an encrypted project all
//! keys come out of the project's one (BLAKE3's key derivation, one context for each use), so that
//! neither an address nor anything else that is stored tells whether the project holds a file that
//! somebody else knows. What is not hidden: sizes, which chunks are zeros, and which of a
//! project's images have which chunks in common. The collection of garbage needs these, and must
//! work where a key is gone for good.
//!
//! A chunk is sealed by AES-256-GCM under a key of its own, made out of 24 random bytes that lie
//! before it: no nonce can ever repeat, and a chunk can be copied to another pack as it is.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::id::{ChunkId, ObjectName};
use crate::environment::{Environment, NoRandomness, random};

/// Bytes that sealing adds: the random ones and the tag.
pub(crate) const SEAL: usize = SALT + 16;
const SALT: usize = 24;

const OPEN: &str = "mezame archive 2026-11 chunks of unencrypted projects";
const ADDRESS: &str = "mezame archive 2026-11 address of a project's chunk";
const SEALING: &str = "mezame archive 2026-11 seal of a project's chunk";
const RECORD: &str = "mezame archive 2026-11 authenticity of a project's record";
const SHARE: &str = "mezame archive 2026-11 authenticity of a project's share";
const NAME: &str = "mezame archive 2026-11 name of a project's key";

/// The key of an encrypted project: 32 random bytes, which the caller keeps.
#[derive(Clone)]
pub struct ProjectKey(Zeroizing<[u8; 32]>);

impl ProjectKey {
    /// The key of these bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A fresh one.
    pub fn make(from: &dyn Environment) -> Result<Self, NoRandomness> {
        random(from).map(Self::new)
    }

    /// Its name, which images of the project say in the open. It tells nothing of the key.
    pub fn name(&self) -> Option<String> {
        Domain::of(Some(self)).name().map(str::to_owned)
    }

    /// The bytes, for whoever keeps them.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for ProjectKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("ProjectKey(..)")
    }
}

/// What came sealed does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forged;

/// The keys of a domain.
pub(crate) struct Domain {
    address: Zeroizing<[u8; 32]>,
    record: Zeroizing<[u8; 32]>,
    share: Zeroizing<[u8; 32]>,
    sealing: Option<Zeroizing<[u8; 32]>>,
    /// Which key it is; tells nothing about the key.
    name: Option<String>,
}

impl Domain {
    /// That of a project with this key, or of all that have none.
    pub(crate) fn of(key: Option<&ProjectKey>) -> Self {
        let derive = |context: &str| {
            let material: &[u8] = key.map_or(&[], |key| &key.0[..]);
            Zeroizing::new(blake3::derive_key(context, material))
        };
        let Some(_) = key else {
            return Self {
                address: derive(OPEN),
                record: derive(RECORD),
                share: derive(SHARE),
                sealing: None,
                name: None,
            };
        };
        let name = blake3::Hash::from_bytes(*derive(NAME)).to_hex()[..16].to_owned();
        Self {
            address: derive(ADDRESS),
            record: derive(RECORD),
            share: derive(SHARE),
            sealing: Some(derive(SEALING)),
            name: Some(name),
        }
    }

    /// Which key it has, if it has one.
    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.sealing.is_some()
    }

    /// The address of a chunk that is not all zeros.
    pub(crate) fn address(&self, plain: &[u8]) -> ChunkId {
        ChunkId(*blake3::keyed_hash(&self.address, plain).as_bytes())
    }

    /// What shows that a record was written with the project's key. Compared in constant time.
    pub(crate) fn authenticate(&self, record: &[u8]) -> blake3::Hash {
        blake3::keyed_hash(&self.record, record)
    }

    /// What shows that an image was shared by somebody who has its project's key: which image it
    /// is and with whom are both in the object's name. Compared in constant time.
    pub(crate) fn authenticate_share(&self, share: &ObjectName) -> blake3::Hash {
        blake3::keyed_hash(&self.share, share.as_str().as_bytes())
    }

    fn key(sealing: &[u8; 32], salt: &[u8]) -> LessSafeKey {
        let key = Zeroizing::new(*blake3::keyed_hash(sealing, salt).as_bytes());
        // 32 bytes is the one length that AES-256 takes, so this can't fail.
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*key).unwrap_or_else(|_| unreachable!()))
    }

    /// Appends the body to `out`, sealed where the domain seals.
    pub(crate) fn seal(
        &self,
        aad: &[u8],
        body: &[u8],
        out: &mut Vec<u8>,
        from: &dyn Environment,
    ) -> Result<(), NoRandomness> {
        let Some(sealing) = &self.sealing else {
            out.extend_from_slice(body);
            return Ok(());
        };
        let salt: [u8; SALT] = random(from)?;
        out.extend_from_slice(&salt);
        let start = out.len();
        out.extend_from_slice(body);
        // The key is this body's alone, so its one nonce is used once.
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        let key = Self::key(sealing, &salt);
        // Fails of bodies beyond 64 GiB alone.
        let tag = key
            .seal_in_place_separate_tag(nonce, Aad::from(aad), &mut out[start..])
            .unwrap_or_else(|_| unreachable!());
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// The body of what [`Self::seal`] wrote, opened in place.
    pub(crate) fn open<'a>(
        &self,
        aad: &[u8],
        stored: &'a mut [u8],
    ) -> Result<&'a mut [u8], Forged> {
        let Some(sealing) = &self.sealing else { return Ok(stored) };
        let (salt, body) = stored.split_at_mut_checked(SALT).ok_or(Forged)?;
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        Self::key(sealing, salt).open_in_place(nonce, Aad::from(aad), body).map_err(|_| Forged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::environment::fixed::FixedEnvironment;

    #[test]
    fn a_sealed_body_opens_with_its_own_key_and_associated_data_only() {
        let environment = FixedEnvironment::new(1);
        let domain = Domain::of(Some(&ProjectKey::new([1; 32])));
        let other = Domain::of(Some(&ProjectKey::new([2; 32])));
        let mut sealed = Vec::new();
        domain.seal(b"a", b"hunter2", &mut sealed, &environment).unwrap();
        assert_eq!(sealed.len(), 7 + SEAL);
        assert!(!sealed.windows(7).any(|w| w == b"hunter2"));
        assert_eq!(domain.open(b"a", &mut sealed.clone()).unwrap(), b"hunter2");
        assert_eq!(domain.open(b"b", &mut sealed.clone()), Err(Forged));
        assert_eq!(other.open(b"a", &mut sealed.clone()), Err(Forged));
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(domain.open(b"a", &mut bad), Err(Forged), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(domain.open(b"a", &mut sealed.clone()[..length]), Err(Forged));
        }
    }

    #[test]
    fn the_same_bytes_have_one_address_in_a_domain_and_another_in_each_other() {
        let keys = [None, Some(ProjectKey::new([1; 32])), Some(ProjectKey::new([2; 32]))];
        let addresses = keys.each_ref().map(|key| Domain::of(key.as_ref()).address(b"x"));
        assert_eq!(addresses[1], Domain::of(keys[1].as_ref()).address(b"x"));
        assert!(addresses[0] != addresses[1] && addresses[1] != addresses[2]);
    }

    #[test]
    fn a_key_is_not_shown() {
        assert_eq!(format!("{:?}", ProjectKey::new([7; 32])), "ProjectKey(..)");
    }
}
