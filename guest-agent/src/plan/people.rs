//! Accounts, keys, sudo and passwords: the document's, vendor-data's and user-data's wishes for
//! one user become one step each, so that no source undoes what another one asked for.

use mezame_model::{Document, Password, SecretString, report::Outcome};

use super::Planner;
use crate::{
    account::is_account_name,
    authorized_keys::is_key_line,
    facts::Facts,
    ledger::Right,
    step::{Account, Action, Fingerprint, Frequency, Step},
    user_data::cloud_config::{CloudConfig, CloudPassword},
};

/// What sudoers says for a user that may do everything.
const SUDO_ALL: &str = "ALL=(ALL:ALL) NOPASSWD:ALL";

struct Person {
    account: Account,
    keys: Vec<String>,
    sudo: Option<Vec<String>>,
    password: Option<Wanted>,
    expire: bool,
    recipients: Vec<String>,
    refused_random: bool,
}

impl Person {
    /// A password made in the guest is taken by the service only for a user of the document that
    /// asks for it: made for another one, nobody would ever learn it.
    fn wish(&mut self, password: &CloudPassword) {
        match password {
            CloudPassword::Hash(hash) => self.password = Some(Wanted::Hash(hash.clone())),
            CloudPassword::Text(text) => self.password = Some(Wanted::Text(text.clone())),
            CloudPassword::Random if matches!(self.password, Some(Wanted::Generate)) => {}
            CloudPassword::Random => self.refused_random = true,
        }
    }
}

enum Wanted {
    Hash(SecretString),
    Text(SecretString),
    Generate,
}

pub(super) fn plan(
    planner: &mut Planner<'_>,
    document: &Document,
    vendor: &CloudConfig,
    user: &CloudConfig,
    facts: &Facts,
) {
    let mut people: Vec<Person> = Vec::new();
    let default_user = facts.default_user.as_str();
    let superuser = facts.system.superuser();
    person(&mut people, default_user).keys.extend(texts(&document.ssh_keys));
    if default_user != superuser {
        person(&mut people, default_user).sudo = Some(vec![SUDO_ALL.into()]);
    }
    for user in &document.users {
        let person = person(&mut people, user.name.as_str());
        person.keys.extend(texts(&user.ssh_keys));
        person.account.groups.extend(texts(&user.groups));
        person.account.shell = user.shell.as_deref().map(str::to_owned);
        // The service takes a password that is sealed to one of these, and to no other.
        person.recipients = texts(&user.ssh_keys).chain(texts(&document.ssh_keys)).collect();
        if user.sudo {
            person.sudo = Some(vec![SUDO_ALL.into()]);
        }
        person.password = user.password.as_ref().map(|password| match password {
            Password::Hash(hash) => Wanted::Hash(hash.clone()),
            Password::Generate => Wanted::Generate,
        });
    }
    for config in [vendor, user] {
        seeded(&mut people, config, default_user);
    }
    for person in &people {
        steps(planner, person, superuser);
    }
    retire(planner, &people);
}

fn texts(list: &[Box<str>]) -> impl Iterator<Item = String> + '_ {
    list.iter().map(|text| text.to_string())
}

fn person<'a>(people: &'a mut Vec<Person>, name: &str) -> &'a mut Person {
    let at = people.iter().position(|person| person.account.name == name).unwrap_or_else(|| {
        people.push(Person {
            account: Account::named(name),
            keys: Vec::new(),
            sudo: None,
            password: None,
            expire: false,
            recipients: Vec::new(),
            refused_random: false,
        });
        people.len() - 1
    });
    &mut people[at]
}

fn seeded(people: &mut Vec<Person>, config: &CloudConfig, default_user: &str) {
    for wish in &config.users {
        let name = if wish.is_default { default_user } else { &wish.account.name };
        let person = person(people, name);
        let account = &mut person.account;
        let wanted = &wish.account;
        account.groups.extend(wanted.groups.iter().cloned());
        for (slot, value) in [
            (&mut account.gecos, &wanted.gecos),
            (&mut account.primary_group, &wanted.primary_group),
            (&mut account.shell, &wanted.shell),
            (&mut account.home, &wanted.home),
        ] {
            if value.is_some() {
                slot.clone_from(value);
            }
        }
        account.uid = wanted.uid.or(account.uid);
        account.system |= wanted.system;
        account.make_home &= wanted.make_home;
        person.keys.extend(wish.keys.iter().cloned());
        if wish.sudo.is_some() {
            person.sudo.clone_from(&wish.sudo);
        }
        if let Some(password) = &wish.password {
            person.wish(password);
        }
    }
    person(people, default_user).keys.extend(config.ssh_authorized_keys.iter().cloned());
    for (name, password) in &config.passwords {
        let person = person(people, name.as_deref().unwrap_or(default_user));
        person.wish(password);
        person.expire = config.expire && person.password.is_some();
    }
}

