//! Hybrid public key encryption (RFC 9180): to seal something to a key that the guest made for this
//! one answer.
//!
//! Base mode with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20Poly1305, and no other: what
//! RFC 9180 numbers 0x0020, 0x0001 and 0x0003. Any library of HPKE opens it. Only the sender's side
//! is here; the sender's own key is made anew for each context and forgotten with it.

use mezame_model::volume_key::hpke::{
    KEM_SUITE, SUITE, VERSION, labeled_info, nonce, schedule_context,
};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey},
    agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral},
    hmac,
    rand::SecureRandom,
};
use zeroize::Zeroizing;

/// Why nothing can be sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HpkeError {
    /// The recipient's key is one of those with which the shared secret is no secret (section
    /// 7.1.4), or there is no randomness.
    #[error("no secret can be shared with this public key")]
    Agreement,
    /// Sealing failed.
    #[error("sealing failed")]
    Seal,
}

/// A sender's context for one recipient.
pub(crate) struct Sender {
    /// The sender's public key (`enc`).
    pub(crate) encapsulated: [u8; 32],
    key: LessSafeKey,
    base_nonce: [u8; 12],
    sequence: u64,
}

impl Sender {
    /// SetupBaseS (section 5.1.1).
    pub(crate) fn new(
        recipient: &[u8; 32],
        info: &[u8],
        random: &dyn SecureRandom,
    ) -> Result<Self, HpkeError> {
        let own =
            EphemeralPrivateKey::generate(&X25519, random).map_err(|_| HpkeError::Agreement)?;
        let public = own.compute_public_key().map_err(|_| HpkeError::Agreement)?;
        let encapsulated: [u8; 32] =
            public.as_ref().try_into().map_err(|_| HpkeError::Agreement)?;
        let theirs = UnparsedPublicKey::new(&X25519, recipient);
        let shared = agree_ephemeral(own, &theirs, |shared| {
            extract_and_expand(shared, &encapsulated, recipient)
        });
        let shared = shared.map_err(|_| HpkeError::Agreement)?;
        let schedule = key_schedule(&shared, info);
        let key =
            UnboundKey::new(&CHACHA20_POLY1305, &schedule.key[..]).map_err(|_| HpkeError::Seal)?;
        let (key, base_nonce) = (LessSafeKey::new(key), schedule.base_nonce);
        Ok(Self { encapsulated, key, base_nonce, sequence: 0 })
    }

    /// Seals the next message (section 5.2): ciphertext and tag.
    pub(crate) fn seal(&mut self, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, HpkeError> {
        let nonce = nonce(&self.base_nonce, self.sequence);
        // Refused before a number could come twice, which takes longer than the universe has been.
        self.sequence = self.sequence.checked_add(1).ok_or(HpkeError::Seal)?;
        let mut sealed = plain.to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(aad),
                &mut sealed,
            )
            .map_err(|_| HpkeError::Seal)?;
        Ok(sealed)
    }
}

/// What a context is made of.
struct Schedule {
    key: Zeroizing<[u8; 32]>,
    base_nonce: [u8; 12],
}

/// ExtractAndExpand (section 4.1).
fn extract_and_expand(
    shared: &[u8],
    encapsulated: &[u8; 32],
    recipient: &[u8; 32],
) -> Zeroizing<[u8; 32]> {
    let prk = extract(KEM_SUITE, b"", b"eae_prk", shared);
    expand(KEM_SUITE, &prk[..], b"shared_secret", &[&encapsulated[..], recipient].concat())
}

/// KeySchedule in base mode (section 5.1): no pre-shared key.
fn key_schedule(shared_secret: &[u8; 32], info: &[u8]) -> Schedule {
    let psk_id_hash = extract(SUITE, b"", b"psk_id_hash", b"");
    let info_hash = extract(SUITE, b"", b"info_hash", info);
    let context = schedule_context(&psk_id_hash, &info_hash);
    let secret = extract(SUITE, shared_secret, b"secret", b"");
    let base_nonce = *expand::<12>(SUITE, &secret[..], b"base_nonce", &context);
    Schedule { key: expand(SUITE, &secret[..], b"key", &context), base_nonce }
}

/// LabeledExtract (section 4): HKDF-Extract is one HMAC (RFC 5869, section 2.2).
fn extract(suite: &[u8], salt: &[u8], label: &[u8], secret: &[u8]) -> Zeroizing<[u8; 32]> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, salt);
    mac(&key, &[VERSION, suite, label, secret])
}

/// LabeledExpand (section 4) of at most one block of HKDF-Expand (RFC 5869, section 2.3).
fn expand<const LENGTH: usize>(
    suite: &[u8],
    prk: &[u8],
    label: &[u8],
    info: &[u8],
) -> Zeroizing<[u8; LENGTH]> {
    const { assert!(LENGTH <= 32) };
    let key = hmac::Key::new(hmac::HMAC_SHA256, prk);
    let length = (LENGTH as u16).to_be_bytes();
    let [length, version, suite, label, info] = labeled_info(&length, suite, label, info);
    let block = mac(&key, &[length, version, suite, label, info, &[1]]);
    let mut out = Zeroizing::new([0; LENGTH]);
    out.copy_from_slice(&block[..LENGTH]);
    out
}

fn mac(key: &hmac::Key, parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut context = hmac::Context::with_key(key);
    parts.iter().for_each(|part| context.update(part));
    let mut out = Zeroizing::new([0; 32]);
    // HMAC-SHA256 has these 32 bytes.
    out.copy_from_slice(context.sign().as_ref());
    out
}

#[cfg(test)]
mod tests;
