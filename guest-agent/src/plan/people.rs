//! Accounts, keys, sudo and passwords: the document's, vendor-data's and user-data's wishes for
//! one user become one step each, so that no source undoes what another one asked for.

mod asks;
mod passwords;
mod retire;

use mezame_model::{Document, Password, SecretString, report::Outcome};

use self::{passwords::password, retire::retire};
use super::Planner;
use crate::{
    account::is_account_name,
    authorized_keys::is_key_line,
    facts::Facts,
    ledger::Right,
    step::{Account, Action},
    user_data::cloud_config::{CloudConfig, CloudPassword, CloudUser},
};

/// What sudoers says for a user that may do everything.
const SUDO_ALL: &str = "ALL=(ALL:ALL) NOPASSWD:ALL";

struct Person {
    account: Account,
    /// Whether the account is to be made. Whoever is only given a password or taken into a group
    /// must be there.
    named: bool,
    keys: Vec<String>,
    sudo: Option<Vec<String>>,
    password: Option<Wanted>,
    lock: bool,
    expire: bool,
    recipients: Vec<String>,
    reset: Option<u64>,
    nova: bool,
    refused_random: bool,
    stopped: bool,
}

impl Person {
    fn of(name: &str) -> Self {
        Self {
            account: Account::named(name),
            named: false,
            keys: Vec::new(),
            sudo: None,
            password: None,
            lock: false,
            expire: false,
            recipients: Vec::new(),
            reset: None,
            nova: false,
            refused_random: false,
            stopped: false,
        }
    }

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

    /// What an entry of `users` says, or `user`.
    fn take(&mut self, wish: &CloudUser) {
        self.named = true;
        let (account, wanted) = (&mut self.account, &wish.account);
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
        self.keys.extend(wish.keys.iter().cloned());
        if wish.sudo.is_some() {
            self.sudo.clone_from(&wish.sudo);
        }
        // A listed account is locked unless it says otherwise; but a password that the operator
        // gave is not taken away by a list that does not speak of it. How the default user comes
        // out of the image is the image's affair.
        self.lock = wish.lock.unwrap_or(!wish.is_default && self.password.is_none());
        if let Some(password) = &wish.password {
            self.wish(password);
        }
    }
}

enum Wanted {
    Hash(SecretString),
    Text(SecretString),
    Generate,
}

/// Whom the instance's own keys are for. `user` gives the image's default user another name; a
/// list of users without `default` says that there is none.
struct DefaultUser<'a> {
    name: &'a str,
    is_made: bool,
    /// Who may do everything, and is in every image.
    superuser: String,
}

impl<'a> DefaultUser<'a> {
    fn of(
        planner: &Planner<'_>,
        vendor: &'a CloudConfig,
        user: &'a CloudConfig,
        facts: &'a Facts,
    ) -> Self {
        let renamed: Vec<&CloudUser> =
            [user, vendor].into_iter().filter_map(|config| config.default_user.as_ref()).collect();
        let name = renamed.iter().map(|it| it.account.name.as_str()).find(|name| !name.is_empty());
        let list = [user, vendor].into_iter().find(|config| config.names_users);
        let is_listed = list.is_none_or(|config| config.users.iter().any(|it| it.is_default));
        let name = name.unwrap_or(&facts.default_user);
        let superuser = planner.name(facts.system.superuser());
        let is_made = name == superuser || is_listed || !renamed.is_empty();
        Self { name, is_made, superuser }
    }
}

pub(super) fn plan(
    planner: &mut Planner<'_>,
    document: &Document,
    vendor: &CloudConfig,
    user: &CloudConfig,
    facts: &Facts,
) {
    let default = DefaultUser::of(planner, vendor, user, facts);
    let mut people: Vec<Person> = Vec::new();
    if default.is_made {
        let person = person(&mut people, default.name);
        person.named = true;
        if default.name != default.superuser {
            person.sudo = Some(vec![SUDO_ALL.into()]);
        }
    }
    place_keys(planner, &mut people, &default, document, [vendor, user]);
    for user in &document.users {
        let person = person(&mut people, user.name.as_str());
        person.named = true;
        person.keys.extend(texts(&user.ssh_keys));
        person.account.groups.extend(texts(&user.groups));
        person.account.shell = user.shell.as_deref().map(str::to_owned);
        // The service takes a password that is sealed to one of these, and to no other.
        person.recipients = texts(&user.ssh_keys).chain(texts(&document.ssh_keys)).collect();
        person.stopped = user.stopped;
        person.reset = user.password_reset;
        person.nova = document.nova_password;
        if user.sudo {
            person.sudo = Some(vec![SUDO_ALL.into()]);
        }
        person.password = user.password.as_ref().map(|password| match password {
            Password::Hash(hash) => Wanted::Hash(hash.clone()),
            Password::Generate => Wanted::Generate,
        });
    }
    asks::name(planner, &mut people, document, facts);
    for config in [vendor, user] {
        seeded(planner, &mut people, config, &default);
    }
    for person in &people {
        steps(planner, person, &default.superuser);
    }
    asks::answer(planner, &people, document, facts);
    for (name, members) in vendor.groups.iter().chain(&user.groups) {
        let action = Action::Group { name: name.clone(), members: members.clone() };
        planner.always(format!("group {name}"), action);
    }
    if let Some(on) = user.ssh_pwauth.or(vendor.ssh_pwauth) {
        planner.always("ssh passwords".into(), Action::SshPasswords(on));
    }
    retire(planner, &people);
}

