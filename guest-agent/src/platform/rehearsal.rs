//! A Windows machine in a rehearsal: what the agent would have done to it is written into a file
//! below the rehearsal's root, and nothing else is touched.
//!
//! An ordinary implementation of [`Machine`], used by the agent's `--root` and by its tests. A
//! password is kept as a hash, so that a test can check the one that the operator reads; never as a
//! text. A reboot is counted: who rehearses starts the agent again, as a boot would, and the name
//! that waited is in use then.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use mezame_model::{SecretString, Winrm};
use serde::{Deserialize, Serialize};

use super::{
    Change, PlatformError, Result,
    machine::{Machine, check_group, check_name},
};
use crate::{
    facts::System, firewall::Opening, licence::Licence, outbox::write_synced, password,
    step::Account, thumbprint::Thumbprint, winrm::Names,
};

/// The file, below the root.
pub const FILE: &str = "rehearsal.json";

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// Groups by user.
    pub users: BTreeMap<String, BTreeSet<String>>,
    /// Who are administrators.
    pub administrators: BTreeSet<String>,
    /// Hashes for crypt(3) by user.
    pub passwords: BTreeMap<String, String>,
    /// Users that must choose a new password.
    pub expired: BTreeSet<String>,
    /// Users whose accounts are shut.
    pub stopped: BTreeSet<String>,
    /// Users whose passwords nobody knows any more.
    pub locked: BTreeSet<String>,
    /// Groups that were asked for by name, with their members.
    pub groups: BTreeMap<String, BTreeSet<String>>,
    /// How often the SSH server was to read its settings anew.
    pub ssh_restarts: u32,
    /// Where services are reached through the firewall, by port.
    pub openings: BTreeMap<String, u16>,
    /// How often Remote Desktop was to begin anew.
    pub desktop_restarts: u32,
    /// What WinRM is, and what its certificate is for, where it listens. None is made.
    pub winrm: Option<(Winrm, Names)>,
    /// The computer's name.
    pub name: String,
    /// The name after the next boot.
    pub next_name: Option<String>,
    /// Why it was rebooted, each time.
    pub reboots: Vec<String>,
    /// The activation host, if it was activated.
    pub activated: Option<String>,
}

/// A machine that is only written about.
#[derive(Debug)]
pub struct Rehearsal {
    root: PathBuf,
}

impl Rehearsal {
    /// In this directory.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// What was done so far.
    pub fn record(&self) -> Result<Record> {
        let path = self.root.join(FILE);
        let file = |source| PlatformError::File { path: path.clone(), source };
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| file(error.into())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Record {
                users: [(System::Windows.superuser().to_owned(), BTreeSet::new())].into(),
                administrators: [System::Windows.superuser().to_owned()].into(),
                ..Record::default()
            }),
            Err(error) => Err(file(error)),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Record) -> Result<()>) -> Result<Change> {
        let before = self.record()?;
        let mut record = before.clone();
        change(&mut record)?;
        if record == before {
            return Ok(Change::Same);
        }
        let path = self.root.join(FILE);
        let json = serde_json::to_vec_pretty(&record).unwrap_or_default();
        write_synced(&path, &json).map_err(|source| PlatformError::File { path, source })?;
        Ok(Change::Changed)
    }
}

/// The name of a user as the record has it.
fn known(record: &Record, user: &str) -> Result<String> {
    spelled(&record.users, user).ok_or_else(|| PlatformError::NoSuchUser { name: user.to_owned() })
}

/// Whether a name is the built-in administrator's.
fn is_built_in(name: &str) -> bool {
    name.eq_ignore_ascii_case(System::Windows.superuser())
}

/// A name as it stands there, in whatever case.
fn spelled<T>(names: &BTreeMap<String, T>, name: &str) -> Option<String> {
    names.keys().find(|known| known.eq_ignore_ascii_case(name)).cloned()
}

impl Machine for Rehearsal {
    fn ensure_account(&self, account: &Account) -> Result<Change> {
        check_name(&account.name)?;
        self.change(|record| {
            let name = known(record, &account.name).unwrap_or_else(|_| account.name.clone());
            let groups = record.users.entry(name).or_default();
            groups.extend(account.groups.iter().chain(&account.primary_group).cloned());
            Ok(())
        })
    }

    fn set_administrator(&self, user: &str, is_one: bool) -> Result<Change> {
        self.change(|record| {
            match known(record, user) {
                Ok(name) if is_one => {
                    record.administrators.insert(name);
                }
                Ok(name) if is_built_in(&name) => {}
                Ok(name) => {
                    record.administrators.remove(&name);
                }
                Err(error) if is_one => return Err(error),
                Err(_) => {}
            }
            Ok(())
        })
    }

    fn is_administrator(&self, user: &str) -> Result<bool> {
        let record = self.record()?;
        Ok(record.administrators.contains(&known(&record, user)?))
    }

    fn has_account(&self, user: &str) -> Result<bool> {
        Ok(known(&self.record()?, user).is_ok())
    }

