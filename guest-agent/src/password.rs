//! A password made in the guest: random, sealed to the user's SSH key, hashed for crypt(3) where
//! the system keeps hashes.
//!
//! It has letters of three classes and does not hold the user's name, as Windows asks for
//! (Microsoft, "Password must meet complexity requirements").
//!
//! The sealed form is an age file (age-encryption.org/v1) with an ssh-ed25519 or ssh-rsa
//! recipient, so that `age -d -i ~/.ssh/id_ed25519` opens it. The plain text lives in this
//! process for some milliseconds and is nowhere written.

use mezame_model::SecretString;
use sha_crypt::{Algorithm, Params, PasswordHasher, ShaCrypt};
use zeroize::Zeroizing;

use crate::rsa_cipher::{CipherError, PublicKey};

/// Without 0 O 1 I l, which people mistake for each other.
const ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";
/// 20 of 57 letters: 116 bits.
const LENGTH: usize = 20;
/// One draw in twenty lacks a digit: so many in a row are no chance.
const MAX_DRAWS: usize = 64;

/// Why no password was made.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// The kernel gave no random bytes.
    #[error("the kernel gives no random bytes")]
    Random,
    /// There is no key that can be sealed to.
    #[error("the user has no ssh-ed25519 or ssh-rsa key to seal a password to")]
    NoRecipient,
    /// Sealing failed.
    #[error("the password could not be sealed")]
    Seal,
    /// Encryption to an RSA key failed.
    #[error(transparent)]
    Cipher(#[from] CipherError),
    /// Hashing failed.
    #[error("the password could not be hashed")]
    Hash,
}

impl PasswordError {
    /// A word for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Random => "no-randomness",
            Self::NoRecipient => "no-recipient",
            Self::Seal => "seal-failed",
            Self::Cipher(CipherError::Random) => "no-randomness",
            Self::Cipher(CipherError::Key | CipherError::Text) => "bad-value",
            Self::Hash => "hash-failed",
        }
    }
}

/// A password, and its form that only its owner can read.
#[derive(Debug, Clone)]
pub struct Made {
    /// The password itself: for this process alone.
    pub text: SecretString,
    /// The key that it is sealed to.
    pub recipient: String,
    /// In ASCII armor.
    pub sealed: String,
    /// The operator's ask that it answers.
    pub reset: Option<u64>,
    /// As OpenStack's clients encrypt one, in base64.
    pub nova: Option<String>,
}

impl Made {
    /// The same as the answer to an ask.
    pub fn for_reset(self, reset: Option<u64>) -> Self {
        Self { reset, ..self }
    }

    /// The same with its form for OpenStack's clients: to the first RSA key, if there is one that
    /// it can be encrypted to.
    pub fn with_nova(self, keys: &[String]) -> Self {
        let key = keys.iter().find_map(|line| PublicKey::of_line(line).ok());
        let nova = key.and_then(|key| key.encrypt_pkcs1(self.text.expose()).ok());
        Self { nova, ..self }
    }
}

/// Makes a password of a user for the first of the keys that can be sealed to.
pub fn make(user: &str, keys: &[String]) -> Result<Made, PasswordError> {
    let (recipient, line) = keys
        .iter()
        .find_map(|line| Some((recipient(line)?, line)))
        .ok_or(PasswordError::NoRecipient)?;
    let text = random(user)?;
    let sealed = age::encrypt_and_armor(&recipient, text.expose().as_bytes())
        .map_err(|_| PasswordError::Seal)?;
    Ok(Made { text, recipient: line.clone(), sealed, reset: None, nova: None })
}

/// Makes a password of a user, that nobody is told.
pub fn random(user: &str) -> Result<SecretString, PasswordError> {
    for _ in 0..MAX_DRAWS {
        let text = random_text()?;
        if is_complex(&text, user) {
            return Ok(SecretString::new(text.to_string()));
        }
    }
    Err(PasswordError::Random)
}

/// Whether Windows takes a password with the strictest of its usual policies.
fn is_complex(text: &str, user: &str) -> bool {
    let has = |class: fn(&u8) -> bool| text.bytes().any(|byte| class(&byte));
    // Names of one or two letters are not looked for.
    let named = user.len() > 2 && text.to_ascii_lowercase().contains(&user.to_ascii_lowercase());
    has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit) && !named
}

/// Hashes a password for crypt(3) with SHA-512, which every libc since 2008 checks.
pub fn hash(text: &str) -> Result<SecretString, PasswordError> {
    let mut salt = [0; 12];
    getrandom::fill(&mut salt).map_err(|_| PasswordError::Random)?;
    let hasher = ShaCrypt::new(Algorithm::Sha512Crypt, Params::default());
    let hash =
        hasher.hash_password_with_salt(text.as_bytes(), &salt).map_err(|_| PasswordError::Hash)?;
    Ok(SecretString::new(hash.as_str().to_owned()))
}

/// The key of an authorized_keys line, whose options may stand before it.
fn recipient(line: &str) -> Option<age::ssh::Recipient> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    words
        .windows(2)
        .find(|pair| matches!(pair[0], "ssh-ed25519" | "ssh-rsa"))
        .and_then(|pair| format!("{} {}", pair[0], pair[1]).parse().ok())
}

fn random_text() -> Result<Zeroizing<String>, PasswordError> {
    let mut text = Zeroizing::new(String::with_capacity(LENGTH));
    let mut bytes = Zeroizing::new([0_u8; 64]);
    // A byte beyond the last whole multiple of the alphabet would make some letters likelier.
    let limit = 256 / ALPHABET.len() * ALPHABET.len();
    for _ in 0..64 {
        getrandom::fill(bytes.as_mut_slice()).map_err(|_| PasswordError::Random)?;
        for byte in bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < limit) {
            if text.len() < LENGTH {
                text.push(char::from(ALPHABET[byte % ALPHABET.len()]));
            }
        }
        if text.len() == LENGTH {
            return Ok(text);
        }
    }
    Err(PasswordError::Random)
}

#[cfg(test)]
mod tests;
