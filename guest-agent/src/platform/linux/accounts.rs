//! Accounts, by editing the files of passwd(5), group(5), shadow(5) and sudoers(5).
//!
//! Not by useradd: it is missing from small images, and starting it a few times costs more than
//! all the rest of a configuration. The lock is the one that the distribution's tools take
//! (lckpwdf(3): a lock on /etc/.pwd.lock), so they and we never write at once.

mod home;
mod subordinate;

use std::{
    os::fd::AsRawFd,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use mezame_model::SecretString;
use nix::fcntl::{FcntlArg, OFlag, fcntl, openat};

use super::{
    Linux,
    tree::{self, Access, Tree},
};
use crate::{
    account::{self, Entry},
    platform::{Change, PlatformError, Result},
    step::Account,
};

pub(super) const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
pub(super) const SHADOW: &str = "/etc/shadow";
const GSHADOW: &str = "/etc/gshadow";
/// The lowest number of accounts that are not the system's (login.defs(5), UID_MIN).
const FIRST_ORDINARY: u32 = 1000;
const SUBORDINATE: [&str; 2] = ["/etc/subuid", "/etc/subgid"];

/// Held while the files are read and written.
pub(super) struct Lock(#[allow(dead_code, reason = "held for its drop")] std::os::fd::OwnedFd);

impl Lock {
    /// Waits up to 15 seconds, as lckpwdf(3) does.
    pub(super) fn take(tree: &Tree) -> Result<Self> {
        let error = |errno| tree::file_error("/etc/.pwd.lock".as_ref(), errno);
        let etc = tree.directory("/etc".as_ref(), Some(Access::root(0o755)))?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
        let fd = openat(&etc, ".pwd.lock", flags, mode).map_err(error)?;
        let wanted = libc::flock {
            l_type: libc::F_WRLCK as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: 0,
            l_len: 0,
            l_pid: 0,
        };
        for _ in 0..300 {
            match fcntl(&fd, FcntlArg::F_SETLK(&wanted)) {
                Ok(_) => return Ok(Self(fd)),
                Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EACCES) => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(errno) => return Err(error(errno)),
            }
        }
        debug_assert!(fd.as_raw_fd() >= 0);
        Err(PlatformError::AccountsLocked)
    }
}

pub(super) fn find(tree: &Tree, name: &str) -> Result<Entry> {
    account::find_user(&tree.text(PASSWD)?, name)
        .ok_or_else(|| PlatformError::NoSuchUser { name: name.to_owned() })
}

pub(super) fn ensure(linux: &Linux, wanted: &Account) -> Result<Change> {
    let groups = wanted.groups.iter().chain(&wanted.primary_group);
    check_names(std::iter::once(&wanted.name).chain(groups).map(String::as_str))?;
    let tree = &linux.tree;
    let lock = Lock::take(tree)?;
    let mut files = Files::read(tree)?;
    let known = account::find_user(&files.passwd, &wanted.name);
    // That an account of the image's own daemons has no home is the image's affair; that another's
    // is missing may be a crash's.
    let has_home = known.as_ref().is_none_or(|entry| entry.uid >= FIRST_ORDINARY);
    let entry = match known {
        Some(entry) => files.complete(entry, wanted),
        None => files.create(linux, wanted)?,
    };
    for group in &wanted.groups {
        files.join(group, &wanted.name, wanted.system)?;
    }
    let change = files.write(tree)?;
    drop(lock);
    if !wanted.make_home || !has_home {
        return Ok(change);
    }
    Ok(change.and(home::make(tree, &entry)?))
}

/// Makes a group, and takes those of its members in who are there.
pub(super) fn ensure_group(linux: &Linux, name: &str, members: &[String]) -> Result<Change> {
    check_names(std::iter::once(name).chain(members.iter().map(String::as_str)))?;
    let tree = &linux.tree;
    let _lock = Lock::take(tree)?;
    let mut files = Files::read(tree)?;
    files.group_of(name, false)?;
    for member in members {
        if account::find_user(&files.passwd, member).is_some() {
            files.join(name, member, false)?;
        }
    }
    files.write(tree)
}

fn check_names<'a>(mut names: impl Iterator<Item = &'a str>) -> Result<()> {
    match names.find(|name| !account::is_account_name(name)) {
        None => Ok(()),
        Some(name) => {
            let why = format!("{name:?} is not {}", account::NAME_RULE);
            Err(PlatformError::Invalid { what: "name", why })
        }
    }
}