fn steps(planner: &mut Planner<'_>, person: &Person, superuser: &str) {
    let mut account = person.account.clone();
    let user = account.name.clone();
    if !is_account_name(&user) {
        let detail = crate::account::NAME_RULE.into();
        return planner.settle(format!("user {user}"), Outcome::Failed, "bad-value", detail);
    }
    let mut seen = std::collections::BTreeSet::new();
    account.groups.retain(|group| is_account_name(group) && seen.insert(group.clone()));
    let bare = account == Account::named(&user);
    if !(bare && user == superuser) {
        planner.always(format!("user {user}"), Action::Account(account));
    }
    match &person.sudo {
        Some(rules) if rules.is_empty() => revoke_sudo(planner, &user),
        Some(rules) => {
            let action = Action::Sudo { user: user.clone(), rules: rules.clone() };
            planner.always(format!("sudo {user}"), action);
        }
        None => revoke_sudo(planner, &user),
    }
    let mut keys: Vec<String> = Vec::new();
    let mut bad = 0;
    for key in &person.keys {
        let key = key.trim();
        if !is_key_line(key) {
            bad += 1;
        } else if !keys.iter().any(|known| known == key) {
            keys.push(key.to_owned());
        }
    }
    if bad > 0 {
        let detail = format!("{bad} line(s) can't stand in authorized_keys");
        planner.settle(format!("keys {user}"), Outcome::Failed, "bad-value", detail);
    }
    if person.refused_random {
        let detail = "a password is made only for a user of the instance that asks for it";
        let key = format!("random password {user}");
        planner.settle(key, Outcome::Skipped, "unsupported-key", detail.into());
    }
    password(planner, person, &user);
    if !keys.is_empty() || planner.history.holders(Right::Keys).any(|name| name == user) {
        planner.always(format!("keys {user}"), Action::Keys { user, keys });
    }
}

fn revoke_sudo(planner: &mut Planner<'_>, user: &str) {
    if planner.history.holders(Right::Sudo).any(|name| name == user) {
        let action = Action::Sudo { user: user.to_owned(), rules: Vec::new() };
        planner.always(format!("sudo {user}"), action);
    }
}

fn password(planner: &mut Planner<'_>, person: &Person, user: &str) {
    let owned = user.to_owned();
    let (key, fingerprint, action) = match &person.password {
        None => return,
        Some(Wanted::Hash(hash)) => (
            format!("password {user}"),
            Some(Fingerprint::of(&[b"hash", hash.expose().as_bytes()])),
            Action::PasswordHash { user: owned, hash: hash.clone() },
        ),
        // No fingerprint of a text that a person may have chosen is kept: it could be guessed.
        Some(Wanted::Text(text)) => (
            format!("password {user}"),
            None,
            Action::PasswordText { user: owned, text: text.clone() },
        ),
        Some(Wanted::Generate) => (
            format!("generated password {user}"),
            None,
            Action::GeneratePassword { user: owned, recipients: person.recipients.clone() },
        ),
    };
    planner.once_even_live(Step { key, frequency: Frequency::PerInstance, fingerprint, action });
    if person.expire {
        planner.once(Step {
            key: format!("expire password {user}"),
            frequency: Frequency::PerInstance,
            fingerprint: None,
            action: Action::ExpirePassword { user: user.to_owned() },
        });
    }
}

/// Takes back what users had from the agent who are not named any more.
fn retire(planner: &mut Planner<'_>, people: &[Person]) {
    let gone = |name: &str| !people.iter().any(|person| person.account.name == name);
    let holders = |right| -> Vec<String> {
        planner.history.holders(right).filter(|name| gone(name)).map(str::to_owned).collect()
    };
    let (keys, sudo) = (holders(Right::Keys), holders(Right::Sudo));
    for user in keys {
        planner.always(format!("keys {user}"), Action::Keys { user, keys: Vec::new() });
    }
    for user in sudo {
        planner.always(format!("sudo {user}"), Action::Sudo { user, rules: Vec::new() });
    }
}
