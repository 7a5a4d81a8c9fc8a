//! qemu-img on encrypted files: making one, adding and removing a key while nobody has it open, and
//! seeing whether a key opens it.
//!
//! Keys are 256 random bits, which no guessing finds however fast it is. So the passes of PBKDF2
//! that slow guessing down are kept to the fewest that QEMU makes, or each start of a guest would
//! take seconds. QEMU measures the processor to count them, which takes two seconds, and fails where
//! the measure is too short for the kernel's clock; it is asked again then.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::{
    KeyNumber, MissingKey, VolumeKeys,
    secret::{Secrets, key_name},
};
use crate::{
    program::{self, qemu_img},
    volume::{Volume, VolumeId},
};

/// How long QEMU is to hash a key, in milliseconds.
pub(crate) const HASHING_MS: u32 = 10;

/// What QEMU says of a measure that was too short; to be asked again.
pub(super) const NOT_MEASURED: &str = "Unable to get accurate CPU usage";
/// What it says of a key that opens no slot.
const WRONG_KEY: &str = "Invalid password, cannot unlock any keyslot";
/// The path of a file that has no name and that qemu-img gets as its standard input.
pub(crate) const INPUT: &str = "/dev/fd/0";
/// How often it is asked at most. A third of the measures failed where it was tried.
pub(super) const ATTEMPTS: u32 = 60;

