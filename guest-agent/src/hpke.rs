//! Hybrid public key encryption (RFC 9180), the recipient's side: opens what the metadata service
//! sealed to a key that this guest made for the one answer.
//!
//! Base mode with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20Poly1305, and no other, over
//! the crates that age brings along already. Pure: the recipient's secret is passed in.

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit, Nonce,
    aead::{Aead, Payload},
};
use hkdf::Hkdf;
use mezame_model::volume_key::hpke::{
    KEM_SUITE, SUITE, VERSION, labeled_info, nonce, schedule_context,
};
use sha2::Sha256;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

/// Why nothing is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HpkeError {
    /// The sender's key is one with which the shared secret is no secret (section 7.1.4).
    #[error("the sender's key shares no secret")]
    Agreement,
    /// It was sealed to another key, for another purpose, or was changed on its way.
    #[error("what was sealed does not open with this key")]
    Open,
}

/// A key pair for one answer; the secret half is zeroed when dropped.
pub struct Recipient {
    secret: StaticSecret,
    public: PublicKey,
}

impl Recipient {
    /// Takes random bytes as the secret half.
    pub fn new(random: [u8; 32]) -> Self {
        let secret = StaticSecret::from(random);
        let public = PublicKey::from(&secret);
        Self { secret, public }
    }

    /// The half that the sender is told.
    pub fn public(&self) -> &[u8; 32] {
        self.public.as_bytes()
    }

    /// SetupBaseR (section 5.1.1), with what the sender made of its own key.
    pub fn open_from(&self, encapsulated: &[u8; 32], info: &[u8]) -> Result<Opener, HpkeError> {
        let shared = self.secret.diffie_hellman(&PublicKey::from(*encapsulated));
        if !shared.was_contributory() {
            return Err(HpkeError::Agreement);
        }
        let prk = extract(KEM_SUITE, b"", b"eae_prk", shared.as_bytes());
        let context = [&encapsulated[..], self.public.as_bytes()].concat();
        let shared = expand::<32>(KEM_SUITE, &prk, b"shared_secret", &context)?;
        let psk_id_hash = extract(SUITE, b"", b"psk_id_hash", b"");
        let info_hash = extract(SUITE, b"", b"info_hash", info);
        let context = schedule_context(&psk_id_hash, &info_hash);
        let secret = extract(SUITE, &shared[..], b"secret", b"");
        let key = expand::<32>(SUITE, &secret, b"key", &context)?;
        let base_nonce = *expand::<12>(SUITE, &secret, b"base_nonce", &context)?;
        let cipher = ChaCha20Poly1305::new_from_slice(&key[..]).map_err(|_| HpkeError::Open)?;
        Ok(Opener { cipher, base_nonce, sequence: 0 })
    }
}

/// Opens the messages of one sender, in their order.
pub struct Opener {
    cipher: ChaCha20Poly1305,
    base_nonce: [u8; 12],
    sequence: u64,
}

impl Opener {
    /// Opens the next message (section 5.2).
    pub fn open(&mut self, aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, HpkeError> {
        let nonce = nonce(&self.base_nonce, self.sequence);
        let next = self.sequence.checked_add(1).ok_or(HpkeError::Open)?;
        let payload = Payload { msg: sealed, aad };
        let opened = self.cipher.decrypt(Nonce::from_slice(&nonce), payload);
        let opened = opened.map(Zeroizing::new).map_err(|_| HpkeError::Open)?;
        // One that does not open is not counted, as in ContextR.Open.
        self.sequence = next;
        Ok(opened)
    }
}

/// LabeledExtract (section 4).
fn extract(suite: &[u8], salt: &[u8], label: &[u8], secret: &[u8]) -> Zeroizing<[u8; 32]> {
    let labeled = Zeroizing::new([VERSION, suite, label, secret].concat());
    let (prk, _) = Hkdf::<Sha256>::extract(Some(salt), &labeled);
    Zeroizing::new(prk.into())
}

/// LabeledExpand (section 4).
fn expand<const LENGTH: usize>(
    suite: &[u8],
    prk: &Zeroizing<[u8; 32]>,
    label: &[u8],
    info: &[u8],
) -> Result<Zeroizing<[u8; LENGTH]>, HpkeError> {
    let length = (LENGTH as u16).to_be_bytes();
    let mut out = Zeroizing::new([0; LENGTH]);
    Hkdf::<Sha256>::from_prk(&prk[..])
        .map_err(|_| HpkeError::Open)?
        .expand_multi_info(&labeled_info(&length, suite, label, info), &mut out[..])
        .map_err(|_| HpkeError::Open)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex<const LENGTH: usize>(text: &str) -> [u8; LENGTH] {
        assert_eq!(text.len(), 2 * LENGTH);
        std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
    }

    const SK_R: &str = "8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb";
    const PK_R: &str = "4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a";
    const ENC: &str = "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a";
    const MESSAGES: [(&str, &str); 2] = [
        (
            "Count-0",
            "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db\
             21993c62ce81883d2dd1b51a28",
        ),
        (
            "Count-1",
            "6b53c051e4199c518de79594e1c4ab18b96f081549d45ce015be002090bb119e\
             85285337cc95ba5f59992dc98c",
        ),
    ];

    fn opener() -> Opener {
        let recipient = Recipient::new(hex(SK_R));
        assert_eq!(*recipient.public(), hex::<32>(PK_R));
        recipient.open_from(&hex(ENC), b"Ode on a Grecian Urn").unwrap()
    }

    #[test]
    fn the_appendixs_messages_open_in_their_order() {
        // RFC 9180, appendix A.2.1.
        let mut opener = opener();
        for (aad, sealed) in MESSAGES {
            let opened = opener.open(aad.as_bytes(), &hex::<45>(sealed)).unwrap();
            assert_eq!(&opened[..], b"Beauty is truth, truth beauty", "{aad}");
        }
    }

    #[test]
    fn what_is_bound_otherwise_or_changed_does_not_open() {
        let sealed = hex::<45>(MESSAGES[0].1);
        let mut opener = opener();
        assert_eq!(opener.open(b"Count-1", &sealed), Err(HpkeError::Open));
        for at in [0, 20, 44] {
            let mut changed = sealed;
            changed[at] ^= 1;
            assert_eq!(opener.open(b"Count-0", &changed), Err(HpkeError::Open));
        }
        assert!(opener.open(b"Count-0", &sealed).is_ok(), "a failure is not counted");
        let other = Recipient::new(hex(SK_R));
        let mut other = other.open_from(&hex(ENC), b"another purpose").unwrap();
        assert_eq!(other.open(b"Count-0", &sealed), Err(HpkeError::Open));
    }

    #[test]
    fn a_senders_key_that_shares_no_secret_is_refused() {
        let recipient = Recipient::new(hex(SK_R));
        assert_eq!(recipient.open_from(&[0; 32], b"").err(), Some(HpkeError::Agreement));
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused(aad: Vec<u8>, sealed: Vec<u8>) {
            prop_assert_eq!(opener().open(&aad, &sealed), Err(HpkeError::Open));
        }
    }
}