    fn stop_account(&self, user: &str) -> Result<Change> {
        if is_built_in(user) {
            let why = format!("{user} is the built-in administrator, who is never shut out");
            return Err(PlatformError::Invalid { what: "user", why });
        }
        self.change(|record| {
            record.stopped.extend(known(record, user));
            Ok(())
        })
    }

    fn start_account(&self, user: &str) -> Result<Change> {
        self.change(|record| {
            record.stopped.retain(|known| !known.eq_ignore_ascii_case(user));
            Ok(())
        })
    }

    fn ensure_group(&self, name: &str, members: &[String]) -> Result<Change> {
        check_group(name)?;
        self.change(|record| {
            let there: Vec<String> =
                members.iter().filter_map(|member| known(record, member).ok()).collect();
            let name = spelled(&record.groups, name).unwrap_or_else(|| name.to_owned());
            record.groups.entry(name).or_default().extend(there);
            Ok(())
        })
    }

    fn lock_password(&self, user: &str) -> Result<()> {
        self.change(|record| {
            if let Ok(name) = known(record, user) {
                record.passwords.remove(&name);
                record.locked.insert(name);
            }
            Ok(())
        })
        .map(drop)
    }

    fn ssh_server_runs(&self) -> Result<bool> {
        Ok(true)
    }

    fn restart_ssh_server(&self) -> Result<()> {
        self.change(|record| {
            record.ssh_restarts += 1;
            Ok(())
        })
        .map(drop)
    }

    fn set_password(&self, user: &str, text: &SecretString) -> Result<()> {
        let hash = password::hash(text.expose())
            .map_err(|error| PlatformError::Invalid { what: "password", why: error.to_string() })?;
        self.change(|record| {
            let name = known(record, user)?;
            record.expired.remove(&name);
            record.locked.remove(&name);
            record.passwords.insert(name, hash.expose().to_owned());
            Ok(())
        })
        .map(drop)
    }

    fn expire_password(&self, user: &str) -> Result<Change> {
        self.change(|record| {
            record.expired.insert(known(record, user)?);
            Ok(())
        })
    }

    fn profile(&self, user: &str) -> Result<PathBuf> {
        let name = known(&self.record()?, user)?;
        let path = self.root.join("Users").join(name);
        match fs::create_dir_all(&path) {
            Ok(()) => Ok(path),
            Err(source) => Err(PlatformError::File { path, source }),
        }
    }

    fn set_name(&self, name: &str) -> Result<Change> {
        self.change(|record| {
            let known = record.next_name.as_ref().unwrap_or(&record.name);
            if known != name {
                record.next_name = Some(name.to_owned());
            }
            Ok(())
        })
    }

    fn name_awaiting_reboot(&self) -> Option<String> {
        self.record().ok()?.next_name
    }

    fn reboot(&self, why: &str) -> Result<()> {
        self.change(|record| {
            record.reboots.push(why.to_owned());
            if let Some(name) = record.next_name.take() {
                record.name = name;
            }
            Ok(())
        })
        .map(drop)
    }

    fn set_opening(&self, opening: &Opening) -> Result<Change> {
        self.change(|record| {
            let service = format!("{:?}", opening.service);
            match opening.port {
                Some(port) => record.openings.insert(service, port.get()),
                None => record.openings.remove(&service),
            };
            Ok(())
        })
    }

    fn restart_remote_desktop(&self) -> Result<()> {
        self.change(|record| {
            record.desktop_restarts += 1;
            Ok(())
        })
        .map(drop)
    }

    fn set_winrm(&self, wanted: &Winrm, names: &Names) -> Result<(Change, Option<Thumbprint>)> {
        let change = self.change(|record| {
            record.winrm = wanted.https.then(|| (*wanted, names.clone()));
            Ok(())
        });
        Ok((change?, None))
    }

    fn activate(&self, licence: &Licence) -> Result<Change> {
        self.change(|record| {
            record.activated = Some(licence.host.clone().unwrap_or_default());
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rehearsal_keeps_the_contract_of_machines() {
        let directory = tempfile::tempdir().unwrap();
        super::super::machine::contract(&Rehearsal::new(directory.path()));
    }

    #[test]
    fn a_reboot_brings_the_name_that_waited_and_a_password_is_kept_as_its_hash() {
        let directory = tempfile::tempdir().unwrap();
        let rehearsal = Rehearsal::new(directory.path());
        rehearsal.set_name("web").unwrap();
        rehearsal.reboot("a name").unwrap();
        rehearsal.set_password("Administrator", &SecretString::new("hunter2".into())).unwrap();
        let record = rehearsal.record().unwrap();
        assert_eq!((record.name.as_str(), record.next_name), ("web", None));
        assert_eq!(record.reboots, ["a name"]);
        assert!(record.passwords["Administrator"].starts_with("$6$"));
        let text = fs::read_to_string(directory.path().join(FILE)).unwrap();
        assert!(!text.contains("hunter2"), "{text}");
        // The same name once more is no change.
        assert_eq!(rehearsal.set_name("web").unwrap(), Change::Same);
    }
}
