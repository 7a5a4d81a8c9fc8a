//! What of a Windows guest only the system itself can keep: accounts and groups, passwords, the
//! computer's name, its licence, its power.
//!
//! Behind a trait of its own, since a rehearsal must not touch any of it, and since Wine, on which
//! the agent is tested, has none of it truly. [`rehearsal`](super::rehearsal) keeps a record
//! instead; both pass the same contract, as far as each can be run.

use std::path::PathBuf;

use mezame_model::{SecretString, Winrm};

use super::{Change, PlatformError, Result};
use crate::{
    account::{self, is_account_name},
    firewall::Opening,
    licence::Licence,
    step::Account,
    thumbprint::Thumbprint,
    winrm::Names,
};

/// The longest name of an account (Microsoft, "NetUserAdd": 20 characters).
pub const MAX_NAME: usize = 20;

/// The longest name of a group.
pub const MAX_GROUP: usize = 256;

/// Whether a text can name an account of Windows as well as one of the document's users.
pub fn check_name(name: &str) -> Result<()> {
    if is_account_name(name) && name.len() <= MAX_NAME && !name.ends_with('.') {
        return Ok(());
    }
    let why = format!("{}; on Windows {MAX_NAME} at most and no '.' last", account::NAME_RULE);
    Err(PlatformError::Invalid { what: "user name", why })
}

/// Whether a text can name a group (Microsoft, "NetLocalGroupAdd": 256 characters, none of these).
pub fn check_group(name: &str) -> Result<()> {
    let is_bad = |char: char| char < ' ' || "\"/\\[]:|<>+=;,?*".contains(char);
    let only = name.chars().all(|char| char == '.' || char == ' ');
    if !only && name.chars().count() <= MAX_GROUP && !name.contains(is_bad) {
        return Ok(());
    }
    let why = format!("1 to {MAX_GROUP} characters, none of \"/\\[]:|<>+=;,?*");
    Err(PlatformError::Invalid { what: "group name", why })
}

/// The system itself. Names of accounts and groups are the same in any case of their letters.
pub trait Machine: std::fmt::Debug {
    /// Makes an account and its groups, or completes them.
    fn ensure_account(&self, account: &Account) -> Result<Change>;
    /// Makes a user an administrator, or one no longer. That somebody who is gone is none any more
    /// is as wanted, and the built-in one stays what it is.
    fn set_administrator(&self, user: &str, is_one: bool) -> Result<Change>;
    /// Whether a user is an administrator.
    fn is_administrator(&self, user: &str) -> Result<bool>;
    /// Whether there is such an account.
    fn has_account(&self, user: &str) -> Result<bool>;
    /// Shuts an account, but for the built-in administrator's, and ends what runs as its user. That
    /// somebody is gone is as wanted.
    fn stop_account(&self, user: &str) -> Result<Change>;
    /// Opens an account that was shut.
    fn start_account(&self, user: &str) -> Result<Change>;
    /// Makes a group, and takes those of its members in who are there.
    fn ensure_group(&self, name: &str, members: &[String]) -> Result<Change>;
    /// Has a password open nothing any more: it becomes one that nobody knows, and the old one
    /// can't be had back. Whether it was so before can't be told.
    fn lock_password(&self, user: &str) -> Result<()>;
    /// Whether the SSH server runs, or is about to.
    fn ssh_server_runs(&self) -> Result<bool>;
    /// Stops the SSH server where it runs, and starts it.
    fn restart_ssh_server(&self) -> Result<()>;
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
    /// Has the firewall let a service be reached, there alone or no longer.
    fn set_opening(&self, opening: &Opening) -> Result<Change>;
    /// Has Remote Desktop begin anew, so that it takes another port. Its sessions end.
    fn restart_remote_desktop(&self) -> Result<()>;
    /// Has WinRM listen with a certificate for these names, or no longer with one that was made
    /// here. Gives what the certificate is known by, where there is one.
    fn set_winrm(&self, wanted: &Winrm, names: &Names) -> Result<(Change, Option<Thumbprint>)>;
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
    shutting_contract(machine);
    names_contract(machine);
    remote_contract(machine);

