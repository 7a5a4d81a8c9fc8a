//! How files are sealed: AES-256-GCM in numbered chunks.
//!
//! The chunks follow the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár: "Online
//! Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", 2015): each nonce holds the
//! chunk's number and whether it is the last, so chunks can be neither left out, nor moved, nor
//! cut off. Every file has a key of its own, derived from the ledger's key and a random salt
//! (HKDF-SHA-256, RFC 5869), so no nonce is used twice under one key.
//!
//! ```text
//! magic (8) · salt (32) · { 1 bit last · 31 bits length · sealed chunk (length) } …
//! ```

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf,
    rand::{SecureRandom, SystemRandom},
};
use zeroize::Zeroizing;

use super::LedgerError;

/// The format and its version.
const MAGIC: &[u8; 8] = b"mezame\x00\x01";
/// A sealed chunk longer than this was not written by us.
const MAX_CHUNK: usize = 64 << 20;
/// The bit of a chunk's head that marks the last.
const LAST: u32 = 1 << 31;

/// The ledger's key.
pub struct LedgerKey(Zeroizing<[u8; 32]>);

impl LedgerKey {
    /// Reads the key file, or makes it with mode 0600.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        match fs::read(path) {
            Ok(bytes) => {
                let bytes = Zeroizing::new(bytes);
                let mode = fs::metadata(path).map_err(LedgerError::file(path, "reading"))?.mode();
                if mode & 0o077 != 0 {
                    return Err(LedgerError::KeyMode { path: path.into(), mode: mode & 0o7777 });
                }
                let key = <[u8; 32]>::try_from(bytes.as_slice())
                    .map_err(|_| LedgerError::Key { path: path.into() })?;
                Ok(Self(Zeroizing::new(key)))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(path),
            Err(error) => Err(LedgerError::file(path, "reading")(error)),
        }
    }

    fn make(path: &Path) -> Result<Self, LedgerError> {
        let mut key = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(&mut *key).map_err(|_| LedgerError::Random)?;
        let aside = super::aside(path);
        // Written aside, so that a crash leaves no half of a key; linked and not renamed, since an
        // existing key must never be replaced.
        let made = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&aside)
            .and_then(|mut file| file.write_all(&*key).and_then(|()| file.sync_all()))
            .and_then(|()| fs::hard_link(&aside, path))
            .and_then(|()| path.parent().map_or(Ok(()), |it| File::open(it)?.sync_all()));
        let _ = fs::remove_file(&aside);
        match made {
            // Another process was faster; it may have sealed with its key already.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::open(path),
            made => {
                made.map_err(LedgerError::file(path, "making the key"))?;
                Ok(Self(key))
            }
        }
    }

    /// The key of one file with one purpose.
    fn of_file(&self, salt: &[u8; 32], purpose: &[u8]) -> Option<LessSafeKey> {
        let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(&*self.0);
        let mut key = Zeroizing::new([0; 32]);
        derived.expand(&[purpose], hkdf::HKDF_SHA256).ok()?.fill(&mut *key).ok()?;
        Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*key).ok()?))
    }
}

impl std::fmt::Debug for LedgerKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("LedgerKey(..)")
    }
}

fn nonce(number: u64, is_last: bool) -> Nonce {
    let mut bytes = [0; 12];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes[11] = u8::from(is_last);
    Nonce::assume_unique_for_key(bytes)
}

/// Seals chunk after chunk.
pub struct Sealer<'a> {
    out: &'a mut dyn Write,
    key: LessSafeKey,
    number: u64,
}

impl<'a> Sealer<'a> {
    /// Begins a file for one purpose; it opens for no other.
    pub fn begin(key: &LedgerKey, purpose: &[u8], out: &'a mut dyn Write) -> io::Result<Self> {
        let mut salt = [0; 32];
        let unsealable = || io::Error::other("sealing failed");
        SystemRandom::new().fill(&mut salt).map_err(|_| unsealable())?;
        let key = key.of_file(&salt, purpose).ok_or_else(unsealable)?;
        out.write_all(MAGIC)?;
        out.write_all(&salt)?;
        Ok(Self { out, key, number: 0 })
    }

    /// Seals the next chunk in place and writes it. The last one must say so.
    pub fn chunk(&mut self, mut chunk: Vec<u8>, is_last: bool) -> io::Result<()> {
        self.key
            .seal_in_place_append_tag(nonce(self.number, is_last), Aad::empty(), &mut chunk)
            .map_err(|_| io::Error::other("sealing failed"))?;
        self.number += 1;
        let length = u32::try_from(chunk.len()).map_err(io::Error::other)?;
        let head = if is_last { length | LAST } else { length };
        self.out.write_all(&head.to_be_bytes())?;
        self.out.write_all(&chunk)
    }
}

/// Opens chunk after chunk.
pub struct Opener<'a> {
    input: &'a mut dyn Read,
    key: LessSafeKey,
    number: u64,
    is_over: bool,
}

/// Why sealed bytes do not open.
#[derive(Debug)]
pub enum OpenError {
    /// They can't be read.
    Read(io::Error),
    /// Another version wrote them.
    Version,
    /// They are cut short, changed, or sealed under another key.
    Damaged,
}

impl OpenError {
    /// The same, of a file.
    pub fn of(self, path: &Path) -> LedgerError {
        match self {
            Self::Read(error) => LedgerError::file(path, "reading")(error),
            Self::Version => LedgerError::Version { path: path.into() },
            Self::Damaged => LedgerError::Damaged { path: path.into() },
        }
    }
}

impl<'a> Opener<'a> {
    /// Begins with a file that was sealed for this purpose.
    pub fn begin(
        key: &LedgerKey,
        purpose: &[u8],
        input: &'a mut dyn Read,
    ) -> Result<Self, OpenError> {
        let mut magic = [0; 8];
        read(input, &mut magic)?;
        if &magic != MAGIC {
            return Err(OpenError::Version);
        }
        let mut salt = [0; 32];
        read(input, &mut salt)?;
        let key = key.of_file(&salt, purpose).ok_or(OpenError::Damaged)?;
        Ok(Self { input, key, number: 0, is_over: false })
    }

    /// The next chunk; none after the last one.
    pub fn chunk(&mut self) -> Result<Option<Zeroizing<Vec<u8>>>, OpenError> {
        if self.is_over {
            return Ok(None);
        }
        let mut head = [0; 4];
        read(self.input, &mut head)?;
        let head = u32::from_be_bytes(head);
        let (length, is_last) = ((head & !LAST) as usize, head & LAST != 0);
        if length > MAX_CHUNK {
            return Err(OpenError::Damaged);
        }
        let mut sealed = vec![0; length];
        read(self.input, &mut sealed)?;
        // What the head says of the chunk is true if it opens: both are in the nonce.
        let length = self
            .key
            .open_in_place(nonce(self.number, is_last), Aad::empty(), &mut sealed)
            .map_err(|_| OpenError::Damaged)?
            .len();
        sealed.truncate(length);
        self.number += 1;
        self.is_over = is_last;
        if is_last && self.input.read(&mut [0; 1]).map_err(OpenError::Read)? != 0 {
            return Err(OpenError::Damaged);
        }
        Ok(Some(Zeroizing::new(sealed)))
    }
}

fn read(input: &mut dyn Read, out: &mut [u8]) -> Result<(), OpenError> {
    input.read_exact(out).map_err(|error| {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            OpenError::Damaged
        } else {
            OpenError::Read(error)
        }
    })
}
