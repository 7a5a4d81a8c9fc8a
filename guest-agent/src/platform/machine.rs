//! What of a Windows guest only the system itself can keep: accounts and groups, passwords, the
//! computer's name, its licence, its power.
//!
//! Behind a trait of its own, since a rehearsal must not touch any of it, and since Wine, on which
//! the agent is tested, has none of it truly. [`rehearsal`](super::rehearsal) keeps a record
//! instead; both pass the same contract, as far as each can be run.

use std::path::PathBuf;

use mezame_model::SecretString;

use super::{Change, PlatformError, Result};
use crate::{
    account::{self, is_account_name},
    licence::Licence,
    step::Account,
};

/// The longest name of an account (Microsoft, "NetUserAdd": 20 characters).
pub const MAX_NAME: usize = 20;

/// Whether a text can name an account of Windows as well as one of the document's users.
pub fn check_name(name: &str) -> Result<()> {
    if is_account_name(name) && name.len() <= MAX_NAME && !name.ends_with('.') {
        return Ok(());
    }
    let why = format!("{}; on Windows {MAX_NAME} at most and no '.' last", account::NAME_RULE);
    Err(PlatformError::Invalid { what: "user name", why })
}

/// The system itself.
pub trait Machine: std::fmt::Debug {
    /// Makes an account and its groups, or completes them.
    fn ensure_account(&self, account: &Account) -> Result<Change>;
    /// Makes a user an administrator, or one no longer. That somebody who is gone is none any more
    /// is as wanted.
    fn set_administrator(&self, user: &str, is_one: bool) -> Result<Change>;
    /// Whether a user is an administrator.
    fn is_administrator(&self, user: &str) -> Result<bool>;
    /// Sets a password. Whether it was the same before can't be told.
    fn set_password(&self, user: &str, text: &SecretString) -> Result<()>;
    /// Asks for a new password at the next login.
    fn expire_password(&self, user: &str) -> Result<Change>;
    /// A user's own directory, made where there is none.
    fn profile(&self, user: &str) -> Result<PathBuf>;
    /// Names the computer: at the next boot.
    fn set_name(&self, name: &str) -> Result<Change>;
    /// The name that waits for the next boot.
    fn name_awaiting_reboot(&self) -> Option<String>;
    /// Ends the system and starts it again.
    fn reboot(&self, why: &str) -> Result<()>;
    /// Activates the system's licence, where it is not.
    fn activate(&self, licence: &Licence) -> Result<Change>;
}

/// What every machine must do.
#[cfg(test)]
pub(super) fn contract(machine: &dyn Machine) {
    use super::PlatformError;
    let twice = |what: &str, operation: &dyn Fn() -> Result<Change>| {
        assert_eq!(operation().unwrap(), Change::Changed, "{what}, first");
        assert_eq!(operation().unwrap(), Change::Same, "{what}, second");
    };
    let mut ops = Account::named("ops");
    twice("account", &|| machine.ensure_account(&ops));
    ops.groups.push("Remote Desktop Users".into());
    twice("group", &|| machine.ensure_account(&ops));
    let refused = machine.ensure_account(&Account::named("a:b"));
    assert!(matches!(refused, Err(PlatformError::Invalid { .. })), "{refused:?}");
    let long = "a".repeat(21);
    assert!(machine.ensure_account(&Account::named(&long)).is_err());

    assert!(!machine.is_administrator("ops").unwrap());
    twice("administrator", &|| machine.set_administrator("ops", true));
    assert!(machine.is_administrator("ops").unwrap());
    twice("no administrator", &|| machine.set_administrator("ops", false));
    assert!(!machine.is_administrator("ops").unwrap());
    assert_eq!(machine.set_administrator("nobody-here", false).unwrap(), Change::Same);
    let missing = machine.set_administrator("nobody-here", true);
    assert!(matches!(missing, Err(PlatformError::NoSuchUser { .. })), "{missing:?}");

    machine.set_password("ops", &SecretString::new("Corr3ct horse".into())).unwrap();
    let missing = machine.set_password("nobody-here", &SecretString::new("Corr3ct".into()));
    assert!(matches!(missing, Err(PlatformError::NoSuchUser { .. })), "{missing:?}");
    twice("expiry", &|| machine.expire_password("ops"));
    assert!(machine.profile("ops").unwrap().is_dir());

    assert_eq!(machine.name_awaiting_reboot(), None);
    twice("name", &|| machine.set_name("web"));
    assert_eq!(machine.name_awaiting_reboot().as_deref(), Some("web"));
    let licence = Licence { key: None, host: Some("169.254.169.250".into()) };
    twice("licence", &|| machine.activate(&licence));
}