    assert_eq!(machine.name_awaiting_reboot(), None);
    twice("name", &|| machine.set_name("web"));
    assert_eq!(machine.name_awaiting_reboot().as_deref(), Some("web"));
    let licence = Licence { key: None, host: Some("169.254.169.250".into()) };
    twice("licence", &|| machine.activate(&licence));
}

/// Shutting accounts and locking passwords.
#[cfg(test)]
fn shutting_contract(machine: &dyn Machine) {
    assert!(machine.has_account("ops").unwrap() && !machine.has_account("nobody-here").unwrap());
    assert_eq!(machine.stop_account("ops").unwrap(), Change::Changed);
    assert_eq!(machine.stop_account("ops").unwrap(), Change::Same);
    assert!(machine.has_account("ops").unwrap(), "what it owns stays");
    assert_eq!(machine.start_account("ops").unwrap(), Change::Changed);
    assert_eq!(machine.start_account("ops").unwrap(), Change::Same);
    assert_eq!(machine.stop_account("nobody-here").unwrap(), Change::Same);
    assert_eq!(machine.start_account("nobody-here").unwrap(), Change::Same);
    for administrator in ["Administrator", "administrator"] {
        let refused = machine.stop_account(administrator);
        assert!(matches!(refused, Err(PlatformError::Invalid { .. })), "{refused:?}");
    }
    machine.lock_password("ops").unwrap();
    machine.lock_password("nobody-here").unwrap();
    machine.restart_ssh_server().unwrap();
}

/// Ways in from outside.
#[cfg(test)]
fn remote_contract(machine: &dyn Machine) {
    use crate::firewall::Service;
    let change = |what: &str, wanted: Change, done: Change| assert_eq!(done, wanted, "{what}");
    let [first, second] = [Winrm::PORT, std::num::NonZeroU16::MAX].map(Some);
    for service in [Service::RemoteDesktop, Service::Winrm] {
        for port in [first, second, None] {
            let set = || machine.set_opening(&Opening { service, port }).unwrap();
            change("an opening, first", Change::Changed, set());
            change("an opening, second", Change::Same, set());
        }
    }
    machine.restart_remote_desktop().unwrap();
    let names = Names::of("web.example").unwrap();
    let set = |https: bool, basic: bool| {
        machine.set_winrm(&Winrm { https, port: Winrm::PORT, basic }, &names).unwrap().0
    };
    change("no listener", Change::Same, set(false, false));
    for (https, basic) in [(true, false), (true, true), (false, false)] {
        change("a listener, first", Change::Changed, set(https, basic));
        change("a listener, second", Change::Same, set(https, basic));
    }
}

/// Groups, and names in other cases of their letters.
#[cfg(test)]
fn names_contract(machine: &dyn Machine) {
    let members = ["OPS".to_owned(), "nobody-here".to_owned()];
    assert_eq!(machine.ensure_group("crew", &members[1..]).unwrap(), Change::Changed);
    assert_eq!(machine.ensure_group("crew", &members[1..]).unwrap(), Change::Same);
    assert_eq!(machine.ensure_group("Crew", &members).unwrap(), Change::Changed);
    assert_eq!(machine.ensure_group("crew", &members).unwrap(), Change::Same);
    for name in ["", "a:b", "..", "a\nb"] {
        let refused = machine.ensure_group(name, &[]);
        assert!(matches!(refused, Err(PlatformError::Invalid { .. })), "{name:?}: {refused:?}");
    }
    assert_eq!(machine.ensure_account(&Account::named("Ops")).unwrap(), Change::Same);
    assert!(machine.has_account("OPS").unwrap());
    assert!(machine.is_administrator("administrator").unwrap());
    assert_eq!(machine.set_administrator("oPs", true).unwrap(), Change::Changed);
    assert!(machine.is_administrator("ops").unwrap());
    assert_eq!(machine.set_administrator("OPS", false).unwrap(), Change::Changed);
    assert_eq!(machine.set_administrator("administrator", false).unwrap(), Change::Same);
    assert!(machine.is_administrator("Administrator").unwrap());
    assert_eq!(machine.profile("Ops").unwrap(), machine.profile("ops").unwrap());
}
