//! Shutting an account and opening it again, by shadow(5), and by ending what runs as its user.
//!
//! ```text
//!   name:HASH:…:…:…:…:…::      open
//!   name:!HASH:…:…:…:…:…:1:    shut: no password fits, and the account has expired (1970-01-02)
//! ```
//! The mark before the hash is the one that passwd(1) makes with `-l`: the hash is still there when
//! it is taken off. A locked password alone would still let keys in; an account that has expired
//! lets nothing in that asks PAM, or that reads shadow itself, as OpenSSH does without PAM. 1, and
//! not 0, is what shadow(5) advises.

use super::{
    Linux,
    accounts::{self, Lock, PASSWD, SHADOW},
    sessions,
    tree::{Access, Tree},
};
use crate::{
    account,
    platform::{Change, PlatformError, Result},
};

/// Fields of shadow(5), from 0.
const HASH: usize = 1;
const EXPIRES: usize = 7;
/// A day that has passed.
const PASSED: &str = "1";

pub(super) fn stop(linux: &Linux, user: &str) -> Result<Change> {
    let entry = match accounts::find(&linux.tree, user) {
        // Nobody to keep out.
        Err(PlatformError::NoSuchUser { .. }) => return Ok(Change::Same),
        other => other?,
    };
    if entry.uid == 0 {
        let why = format!("{user} is root, who is never shut out");
        return Err(PlatformError::Invalid { what: "user", why });
    }
    let change = edit(&linux.tree, user, |shadow| {
        if account::field(shadow, user, EXPIRES) == Some(PASSED) {
            return shadow.to_owned();
        }
        account::set_field(&marked(shadow, user), user, EXPIRES, PASSED)
    })?;
    // A rehearsal's users may be others of the system that it runs on.
    if !linux.live {
        return Ok(change);
    }
    Ok(change.and(sessions::end(entry.uid)?))
}

pub(super) fn start(linux: &Linux, user: &str) -> Result<Change> {
    edit(&linux.tree, user, |shadow| {
        if account::field(shadow, user, EXPIRES) != Some(PASSED) {
            return shadow.to_owned();
        }
        let hash = account::field(shadow, user, HASH).unwrap_or_default();
        let hash = hash.strip_prefix('!').unwrap_or(hash).to_owned();
        let open = account::set_field(shadow, user, HASH, &hash);
        account::set_field(&open, user, EXPIRES, "")
    })
}

pub(super) fn lock_password(linux: &Linux, user: &str) -> Result<Change> {
    edit(&linux.tree, user, |shadow| {
        let is_locked =
            account::field(shadow, user, HASH).is_some_and(|hash| hash.starts_with('!'));
        if is_locked { shadow.to_owned() } else { marked(shadow, user) }
    })
}

/// With a mark before the hash.
fn marked(shadow: &str, user: &str) -> String {
    let hash = account::field(shadow, user, HASH).unwrap_or_default();
    let locked = format!("!{hash}");
    account::set_field(shadow, user, HASH, &locked)
}

fn edit(tree: &Tree, user: &str, change: impl FnOnce(&str) -> String) -> Result<Change> {
    let _lock = Lock::take(tree)?;
    let shadow = tree.text(SHADOW)?;
    if account::field(&shadow, user, EXPIRES).is_none() {
        if account::find_user(&tree.text(PASSWD)?, user).is_none() {
            return Ok(Change::Same);
        }
        let why = format!("{user} has no whole line in {SHADOW}");
        return Err(PlatformError::Invalid { what: "account", why });
    }
    tree.edit_durably(SHADOW, change(&shadow).as_bytes(), Access::root(0o600))
}
