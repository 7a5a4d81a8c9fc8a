//! OpenSSH for Windows: whose keys may log in, and the host's own keys (Microsoft, "Key-based
//! authentication in OpenSSH for Windows").
//!
//! Of administrators sshd reads one file for all, `administrators_authorized_keys`, and only where
//! its access list names the system and administrators alone: each user has a block of their own in
//! it. Of others it reads `.ssh\authorized_keys` in their profile. A key in the one for all lets its
//! owner log in as any administrator: that is sshd's rule, and not ours.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::files::{self, Readers};
use crate::{
    authorized_keys::{self, Block},
    platform::{Change, PlatformError, Result, machine::Machine},
};

const MAX_KEYS_FILE: usize = 1 << 20;

/// The directory of sshd's own files, below a root.
pub(super) fn directory(root: &Path) -> PathBuf {
    root.join(r"ProgramData\ssh")
}

/// Makes a user's block hold exactly these keys, in the file that sshd reads for that user, and no
/// keys in the other one.
pub(super) fn authorize(
    root: &Path,
    machine: &dyn Machine,
    sid: &dyn Fn(&str) -> Option<String>,
    user: &str,
    keys: &[String],
) -> Result<Change> {
    let shared = directory(root).join("administrators_authorized_keys");
    let block = Block::of_user(user);
    let is_administrator = match machine.is_administrator(user) {
        Err(PlatformError::NoSuchUser { .. }) if keys.is_empty() => {
            // An administrator that is gone had the keys in the file for all.
            return edit(&shared, &block, keys, Readers::Nobody);
        }
        other => other?,
    };
    if is_administrator {
        return edit(&shared, &block, keys, Readers::Nobody);
    }
    let change = edit(&shared, &block, &[], Readers::Nobody)?;
    let own = machine.profile(user)?.join(r".ssh\authorized_keys");
    let sid = sid(user);
    let readers = sid.as_deref().map_or(Readers::AsAbove, Readers::User);
    Ok(change.and(edit(&own, &Block::own(), keys, readers)?))
}

fn edit(path: &Path, block: &Block, keys: &[String], readers: Readers<'_>) -> Result<Change> {
    let text = files::read(path)?;
    if text.is_none() && keys.is_empty() {
        return Ok(Change::Same);
    }
    let text = text.unwrap_or_default();
    if text.len() > MAX_KEYS_FILE {
        return Err(PlatformError::TooLong { path: path.into() });
    }
    let edited = block.edit(&text, keys).unwrap_or(text);
    files::write(path, &edited, readers)
}

/// The host's public keys.
pub(super) fn host_keys(root: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory(root)) else { return Vec::new() };
    let mut names: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    names.sort();
    names
        .iter()
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("ssh_host_") && name.ends_with(".pub")
        })
        .filter_map(|path| files::read(path).ok().flatten())
        .filter_map(|bytes| authorized_keys::host_key(&bytes))
        .take(16)
        .collect()
}
