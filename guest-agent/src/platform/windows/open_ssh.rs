//! OpenSSH for Windows: whose keys may log in, and the host's own keys (Microsoft, "Key-based
//! authentication in OpenSSH for Windows").
//!
//! Of administrators sshd reads one file for all, `administrators_authorized_keys`, and only where
//! its access list names the system and administrators alone: each user has a block of their own in
//! it. Of others it reads `.ssh\authorized_keys` in their profile. A key in the one for all lets
//! its owner log in as any administrator: that is sshd's rule, and not ours.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    access,
    files::{self, Readers},
    own_key::{self, BOOT},
    registry::Registry,
};
use crate::{
    authorized_keys::{self, Block},
    platform::{
        Change, PlatformError, Result,
        machine::Machine,
        restart::{self, Due, Restart},
    },
    sddl::Kind,
    sshd_config,
};

const MAX_KEYS_FILE: usize = 1 << 20;

/// How far the restart of sshd has come that is due.
const DUE: &str = "RestartSshServer";

/// The directory of sshd's own files, below a root.
pub(super) fn directory(root: &Path) -> PathBuf {
    root.join(r"ProgramData\ssh")
}

/// Where sshd's files are, and how far they are true.
pub(super) struct Place<'a> {
    /// Below this.
    pub(super) root: &'a Path,
    /// The running system, whose files have owners.
    pub(super) live: bool,
    /// Knows who is an administrator.
    pub(super) machine: &'a dyn Machine,
    /// Keeps what is due.
    pub(super) registry: &'a Registry,
}

impl Place<'_> {
    /// Makes sshd's directory, for the system and administrators alone, or refuses one that a user
    /// has made: each may make one below ProgramData, where OpenSSH is not installed yet.
    fn prepare(&self) -> Result<()> {
        let path = directory(self.root);
        let failed = |source| PlatformError::File { path: path.clone(), source };
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        match fs::create_dir(&path) {
            Ok(()) => access::make_private(&path).map_err(failed),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if self.live {
                    access::check_ours_at(&path, Kind::Directory)
                } else {
                    Ok(())
                }
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Makes a user's block hold exactly these keys, in the file that sshd reads for that user, and
    /// no keys in the other one.
    pub(super) fn authorize(
        &self,
        sid: Option<&str>,
        user: &str,
        keys: &[String],
    ) -> Result<Change> {
        let is_administrator = match self.machine.is_administrator(user) {
            // An administrator that is gone had the keys in the file for all.
            Err(PlatformError::NoSuchUser { .. }) if keys.is_empty() => true,
            other => other?,
        };
        if is_administrator {
            return self.share(user, keys);
        }
        let change = self.share(user, &[])?;
        let own = self.machine.profile(user)?.join(r".ssh\authorized_keys");
        let readers = sid.map_or(Readers::AsAbove, Readers::User);
        Ok(change.and(edit(&own, &Block::own(), keys, readers)?))
    }

    /// Edits the file for all administrators. What a user has put there would be believed once the
    /// file has the access list that sshd wants: so it is none that a user has made.
    fn share(&self, user: &str, keys: &[String]) -> Result<Change> {
        let shared = directory(self.root).join("administrators_authorized_keys");
        if !keys.is_empty() {
            self.prepare()?;
        }
        if self.live {
            access::check_ours_at(&shared, Kind::File)?;
        }
        edit(&shared, &Block::of_user(user), keys, Readers::Nobody)
    }

    /// Says whether sshd takes passwords, and has it read that.
    pub(super) fn set_passwords(&self, on: bool) -> Result<Change> {
        let path = directory(self.root).join("sshd_config");
        if self.live {
            access::check_ours_at(&path, Kind::File)?;
        }
        let change = files::change(&path, Readers::AsAbove, |text| match text {
            Some(text) => {
                let wanted = sshd_config::with_passwords(text, on);
                if wanted != text {
                    restart::announce(self)?;
                }
                Ok(Some(wanted))
            }
            None => Err(PlatformError::Unsupported {
                what: "there is no OpenSSH server in this image, or it was never started",
            }),
        })?;
        Ok(change.and(restart::complete(self)?))
    }
}

/// The note is in the key that no shutdown outlives.
impl Restart for Place<'_> {
    fn due(&self) -> Result<Option<Due>> {
        let Some(boot) = self.registry.open(BOOT).map_err(noted)? else { return Ok(None) };
        Ok(match boot.number(DUE).map_err(noted)? {
            Some(1) => Some(Due::Written),
            Some(2) => Some(Due::Begun),
            _ => None,
        })
    }

    fn note(&self, due: Option<Due>) -> Result<()> {
        let boot = own_key::of_boot(self.registry).map_err(noted)?;
        match due {
            Some(Due::Written) => boot.set_number(DUE, 1),
            Some(Due::Begun) => boot.set_number(DUE, 2),
            None => boot.delete_value(DUE),
        }
        .map_err(noted)
    }

    fn runs(&self) -> Result<bool> {
        self.machine.ssh_server_runs()
    }

    fn restart(&self) -> Result<()> {
        self.machine.restart_ssh_server()
    }
}

fn noted(source: io::Error) -> PlatformError {
    PlatformError::File { path: format!(r"HKEY_LOCAL_MACHINE\{BOOT}").into(), source }
}

fn edit(path: &Path, block: &Block, keys: &[String], readers: Readers<'_>) -> Result<Change> {
    files::change(path, readers, |text| {
        if text.is_none() && keys.is_empty() {
            return Ok(None);
        }
        let text = text.unwrap_or_default();
        if text.len() > MAX_KEYS_FILE {
            return Err(PlatformError::TooLong { path: path.into() });
        }
        Ok(Some(block.edit(text, keys).unwrap_or_else(|| text.to_vec())))
    })
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