/// Why qemu-img has not done it.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A key was not given.
    #[error(transparent)]
    Missing(#[from] MissingKey),
    /// The key is not one of the volume's.
    #[error("{} is not opened by the key {name}: it is another key's, or was removed", path.display())]
    WrongKey {
        /// The file or device.
        path: PathBuf,
        /// The key's name.
        name: String,
    },
    /// It can't be started, or does not end.
    #[error("running qemu-img")]
    Start(#[source] io::Error),
    /// A file can't be made.
    #[error("making {}", path.display())]
    Make {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It refused.
    #[error("qemu-img: {said}")]
    Tool {
        /// What it said, a few lines at most.
        said: String,
    },
}

/// Whether what one of QEMU's programs said is that a key opens no slot.
pub(crate) fn is_wrong_key(said: &str) -> bool {
    said.contains(WRONG_KEY)
}

/// Makes an encrypted file, or a block device one, of a volume's length, with one key. `prepare` is
/// called before each attempt: it is to see to it that only we may open the file.
pub(crate) fn make(
    path: &Path,
    size: u64,
    form: &Form<'_>,
    key: (&VolumeId, KeyNumber, &VolumeKeys),
    prepare: impl Fn() -> io::Result<()>,
) -> Result<(), ImageError> {
    let (id, number, keys) = key;
    make_by(path, size, form, (&key_name(id, number), &Secrets::of(id, number, keys)?), prepare)
}

/// The same with a key that is no volume's own: its name, and what has it.
pub(crate) fn make_by(
    path: &Path,
    size: u64,
    form: &Form<'_>,
    (name, secrets): (&str, &Secrets),
    prepare: impl Fn() -> io::Result<()>,
) -> Result<(), ImageError> {
    let (format, prefix, mut options) = match form {
        Form::Luks => ("luks", "", String::new()),
        Form::Alone => ("qcow2", "encrypt.", "encrypt.format=luks,".to_owned()),
        Form::Overlay { options, .. } => {
            ("qcow2", "encrypt.", format!("{options},encrypt.format=luks,"))
        }
    };
    options.push_str(&format!("{prefix}key-secret={name},{prefix}iter-time={HASHING_MS}"));
    repeat(|| {
        prepare().map_err(|source| ImageError::Make { path: path.into(), source })?;
        let mut create = qemu_img("create");
        create.args(["-q", "-f", format, "-o", &options]);
        secrets.attach(&mut create).map_err(ImageError::Start)?;
        if let Form::Overlay { backing, backing_format, input, .. } = form {
            // It is not opened: it may be encrypted itself, and we know its length.
            create.args(["-u", "-F", backing_format, "-b"]).arg(backing);
            if let Some(input) = input {
                create.stdin(input.try_clone().map_err(ImageError::Start)?);
            }
        }
        create.arg(path).arg(size.to_string());
        Ok(create)
    })
}

/// What is to be made.
pub(crate) enum Form<'a> {
    /// LUKS over a raw file or a device.
    Luks,
    /// qcow2 with LUKS in it.
    Alone,
    /// A qcow2 overlay with LUKS in it.
    Overlay {
        options: &'a str,
        backing: &'a Path,
        backing_format: &'a str,
        /// The file, where it is [`INPUT`].
        input: Option<&'a File>,
    },
}

/// Whether a key opens a volume, which may be in use.
///
/// # Errors
/// Anything but that the key is a wrong one.
pub(super) fn opens(
    volume: &Volume,
    number: KeyNumber,
    keys: &VolumeKeys,
) -> Result<bool, ImageError> {
    let mut node = volume.header_node(number);
    node["read-only"] = true.into();
    node["force-share"] = true.into();
    let mut map = qemu_img("map");
    map.args(["--output=json", "--max-length=512"]);
    Secrets::of(volume.id(), number, keys)?.attach(&mut map).map_err(ImageError::Start)?;
    map.arg(format!("json:{node}"));
    match run(map) {
        Ok(()) => Ok(true),
        Err(ImageError::Tool { said }) if is_wrong_key(&said) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Changes the keyslots of a volume that nobody has open.
pub(super) fn amend(
    volume: &Volume,
    opening: KeyNumber,
    other: KeyNumber,
    change: Change,
    keys: &VolumeKeys,
) -> Result<(), ImageError> {
    let node = volume.header_node(opening);
    let prefix = if volume.is_overlay() { "encrypt." } else { "" };
    let name = key_name(volume.id(), other);
    let options = match change {
        Change::Add => {
            format!("{prefix}state=active,{prefix}new-secret={name},{prefix}iter-time={HASHING_MS}")
        }
        Change::Remove => format!("{prefix}state=inactive,{prefix}old-secret={name}"),
    };
    repeat(|| {
        let mut amend = qemu_img("amend");
        amend.arg("-q");
        Secrets::of(volume.id(), opening, keys)?
            .and(Secrets::of(volume.id(), other, keys)?)
            .attach(&mut amend)
            .map_err(ImageError::Start)?;
        amend.args(["-o", &options]).arg(format!("json:{node}"));
        Ok(amend)
    })
    .map_err(|error| match error {
        ImageError::Tool { said } if is_wrong_key(&said) => {
            let path = volume.place().called();
            ImageError::WrongKey { path, name: key_name(volume.id(), opening) }
        }
        error => error,
    })
}

/// What becomes of a key's slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Add,
    Remove,
}

impl Change {
    /// The same as an argument of `x-blockdev-amend`.
    pub(super) fn options(self, volume: &Volume, opening: KeyNumber, other: KeyNumber) -> Value {
        let (opening, other) = (key_name(volume.id(), opening), key_name(volume.id(), other));
        let mut change = match self {
            // Told by which key: the one that the volume was opened with may be gone by now.
            Self::Add => json!({
                "state": "active", "new-secret": other, "secret": opening, "iter-time": HASHING_MS,
            }),
            Self::Remove => json!({ "state": "inactive", "old-secret": other }),
        };
        if volume.is_overlay() {
            change["format"] = "luks".into();
            return json!({ "driver": "qcow2", "encrypt": change });
        }
        change["driver"] = "luks".into();
        change
    }
}

/// Runs a tool, and again where QEMU could not measure the processor.
fn repeat(command: impl Fn() -> Result<Command, ImageError>) -> Result<(), ImageError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match run(command()?) {
            Err(ImageError::Tool { said })
                if said.contains(NOT_MEASURED) && attempts < ATTEMPTS => {}
            done => return done,
        }
    }
}

fn run(command: Command) -> Result<(), ImageError> {
    let ran = program::run(command).map_err(ImageError::Start)?;
    if ran.status.success() { Ok(()) } else { Err(ImageError::Tool { said: ran.said }) }
}
