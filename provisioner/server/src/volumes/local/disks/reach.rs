//! How the disks of a pool are reached: paths of devices; or LUNs, with this host's initiator name and
//! the secret of the target.
//!
//! The secret is read from its file for each piece of work and forgotten with it; it is in no error
//! and no log.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use mezame_images::{
    carrier::{Carrier, Owner},
    iscsi::{ChapSecret, ChapUser, InitiatorName, LunAccess},
};
use zeroize::Zeroizing;

use super::{ExecutorError, Local, Reason};
use crate::settings::pools::{ChapSettings, IscsiSettings, PoolSettings};

/// Where open-iscsi keeps the name of its host.
const OPEN_ISCSI: &str = "/etc/iscsi/initiatorname.iscsi";
const MACHINE_ID: &str = "/etc/machine-id";
/// A secret's file is no longer, in bytes.
const LONGEST: u64 = 4096;

impl Local {
    /// Whose the disks of a pool are.
    pub(super) fn owner(&self, pool: &str) -> Result<Owner, ExecutorError> {
        Ok(Owner { site: self.masters_id()?, pool: pool.into() })
    }

    /// The disks of a pool, in the order of the settings; none of a directory.
    pub(super) fn carriers(&self, pool: &str) -> Result<Vec<Carrier>, ExecutorError> {
        match self.settings.pools.get(pool) {
            Some(PoolSettings::Devices(paths)) => {
                Ok(paths.iter().map(|path| Carrier::device(path)).collect())
            }
            Some(PoolSettings::Luns(luns)) => {
                let access = access(luns, &self.run)?;
                let of =
                    |lun: &mezame_images::iscsi::Lun| Carrier::lun(lun.clone(), access.clone());
                Ok(luns.luns.iter().map(of).collect())
            }
            Some(PoolSettings::Directory(_)) => Ok(Vec::new()),
            None => Err(ExecutorError::new(Reason::NoPool, format!("no pool is called '{pool}'"))),
        }
    }
}

fn access(settings: &IscsiSettings, run: &Path) -> Result<LunAccess, ExecutorError> {
    let initiator = match &settings.initiator {
        Some(name) => name.clone(),
        None => initiator_of_host()?,
    };
    let access = LunAccess::new(initiator, run);
    let Some(chap) = &settings.chap else { return Ok(access) };
    let user = ChapUser::parse(&chap.user).map_err(|error| away(error.to_string()))?;
    Ok(access.with(settings.target.clone(), user, secret(chap)?))
}

/// This host's name: open-iscsi's, else one of its machine-id.
fn initiator_of_host() -> Result<InitiatorName, ExecutorError> {
    if let Ok(text) = fs::read_to_string(OPEN_ISCSI)
        && let Ok(Some(name)) = InitiatorName::in_file(&text)
    {
        return Ok(name);
    }
    let id = fs::read_to_string(MACHINE_ID);
    let id = id.map_err(|error| away(format!("{MACHINE_ID}: {error}; set 'iscsi.initiator'")))?;
    Ok(InitiatorName::of_machine(id.trim()))
}

fn secret(chap: &ChapSettings) -> Result<ChapSecret, ExecutorError> {
    let path = &chap.secret_file;
    let failed = |why: &dyn std::fmt::Display| away(format!("{}: {why}", path.display()));
    let about = fs::metadata(path).map_err(|error| failed(&error))?;
    if about.mode() & 0o077 != 0 {
        let mode = about.mode() & 0o7777;
        return Err(failed(&format!(
            "its mode is {mode:04o}, and others may not read it: chmod 600"
        )));
    }
    if !about.is_file() || about.len() > LONGEST {
        return Err(failed(&"it is no file of a secret"));
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(|error| failed(&error))?);
    let secret = Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned());
    ChapSecret::parse(secret).map_err(|error| failed(&error))
}

fn away(message: String) -> ExecutorError {
    ExecutorError::new(Reason::NoPool, message)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::PermissionsExt, path::PathBuf};

    use super::*;

    #[test]
    fn a_secret_that_others_may_read_or_that_is_none_is_refused_and_never_told() {
        let folder = tempfile::tempdir().unwrap();
        let path: PathBuf = folder.path().join("chap");
        let chap = ChapSettings { user: "mezame".into(), secret_file: path.clone() };
        let why = |chap: &ChapSettings| secret(chap).err().map(|error| error.message).unwrap();
        assert!(why(&chap).contains("No such file"));
        fs::write(&path, "a-secret-of-ours\n").unwrap();
        let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        mode(0o640);
        assert!(why(&chap).contains("0640") && why(&chap).contains("chmod 600"));
        mode(0o600);
        assert_eq!(secret(&chap).unwrap().expose(), "a-secret-of-ours");
        fs::write(&path, "too-short").unwrap();
        assert!(!why(&chap).contains("too-short"));
    }
}
