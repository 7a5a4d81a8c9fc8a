//! Signatures of texts that a guest has a say in: identity tokens, attested documents.
//!
//! An identity document's text is ours, so there is one signature of it; a token names an audience
//! and an attested document a nonce that the guest chooses, so a guest could ask for a new
//! signature with every request. Therefore time goes in windows: within one, the same question has
//! the same text, its signature is remembered, and an instance gets [`Signer::CHOSEN_MAX`] of
//! them. So one guest costs at most so many milliseconds and so many times 300 bytes in a window,
//! and takes nothing from another. Never decides what such a text says.
//!
//! ```text
//! seen in this window ──► the same signature
//! new, budget left    ──► signed and remembered
//! new, budget spent   ──► refused until the next window
//! ```

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
};

use mezame_model::{
    InstanceId,
    der::{Reader, tag},
};
use ring::signature::KeyPair;

use super::{Signer, sha_256};
use crate::token::UnixTime;

/// Why such a text is not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChosenError {
    /// The instance has had its share.
    #[error("too many signatures; again in {retry_after} s")]
    TooMany {
        /// Seconds until the next window.
        retry_after: u32,
    },
    /// The processor erred.
    #[error("signing failed")]
    Signing,
}

/// What was signed in one window, by instance.
#[derive(Default)]
pub(super) struct Chosen {
    window: u64,
    shares: BTreeMap<InstanceId, Share>,
}

/// What an instance has had in a window.
#[derive(Default)]
struct Share {
    spent: usize,
    /// The signatures by the digest of what they sign.
    made: BTreeMap<[u8; 32], Arc<[u8]>>,
}

impl Chosen {
    /// The instance's share of this window; of earlier ones nothing is kept.
    fn share(&mut self, window: u64, instance: &InstanceId) -> &mut Share {
        if self.window != window {
            *self = Self { window, shares: BTreeMap::new() };
        }
        self.shares.entry(instance.clone()).or_default()
    }
}

impl Signer {
    /// How many different signatures an instance gets in a window.
    pub(crate) const CHOSEN_MAX: usize = 32;
    /// How long a window is, in seconds.
    const CHOSEN_WINDOW: u64 = 300;

    /// The beginning of the window that a moment lies in.
    pub(crate) fn chosen_window(now: UnixTime) -> UnixTime {
        UnixTime(now.0 - now.0 % Self::CHOSEN_WINDOW)
    }

    /// RSA PKCS #1 v1.5 with SHA-256 over a text of this instance, within its budget.
    pub(crate) fn chosen_signature(
        &self,
        instance: &InstanceId,
        now: UnixTime,
        message: &[u8],
    ) -> Result<Arc<[u8]>, ChosenError> {
        let window = Self::chosen_window(now).0;
        let name = sha_256(message);
        let lock = || self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut chosen = lock();
            let share = chosen.share(window, instance);
            if let Some(signature) = share.made.get(&name) {
                return Ok(Arc::clone(signature));
            }
            if share.spent >= Self::CHOSEN_MAX {
                // At most 300.
                let retry_after = (window + Self::CHOSEN_WINDOW - now.0) as u32;
                return Err(ChosenError::TooMany { retry_after });
            }
            // Spent before it is made, so that requests at once don't overdraw.
            share.spent += 1;
        }
        // Outside the lock: others may sign meanwhile.
        let signature = self.make(message).ok_or(ChosenError::Signing)?;
        let mut chosen = lock();
        // Another window may have begun meanwhile.
        if chosen.window == window {
            chosen.share(window, instance).made.insert(name, Arc::clone(&signature));
        }
        Ok(signature)
    }

    /// A name for the key: the first 20 bytes of the SHA-256 of its RSAPublicKey, in hexadecimal.
    /// A new certificate for the same key keeps it.
    pub(crate) fn key_id(&self) -> String {
        let digest = sha_256(self.key.public_key().as_ref());
        digest[..20].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The public key's modulus and exponent, big-endian without leading zeros (RFC 8017, appendix
    /// A.1.1).
    pub(crate) fn public_numbers(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut file = Reader(self.key.public_key().as_ref());
        let mut key = Reader(file.expect(tag::SEQUENCE)?.content);
        let mut number = || {
            let digits = key.expect(tag::INTEGER)?.content;
            // DER puts a zero before a first bit that would otherwise mean a minus.
            Some(digits.strip_prefix(&[0]).unwrap_or(digits).to_vec())
        };
        Some((number()?, number()?))
    }
}
