//! Keys on their way to QEMU's programs, as its `secret` objects.
//!
//! A program that is started reads each from a pipe that it inherits, whose other end is closed and
//! which is empty afterwards: nothing is on a command line, in a file or in the environment. To one
//! that runs they go over its monitor, sealed (AES-256-CBC, as QEMU wants it) with a secret that it
//! has; so what records the monitor's words learns nothing. That secret is made of a key that the
//! program was started with, so it is known again after we were started anew.
//!
//! After <https://www.qemu.org/docs/master/system/secrets.html>.

use std::{
    io::{self, Write},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    process::Command,
};

use aes::cipher::{BlockEncryptMut, KeyIvInit, block_padding::Pkcs7};
use base64::{Engine, engine::general_purpose::STANDARD};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    unistd::pipe2,
};
use serde_json::json;
use zeroize::Zeroizing;

use super::{KeyNumber, MissingKey, VolumeKey, VolumeKeys};
use crate::{
    environment::{Environment, NoRandomness, random},
    iscsi::{ChapSecret, Lun},
    qmp::{Qmp, QmpError},
    volume::VolumeId,
};

/// Names in QEMU of what is secret of a volume.
pub(crate) fn key_name(volume: &VolumeId, number: KeyNumber) -> String {
    format!("{volume}.key-{number}")
}

/// The secret that others are sealed with.
fn wrapping_name(volume: &VolumeId, number: KeyNumber) -> String {
    format!("{volume}.wrap-{number}")
}

/// The key of a volume's master. Each clone has an object of its own.
pub(crate) fn master_name(volume: &VolumeId) -> String {
    format!("{volume}.master-key")
}

/// What a program is started with. It has no `Debug`.
#[derive(Default)]
pub struct Secrets(Vec<Secret>);

struct Secret {
    name: String,
    bytes: Zeroizing<Vec<u8>>,
    form: Form,
}

/// How a secret's bytes are written where QEMU reads them from.
#[derive(Clone, Copy)]
enum Form {
    /// As they are, since they are text.
    Raw,
    Base64,
}

impl Secret {
    fn key(name: String, key: &VolumeKey) -> Self {
        let bytes = Zeroizing::new(key.passphrase().as_bytes().to_vec());
        Self { name, bytes, form: Form::Raw }
    }

    fn wrapping(name: String, key: &VolumeKey) -> Self {
        let bytes = Zeroizing::new(key.wrapping().expose().to_vec());
        Self { name, bytes, form: Form::Base64 }
    }

    fn written(&self) -> (&'static str, Zeroizing<Vec<u8>>) {
        match self.form {
            Form::Raw => ("raw", self.bytes.clone()),
            Form::Base64 => ("base64", Zeroizing::new(STANDARD.encode(&*self.bytes).into_bytes())),
        }
    }
}

impl Secrets {
    /// None.
    pub fn none() -> Self {
        Self::default()
    }

    /// One of a volume's own keys. A machine whose guest is to go over to an encrypted volume later is
    /// started with that one's key too.
    pub fn of(volume: &VolumeId, number: KeyNumber, keys: &VolumeKeys) -> Result<Self, MissingKey> {
        let name = key_name(volume, number);
        let key = keys.own(number).ok_or_else(|| MissingKey(name.clone()))?;
        let wrapping = Secret::wrapping(wrapping_name(volume, number), key);
        Ok(Self(vec![Secret::key(name, key), wrapping]))
    }

    /// A key that is no volume's own, under a name.
    pub(crate) fn one(name: String, key: &VolumeKey) -> Self {
        Self(vec![Secret::key(name, key)])
    }

    /// The key of a volume's master.
    pub(crate) fn of_master(volume: &VolumeId, keys: &VolumeKeys) -> Result<Self, MissingKey> {
        let name = master_name(volume);
        let key = keys.master().ok_or_else(|| MissingKey(name.clone()))?;
        Ok(Self(vec![Secret::key(name, key)]))
    }

    /// The CHAP secret of a LUN, under this name; none for one without CHAP.
    pub(crate) fn of_lun(name: &str, lun: &Lun, keys: &VolumeKeys) -> Result<Self, MissingKey> {
        let secret = |secret: &ChapSecret| Secret {
            name: name.into(),
            bytes: Zeroizing::new(secret.expose().as_bytes().to_vec()),
            form: Form::Raw,
        };
        Ok(Self(keys.accounts().of(lun)?.map(secret).into_iter().collect()))
    }

    /// These and others.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Each as its object is told of it: its id, its format (`raw` or `base64`), and its text. For
    /// whoever starts QEMU elsewhere than here and gives it them himself.
    pub fn objects(&self) -> impl Iterator<Item = (&str, &'static str, Zeroizing<Vec<u8>>)> {
        self.0.iter().map(|secret| {
            let (format, bytes) = secret.written();
            (secret.name.as_str(), format, bytes)
        })
    }

