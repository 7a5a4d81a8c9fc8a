//! Which LUN it is, and whether it is still the one that was sealed.
//!
//! A file's identity is its inode, and it is protected by its mode. Of a LUN, what stands in for both is
//! what its target says of it: its length, its unit serial number (SPC-5, VPD page 80h, which QEMU's
//! block layer doesn't show, so libiscsi's `iscsi-inq` asks), and whether it can be written at all.
//! A digest of its first MiB notices another disk behind the same name: a boot sector and a partition
//! table, or a file system's head, are there. What is behind that is not compared.

use std::{
    io::Read,
    process::{Command, Stdio},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    Lun, LunAccess, LunError,
    access::{Mode, OpenLun},
};
use crate::{program, storage_daemon::DaemonError};

/// How much of a LUN's beginning is compared, in bytes.
pub(crate) const HEAD: usize = 1 << 20;
/// The page of vital product data with the serial number, in decimal.
const SERIAL_PAGE: &str = "128";
/// How long the target may take to say it. libiscsi's tool waits for ever for one that takes the
/// connection and says nothing.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is read of the tool's words, in bytes.
const MOST_WORDS: u64 = 4096;
/// How QEMU's driver says that a LUN can't be written.
const PROTECTED: &str = "LUN is write protected";

/// What a LUN was when it was sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LunSeal {
    /// In bytes.
    pub length: u64,
    /// The target's serial number for it.
    pub serial: String,
    /// BLAKE3 of its first MiB, in hexadecimal digits.
    pub head: String,
    /// Whether the target refuses writes to it.
    pub is_protected: bool,
}

impl LunSeal {
    /// What a LUN is now. It is opened to read; that it could be written is tried by an opening that
    /// writes nothing.
    pub fn of(lun: &Lun, access: &LunAccess) -> Result<Self, LunError> {
        Self::look(lun, access).map(|(seal, _)| seal)
    }

    /// The same, and the first MiB.
    pub(crate) fn look(lun: &Lun, access: &LunAccess) -> Result<(Self, Vec<u8>), LunError> {
        let serial = serial(lun, access)?;
        let (length, head) = access.open(lun, Mode::Read)?.head(lun)?;
        let is_protected = match access.open(lun, Mode::Write) {
            Ok(_) => false,
            Err(LunError::Open { source: DaemonError::Ended { said }, .. })
                if said.contains(PROTECTED) =>
            {
                true
            }
            Err(error) => return Err(error),
        };
        let digest = blake3::hash(&head).to_hex().to_string();
        Ok((Self { length, serial, head: digest, is_protected }, head))
    }
}

impl OpenLun {
    /// Its length, and its first MiB, or all of a shorter one.
    pub(crate) fn head(&self, lun: &Lun) -> Result<(u64, Vec<u8>), LunError> {
        let failed = |source| LunError::Open { lun: Box::new(lun.clone()), source };
        let mut blocks = self.daemon.open().map_err(failed)?;
        let length = usize::try_from(blocks.size()).map_or(HEAD, |size| size.min(HEAD));
        let mut head = vec![0; length];
        blocks
            .read(0, &mut head)
            .map_err(|source| LunError::Blocks { lun: Box::new(lun.clone()), source })?;
        Ok((blocks.size(), head))
    }
}

/// What the target calls the LUN.
///
/// # Errors
/// [`LunError::Silent`], after half a minute.
pub(crate) fn serial(lun: &Lun, access: &LunAccess) -> Result<String, LunError> {
    let mut ask = Command::new("iscsi-inq");
    ask.args(["-i", access.initiator().as_str(), "-e", "1", "-c", SERIAL_PAGE]).arg(lun.bare());
    if let Some((user_is, secret_is, user, secret)) = access.environment(lun)? {
        ask.env(user_is, user).env(secret_is, secret);
    }
    ask.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = ask.spawn().map_err(LunError::Start)?;
    // Nobody reads meanwhile: what it says fits into a pipe, or it is ended.
    let ended = program::ended_within(&mut child, PATIENCE);
    if !matches!(ended, Ok(Some(_))) {
        program::kill(&mut child);
        ended.map_err(LunError::Start)?;
        return Err(LunError::Silent { lun: Box::new(lun.clone()), patience: PATIENCE });
    }
    let said = words(child.stdout.take());
    serial_in(&said).ok_or_else(|| {
        let words = format!("{}{said}", words(child.stderr.take()));
        let said = words.trim().chars().take(512).collect();
        LunError::NoSerial { lun: Box::new(lun.clone()), said }
    })
}

/// What is in a pipe whose writer has ended.
fn words(pipe: Option<impl Read>) -> String {
    let mut said = Vec::new();
    if let Some(pipe) = pipe {
        // What can't be read was not said.
        let _ = pipe.take(MOST_WORDS).read_to_end(&mut said);
    }
    String::from_utf8_lossy(&said).into_owned()
}

/// `Unit Serial Number:[   beaf12]`. A target pads it with spaces; one of spaces alone says nothing.
pub(super) fn serial_in(said: &str) -> Option<String> {
    let (_, rest) = said.split_once("Unit Serial Number:[")?;
    let (serial, _) = rest.rsplit_once(']')?;
    let serial = serial.trim();
    let is_text = serial.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    (is_text && (1..=252).contains(&serial.len())).then(|| serial.to_owned())
}
