//! Accounts, by editing the files of passwd(5), group(5), shadow(5) and sudoers(5).
//!
//! Not by useradd: it is missing from small images, and starting it a few times costs more than
//! all the rest of a configuration. The lock is the one that the distribution's tools take
//! (lckpwdf(3): a lock on /etc/.pwd.lock), so they and we never write at once.

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
    if let Some(name) =
        std::iter::once(&wanted.name).chain(groups).find(|name| !account::is_account_name(name))
    {
        let why = format!("{name:?} is not {}", account::NAME_RULE);
        return Err(PlatformError::Invalid { what: "name", why });
    }
    let tree = &linux.tree;
    let lock = Lock::take(tree)?;
    let mut files = Files::read(tree)?;
    let entry = match account::find_user(&files.passwd, &wanted.name) {
        Some(entry) => files.complete(entry, wanted),
        None => files.create(linux, wanted)?,
    };
    for group in &wanted.groups {
        files.join(group, &wanted.name, wanted.system)?;
    }
    let change = files.write(tree)?;
    drop(lock);
    if !wanted.make_home || wanted.name == "root" {
        return Ok(change);
    }
    Ok(change.and(make_home(tree, &entry)?))
}

struct Files {
    passwd: String,
    group: String,
    shadow: String,
    gshadow: Option<String>,
}

impl Files {
    fn read(tree: &Tree) -> Result<Self> {
        let gshadow = if tree.exists(GSHADOW) { Some(tree.text(GSHADOW)?) } else { None };
        Ok(Self {
            passwd: tree.text(PASSWD)?,
            group: tree.text(GROUP)?,
            shadow: tree.text(SHADOW)?,
            gshadow,
        })
    }

    /// Groups and shadow first: a line in passwd is what makes a user, and it must find the rest.
    fn write(&self, tree: &Tree) -> Result<Change> {
        let mut change = tree.edit_durably(GROUP, self.group.as_bytes(), Access::root(0o644))?;
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
            // "!" locks the password; keys still open the account.
            self.shadow = account::set_password(&self.shadow, name, "!", today());
        }
        Ok(entry)
    }

    fn has_uid(&self, uid: u32) -> bool {
        let text = uid.to_string();
        self.passwd.lines().any(|line| line.split(':').nth(2) == Some(&text))
    }

    fn join(&mut self, group: &str, user: &str, system: bool) -> Result<()> {
        if account::find_group(&self.group, group).is_none() {
            let gid = account::free_id(&self.passwd, &self.group, system)
                .ok_or(PlatformError::NoFreeId)?;
            self.add_group(group, gid);
        }
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

/// Makes the home directory, with what /etc/skel holds on its first level and below.
fn make_home(tree: &Tree, entry: &Entry) -> Result<Change> {
    let home = std::path::Path::new(&entry.home);
    if tree.exists(&entry.home) {
        return Ok(Change::Same);
    }
    if let Some(parent) = home.parent() {
        tree.directory(parent, Some(Access::root(0o755)))?;
    }
    let own = |mode| Access { mode, uid: entry.uid, gid: entry.gid };
    // Filled under another name: a home that exists is a whole one.
    let draft = format!("{}.mezame-new", entry.home);
    tree.directory(draft.as_ref(), Some(own(0o700)))?;
    copy_skeleton(tree, "/etc/skel", &draft, entry, 0)?;
    let directory = tree.directory(home.parent().unwrap_or("/".as_ref()), None)?;
    let name = home.file_name().unwrap_or_default();
    let mut new = name.to_owned();
    new.push(".mezame-new");
    nix::fcntl::renameat(&directory, new.as_os_str(), &directory, name)
        .map_err(|errno| tree::file_error(home, errno))?;
    Ok(Change::Changed)
}

fn copy_skeleton(tree: &Tree, from: &str, to: &str, entry: &Entry, depth: u32) -> Result<()> {
    for name in tree.list(from) {
        let (source, target) = (format!("{from}/{name}"), format!("{to}/{name}"));
        let own = |mode| Access { mode, uid: entry.uid, gid: entry.gid };
        if tree.directory(source.as_ref(), None).is_ok() {
            if depth < 8 {
                tree.directory(target.as_ref(), Some(own(0o700)))?;
                copy_skeleton(tree, &source, &target, entry, depth + 1)?;
            }
        } else if let Some(bytes) = tree.read(&source)? {
            tree.write(&target, &bytes, own(0o644))?;
        }
    }
    Ok(())
}

/// A drop-in for sudo. It is checked before it is in its place: one wrong line there, and nobody
/// becomes root any more.
pub(super) fn set_sudo(linux: &Linux, user: &str, rules: &[String]) -> Result<Change> {
    let tree = &linux.tree;
    // sudo ignores names with a dot; no user has a '%', so no two users share a file.
    let path = format!("/etc/sudoers.d/90-mezame-{}", user.replace('.', "%2e"));
    if rules.is_empty() {
        return tree.remove(&path);
    }
    let mut text = String::from("# Written by guest-agent; changes here are overwritten.\n");
    for rule in rules {
        if let Some(why) = wrong_rule(rule) {
            return Err(PlatformError::Invalid { what: "sudo rule", why: why.to_owned() });
        }
        text.push_str(&format!("{user} {}\n", rule.trim()));
    }
    if tree.read(&path)?.as_deref() == Some(text.as_bytes()) {
        return Ok(Change::Same);
    }
    if let Some(visudo) = linux.tool("visudo").filter(|_| linux.live) {
        super::program::check_with(&visudo, &["-c", "-q", "-f", "-"], text.as_bytes())?;
    }
    tree.directory("/etc/sudoers.d".as_ref(), Some(Access::root(0o750)))?;
    tree.write(&path, text.as_bytes(), Access::root(0o440))
}

/// What is wrong with a rule even before visudo sees it: that it has more than one line, or
/// doesn't have the form `HOSTS=(…) COMMANDS`.
fn wrong_rule(rule: &str) -> Option<&'static str> {
    if rule.contains(['\n', '\r', '\0']) || rule.trim_end().ends_with('\\') {
        return Some("it has more than one line");
    }
    const FORM: &str = "HOSTS=(USERS) COMMANDS is wanted";
    let Some((hosts, commands)) = rule.split_once('=') else { return Some(FORM) };
    let hosts_fine = !hosts.trim().is_empty()
        && hosts.trim().bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ' || byte == b',');
    (!hosts_fine || commands.trim().is_empty()).then_some(FORM)
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