struct Files {
    passwd: String,
    group: String,
    shadow: String,
    gshadow: Option<String>,
    /// The numbers for users' containers, where the image has these files.
    subordinate: Vec<(&'static str, String)>,
}

impl Files {
    fn read(tree: &Tree) -> Result<Self> {
        let gshadow = if tree.exists(GSHADOW) { Some(tree.text(GSHADOW)?) } else { None };
        let there = SUBORDINATE.into_iter().filter(|path| tree.exists(path));
        Ok(Self {
            passwd: tree.text(PASSWD)?,
            group: tree.text(GROUP)?,
            shadow: tree.text(SHADOW)?,
            gshadow,
            subordinate: there.map(|path| Ok((path, tree.text(path)?))).collect::<Result<_>>()?,
        })
    }

    /// Groups and shadow first: a line in passwd is what makes a user, and it must find the rest.
    fn write(&self, tree: &Tree) -> Result<Change> {
        let mut change = tree.edit_durably(GROUP, self.group.as_bytes(), Access::root(0o644))?;
        for (path, text) in &self.subordinate {
            change = change.and(tree.edit(path, text.as_bytes(), Access::root(0o644))?);
        }
        if let Some(gshadow) = &self.gshadow {
            change =
                change.and(tree.edit_durably(GSHADOW, gshadow.as_bytes(), Access::root(0o600))?);
        }
        change =
            change.and(tree.edit_durably(SHADOW, self.shadow.as_bytes(), Access::root(0o600))?);
        Ok(change.and(tree.edit_durably(PASSWD, self.passwd.as_bytes(), Access::root(0o644))?))
    }

    fn complete(&mut self, entry: Entry, wanted: &Account) -> Entry {
        let mut entry = entry;
        if let Some(shell) = wanted.shell.as_ref().filter(|shell| **shell != entry.shell) {
            self.passwd = account::set_field(&self.passwd, &entry.name, 6, shell);
            entry.shell.clone_from(shell);
        }
        if account::field(&self.shadow, &entry.name, 1).is_none()
            && account::field(&self.passwd, &entry.name, 1) == Some("x")
        {
            self.shadow = account::set_password(&self.shadow, &entry.name, "!", today());
        }
        entry
    }

    fn create(&mut self, linux: &Linux, wanted: &Account) -> Result<Entry> {
        let name = &wanted.name;
        let free = || {
            account::free_id(&self.passwd, &self.group, wanted.system)
                .ok_or(PlatformError::NoFreeId)
        };
        let uid = match wanted.uid {
            Some(uid) => {
                if self.has_uid(uid) {
                    let why = format!("the number {uid} is another user's");
                    return Err(PlatformError::Invalid { what: "uid", why });
                }
                uid
            }
            // A group of the user's name is there already, perhaps from an attempt that was cut
            // off before the user was added: its number is the user's.
            None => match account::find_group(&self.group, name) {
                Some(gid) if gid > 0 && !self.has_uid(gid) => gid,
                _ => free()?,
            },
        };
        let group = wanted.primary_group.as_deref().unwrap_or(name);
        let gid = match account::find_group(&self.group, group) {
            Some(gid) => gid,
            None => {
                let text = uid.to_string();
                let taken = self.group.lines().any(|line| line.split(':').nth(2) == Some(&text));
                let gid = if taken { free()? } else { uid };
                self.add_group(group, gid);
                gid
            }
        };
        let shell = wanted.shell.clone().unwrap_or_else(|| default_shell(linux));
        let entry = Entry {
            name: name.clone(),
            uid,
            gid,
            gecos: wanted.gecos.clone().unwrap_or_default(),
            home: wanted.home.clone().unwrap_or_else(|| format!("/home/{name}")),
            shell,
        };
        self.passwd = account::add_user(&self.passwd, &entry);
        if account::field(&self.shadow, name, 1).is_none() {
            // "!" locks the password; keys still open the account. A system account's does not age.
            self.shadow = account::set_password(&self.shadow, name, "!", today());
            for field in [3, 4, 5].into_iter().filter(|_| wanted.system) {
                self.shadow = account::set_field(&self.shadow, name, field, "");
            }
        }
        if !wanted.system && (FIRST_ORDINARY..60_000).contains(&uid) {
            for (_, text) in &mut self.subordinate {
                *text = subordinate::with(text, name).unwrap_or_else(|| std::mem::take(text));
            }
        }
        Ok(entry)
    }