/// The instance's keys and `ssh_authorized_keys` go to the default user; to root as well where
/// `disable_root` is false.
fn place_keys(
    planner: &mut Planner<'_>,
    people: &mut Vec<Person>,
    default: &DefaultUser<'_>,
    document: &Document,
    configs: [&CloudConfig; 2],
) {
    let mut keys: Vec<String> = texts(&document.ssh_keys).collect();
    for config in configs {
        keys.extend(config.ssh_authorized_keys.iter().cloned());
    }
    let [vendor, user] = configs;
    match user.disable_root.or(vendor.disable_root) {
        Some(false) if default.name != default.superuser => {
            person(people, &default.superuser).keys.extend(keys.iter().cloned());
        }
        Some(true) if default.name == default.superuser => {
            let detail = "the superuser is this image's default user: its keys are let in";
            let key = "disable_root".into();
            planner.settle(key, Outcome::Skipped, "unsupported-key", detail.into());
        }
        _ => {}
    }
    if default.is_made {
        person(people, default.name).keys.extend(keys);
    } else if !keys.is_empty() {
        nobodys(planner, format!("keys {}", default.name));
    }
}

fn nobodys(planner: &mut Planner<'_>, key: String) {
    let detail = "the list of users has no 'default': it would be the default user's";
    planner.settle(key, Outcome::Skipped, "no-default-user", detail.into());
}

fn texts(list: &[Box<str>]) -> impl Iterator<Item = String> + '_ {
    list.iter().map(|text| text.to_string())
}

fn person<'a>(people: &'a mut Vec<Person>, name: &str) -> &'a mut Person {
    let at = people.iter().position(|person| person.account.name == name).unwrap_or_else(|| {
        people.push(Person::of(name));
        people.len() - 1
    });
    &mut people[at]
}

fn seeded(
    planner: &mut Planner<'_>,
    people: &mut Vec<Person>,
    config: &CloudConfig,
    default: &DefaultUser<'_>,
) {
    for wish in config.users.iter().chain(&config.default_user) {
        let is_default = wish.is_default || wish.account.name == default.name;
        match (is_default, default.is_made) {
            (true, true) => person(people, default.name).take(wish),
            // Of vendor-data, which the tenant's own list has replaced.
            (true, false) if wish.is_default => {}
            _ => person(people, &wish.account.name).take(wish),
        }
    }
    for (name, password) in &config.passwords {
        let person = match name {
            Some(name) => person(people, name),
            None if default.is_made => person(people, default.name),
            None => {
                nobodys(planner, format!("password {}", default.name));
                continue;
            }
        };
        person.wish(password);
        person.lock &= matches!(password, CloudPassword::Random)
            && !matches!(person.password, Some(Wanted::Generate));
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
    if person.named && !(bare && user == superuser) {
        planner.always(format!("user {user}"), Action::Account(account));
    }
    if person.stopped && user != superuser {
        return stop(planner, &user);
    }
    if planner.history.has(&user, Right::Stopped) {
        planner.always(format!("start {user}"), Action::Start { user: user.clone() });
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
    if !keys.is_empty() || planner.history.has(&user, Right::Keys) {
        planner.always(format!("keys {user}"), Action::Keys { user, keys });
    }
}

/// Takes back what opens an account, then shuts it: in this order, so that nobody comes in while
/// the account's processes are ended. What the record says of keys and password waits until the
/// user is started again.
fn stop(planner: &mut Planner<'_>, user: &str) {
    revoke_sudo(planner, user);
    if planner.history.has(user, Right::Keys) {
        let action = Action::Keys { user: user.to_owned(), keys: Vec::new() };
        planner.always(format!("keys {user}"), action);
    }
    planner.always(format!("stop {user}"), Action::Stop { user: user.to_owned() });
}

fn revoke_sudo(planner: &mut Planner<'_>, user: &str) {
    if planner.history.has(user, Right::Sudo) {
        let action = Action::Sudo { user: user.to_owned(), rules: Vec::new() };
        planner.always(format!("sudo {user}"), action);
    }
}
