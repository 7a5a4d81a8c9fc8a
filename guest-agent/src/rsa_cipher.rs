//! Passwords encrypted to RSA keys as the tools of other clouds expect them: RSAES-PKCS1-v1_5 and
//! RSAES-OAEP (RFC 8017, sections 7.1 and 7.2). Pure but for the kernel's random bytes.
//!
//! Encryption only. The crate's open advisory (RUSTSEC-2023-0071, "Marvin") is about operations
//! with a private key, and there is none here.

use base64::{Engine, engine::general_purpose::STANDARD};
use rsa::{
    BigUint, Oaep, Pkcs1v15Encrypt, RsaPublicKey,
    rand_core::{self, CryptoRng, RngCore},
    traits::PaddingScheme,
};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

/// The shortest key, in bits.
const BITS_MIN: usize = 2048;
/// The longest key, in bits: as many as OpenStack's metadata has room for.
const BITS_MAX: usize = 6120;

/// OAEP's hash function, of the label and of the mask alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// Google's default.
    Sha1,
    /// Of 32 bytes.
    Sha256,
    /// Of 64 bytes.
    Sha512,
}

/// Why nothing was encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CipherError {
    /// The text is no key of RSA that is long enough and not too long.
    #[error("the key is no RSA key of 2048 to 6120 bits")]
    Key,
    /// The text does not fit into the key.
    #[error("the text is too long for the key")]
    Text,
    /// The kernel gave no random bytes.
    #[error("the kernel gives no random bytes")]
    Random,
}

/// A key to encrypt to.
#[derive(Debug, Clone)]
pub struct PublicKey(RsaPublicKey);

impl PublicKey {
    /// Of modulus and exponent, the most significant byte first.
    pub fn new(modulus: &[u8], exponent: &[u8]) -> Result<Self, CipherError> {
        let (n, e) = (BigUint::from_bytes_be(modulus), BigUint::from_bytes_be(exponent));
        if n.bits() < BITS_MIN {
            return Err(CipherError::Key);
        }
        RsaPublicKey::new_with_max_size(n, e, BITS_MAX).map(Self).map_err(|_| CipherError::Key)
    }

    /// Of an authorized_keys line with a key of type ssh-rsa (RFC 4253, section 6.6), whose options
    /// may stand before it.
    pub fn of_line(line: &str) -> Result<Self, CipherError> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let pair = words.windows(2).find(|pair| pair[0] == "ssh-rsa").ok_or(CipherError::Key)?;
        let blob = STANDARD.decode(pair[1]).map_err(|_| CipherError::Key)?;
        let mut rest = blob.as_slice();
        let mut next = || string(&mut rest).ok_or(CipherError::Key);
        if next()? != b"ssh-rsa" {
            return Err(CipherError::Key);
        }
        let (exponent, modulus) = (next()?, next()?);
        Self::new(modulus, exponent)
    }

    /// RSAES-PKCS1-v1_5, as nova's clients open it; in base64.
    pub fn encrypt_pkcs1(&self, text: &str) -> Result<String, CipherError> {
        self.encrypt(Pkcs1v15Encrypt, text)
    }

    /// RSAES-OAEP without a label; in base64.
    pub fn encrypt_oaep(&self, hash: Hash, text: &str) -> Result<String, CipherError> {
        let padding = match hash {
            Hash::Sha1 => Oaep::new::<Sha1>(),
            Hash::Sha256 => Oaep::new::<Sha256>(),
            Hash::Sha512 => Oaep::new::<Sha512>(),
        };
        self.encrypt(padding, text)
    }

    fn encrypt(&self, padding: impl PaddingScheme, text: &str) -> Result<String, CipherError> {
        let mut random = Kernel { failed: false };
        let sealed = self.0.encrypt(&mut random, padding, text.as_bytes());
        if random.failed {
            return Err(CipherError::Random);
        }
        sealed.map(|bytes| STANDARD.encode(bytes)).map_err(|_| CipherError::Text)
    }
}

/// Takes a string of the SSH wire form (RFC 4251, section 5).
fn string<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (string, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *rest = after;
    Some(string)
}

/// The kernel's random bytes. Where it gives none, that is noted, and what was made of the bytes
/// that stand in for them is thrown away: the trait that asks for them knows no failure.
struct Kernel {
    failed: bool,
}

impl RngCore for Kernel {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_ne_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_ne_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        if getrandom::fill(bytes).is_err() {
            self.failed = true;
            // Not zeros: PKCS #1's padding has none, and would be drawn for ever.
            bytes.fill(1);
        }
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(bytes);
        Ok(())
    }
}

impl CryptoRng for Kernel {}

#[cfg(test)]
pub(crate) mod tests;