    fn has_uid(&self, uid: u32) -> bool {
        let text = uid.to_string();
        self.passwd.lines().any(|line| line.split(':').nth(2) == Some(&text))
    }

    /// Makes a group, if there is none of that name.
    fn group_of(&mut self, group: &str, system: bool) -> Result<()> {
        if account::find_group(&self.group, group).is_none() {
            let gid = account::free_id(&self.passwd, &self.group, system)
                .ok_or(PlatformError::NoFreeId)?;
            self.add_group(group, gid);
        }
        Ok(())
    }

    fn join(&mut self, group: &str, user: &str, system: bool) -> Result<()> {
        self.group_of(group, system)?;
        self.group = account::add_member(&self.group, group, user);
        if let Some(gshadow) = &self.gshadow {
            self.gshadow = Some(account::add_member(gshadow, group, user));
        }
        Ok(())
    }

    fn add_group(&mut self, group: &str, gid: u32) {
        self.group = account::add_group(&self.group, group, gid);
        if let Some(gshadow) = &mut self.gshadow
            && account::field(gshadow, group, 1).is_none()
        {
            gshadow.push_str(&format!("{group}:!::\n"));
        }
    }
}

fn default_shell(linux: &Linux) -> String {
    let from_useradd = linux.tree.text("/etc/default/useradd").ok().and_then(|text| {
        text.lines().find_map(|line| line.strip_prefix("SHELL=").map(str::to_owned))
    });
    [from_useradd.as_deref(), Some("/bin/bash"), Some("/bin/sh")]
        .into_iter()
        .flatten()
        .find(|shell| linux.tree.exists(shell))
        .unwrap_or("/bin/sh")
        .to_owned()
}

pub(super) fn set_password(linux: &Linux, user: &str, hash: &SecretString) -> Result<Change> {
    let text = hash.expose();
    if text.contains([':', '\n', '\0']) || text.is_empty() {
        let why = "it can't stand in /etc/shadow".to_owned();
        return Err(PlatformError::Invalid { what: "password hash", why });
    }
    let tree = &linux.tree;
    let _lock = Lock::take(tree)?;
    find(tree, user)?;
    let shadow = tree.text(SHADOW)?;
    if account::field(&shadow, user, 1) == Some(text) {
        return Ok(Change::Same);
    }
    let shadow = account::set_password(&shadow, user, text, today());
    let change = tree.edit_durably(SHADOW, shadow.as_bytes(), Access::root(0o600))?;
    let passwd = tree.text(PASSWD)?;
    if account::field(&passwd, user, 1) == Some("x") {
        return Ok(change);
    }
    // An image that had no shadow file kept the password in passwd.
    let passwd = account::set_field(&passwd, user, 1, "x");
    Ok(change.and(tree.edit_durably(PASSWD, passwd.as_bytes(), Access::root(0o644))?))
}

pub(super) fn expire_password(linux: &Linux, user: &str) -> Result<Change> {
    let tree = &linux.tree;
    let _lock = Lock::take(tree)?;
    find(tree, user)?;
    let shadow = account::set_field(&tree.text(SHADOW)?, user, 2, "0");
    tree.edit_durably(SHADOW, shadow.as_bytes(), Access::root(0o600))
}

/// Days since 1970-01-01; 1 where the clock was never set, since 0 has a meaning of its own.
fn today() -> u64 {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    (seconds / 86_400).max(1)
}