    /// Adds them to a program of QEMU's that is to be started, once: its words, and the pipes that it
    /// reads them from. After the tool's command, for qemu-img.
    pub fn attach(&self, command: &mut Command) -> io::Result<()> {
        let mut pipes = Vec::with_capacity(self.0.len());
        for secret in &self.0 {
            let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
            let (format, bytes) = secret.written();
            // Far less than a pipe holds, so this does not wait for a reader.
            std::fs::File::from(writer).write_all(&bytes)?;
            let file = reader.as_raw_fd();
            let object = format!("secret,id={},format={format},file=/dev/fd/{file}", secret.name);
            command.args(["--object", &object]);
            pipes.push(reader);
        }
        inherit(command, pipes);
        Ok(())
    }
}

/// Has a program that is started inherit open files, under their numbers here; no other program
/// does.
pub(crate) fn inherit(command: &mut Command, files: Vec<OwnedFd>) {
    if files.is_empty() {
        return;
    }
    let keep_open = move || {
        for file in &files {
            fcntl(file, FcntlArg::F_SETFD(FdFlag::empty()))?;
        }
        Ok(())
    };
    // SAFETY: fcntl(2) is async-signal-safe, and nothing is allocated or locked.
    unsafe {
        command.pre_exec(keep_open);
    }
}

/// Why a running QEMU doesn't get a secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// A key was not given.
    #[error(transparent)]
    Missing(#[from] MissingKey),
    /// It has no secret of the volume that another could be sealed with.
    #[error("this QEMU was not started with any of the keys that were given of {0}")]
    NoWrapping(VolumeId),
    /// No randomness for the sealing.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// QEMU refused, or is gone.
    #[error(transparent)]
    Qmp(#[from] QmpError),
}

/// Gives a QEMU that runs a further key of a volume, unless it has it.
///
/// # Errors
/// [`SecretError::NoWrapping`] for one that was started with none of the keys.
pub(crate) fn give(
    qmp: &mut Qmp,
    volume: &VolumeId,
    number: KeyNumber,
    keys: &VolumeKeys,
    environment: &dyn Environment,
) -> Result<(), SecretError> {
    send(qmp, Secrets::of(volume, number, keys)?, volume, keys, environment)
}

/// Gives a QEMU that runs secrets, unless it has those of the same names: sealed with one that it was
/// started with for this volume.
///
/// # Errors
/// [`SecretError::NoWrapping`] for one that was started with none of the keys.
pub(crate) fn send(
    qmp: &mut Qmp,
    secrets: Secrets,
    volume: &VolumeId,
    keys: &VolumeKeys,
    environment: &dyn Environment,
) -> Result<(), SecretError> {
    let there = qmp.objects()?;
    let missing: Vec<_> =
        secrets.0.into_iter().filter(|secret| !there.contains(&secret.name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut known = keys.own.iter().map(|(number, key)| (wrapping_name(volume, *number), key));
    let (by, key) = known
        .find(|(name, _)| there.contains(name))
        .ok_or_else(|| SecretError::NoWrapping(volume.clone()))?;
    for secret in missing {
        let iv: [u8; 16] = random(environment)?;
        let sealed = seal(&key.wrapping(), &iv, &secret.bytes);
        // What is inside of the seal is taken as it is.
        let object = json!({
            "qom-type": "secret", "id": secret.name, "format": "base64",
            "data": sealed, "keyid": by, "iv": STANDARD.encode(iv),
        });
        qmp.execute("object-add", object)?;
    }
    Ok(())
}

/// Has a QEMU that runs forget a key. That it has none of this name is as good.
pub(crate) fn take(qmp: &mut Qmp, volume: &VolumeId, number: KeyNumber) -> Result<(), QmpError> {
    let names = [key_name(volume, number), wrapping_name(volume, number)];
    qmp.remove_objects(names.iter().map(String::as_str))
}

/// A secret as QEMU opens it by another one: AES-256-CBC with PKCS #7's padding, in base64.
fn seal(by: &VolumeKey, iv: &[u8; 16], bytes: &[u8]) -> String {
    let cipher = cbc::Encryptor::<aes::Aes256>::new(by.expose().into(), iv.into());
    STANDARD.encode(cipher.encrypt_padded_vec_mut::<Pkcs7>(bytes))
}

/// A file without a name, in memory, for a program to inherit.
pub(crate) fn memory_file(name: &str) -> Result<std::fs::File, Errno> {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    memfd_create(name, MFdFlags::MFD_CLOEXEC).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealing_is_what_openssl_does() {
        // printf secret | openssl enc -aes-256-cbc -K 07…07 -iv 09…09 | base64
        let key = VolumeKey::of(Zeroizing::new([7; 32]));
        let sealed = seal(&key, &[9; 16], b"secret");
        assert_eq!(sealed, "UWW++Xeg0/axXk+ytg1DVw==");
    }
}
