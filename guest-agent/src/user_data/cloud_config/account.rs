//! The keys that are about users and passwords.

use mezame_model::SecretString;

use super::{CloudConfig, CloudPassword, CloudUser};
use crate::{account::is_account_name, step::Account, user_data::yaml::Node};

/// The name that stands for the image's default user.
const DEFAULT: &str = "default";

impl CloudConfig {
    pub(super) fn users(&mut self, node: &Node) {
        self.names_users = true;
        let Node::Sequence(list) = node else {
            if *node != Node::Null {
                self.bad("", "users", node, "a list of users");
            }
            return;
        };
        for (at, entry) in list.iter().enumerate() {
            let path = format!("users[{at}]");
            let user = match entry {
                Node::Scalar(scalar) => self.user(&path, &[], &scalar.text),
                Node::Mapping(entries) => {
                    // Without a name it is about the default user.
                    let name = entry.entry("name").map_or(Some(DEFAULT), Node::as_text);
                    self.user(&path, entries, name.unwrap_or_default())
                }
                other => {
                    self.bad(&path, "", other, "a name or a mapping");
                    None
                }
            };
            self.users.extend(user);
        }
    }

    /// `user:`, another default user than the image's: a name, or a mapping with further fields.
    pub(super) fn default_user(&mut self, node: &Node) {
        self.default_user = match node {
            Node::Scalar(scalar) => self.user("user", &[], &scalar.text),
            Node::Mapping(entries) => {
                let name = node.entry("name").map_or(Some(DEFAULT), Node::as_text);
                self.user("user", entries, name.unwrap_or_default())
            }
            other => {
                self.bad("", "user", other, "a name or a mapping");
                None
            }
        };
    }

    fn user(&mut self, path: &str, entries: &[(String, Node)], name: &str) -> Option<CloudUser> {
        if !is_account_name(name) {
            self.skip(path, "name", "bad-value", crate::account::NAME_RULE.into());
            return None;
        }
        let is_default = name == DEFAULT;
        let mut user = CloudUser {
            account: Account::named(if is_default { "" } else { name }),
            keys: Vec::new(),
            sudo: None,
            password: None,
            lock: None,
            is_default,
        };
        let mut passwords = Passwords::default();
        for (key, value) in entries {
            let account = &mut user.account;
            // Both ways of writing were in cloud-init's own pages.
            match key.replace('-', "_").as_str() {
                "name" => {}
                "gecos" => account.gecos = self.field(path, key, value, is_field),
                "homedir" => account.home = self.field(path, key, value, is_path_field),
                "primary_group" => {
                    account.primary_group = self.field(path, key, value, is_account_name);
                }
                "groups" => account.groups = self.group_names(path, value),
                "shell" => account.shell = self.field(path, key, value, is_path_field),
                "uid" => match value.as_u32() {
                    Some(uid) => account.uid = Some(uid),
                    None => self.bad(path, key, value, "a number"),
                },
                "system" => account.system = self.truth(path, key, value),
                "no_create_home" => account.make_home = !self.truth(path, key, value),
                "sudo" => {
                    user.sudo = Some(match value.as_bool() {
                        Some(false) => Vec::new(),
                        _ => self.texts(path, key, value),
                    });
                }
                "ssh_authorized_keys" => user.keys = self.texts(path, key, value),
                "passwd" => passwords.at_creation = self.secret(path, key, value),
                "hashed_passwd" => passwords.hash = self.secret(path, key, value),
                "plain_text_passwd" => passwords.text = self.secret(path, key, value),
                "lock_passwd" => user.lock = Some(self.truth(path, key, value)),
                _ => self.unsupported(path, key),
            }
        }
        user.account.make_home &= !user.account.system;
        user.password = passwords.last();
        Some(user)
    }

    fn secret(&mut self, path: &str, key: &str, node: &Node) -> Option<SecretString> {
        self.text(path, key, node).filter(|text| !text.is_empty()).map(SecretString::new)
    }

    /// Groups that are wanted whoever is in them: names, or names with members.
    pub(super) fn groups(&mut self, node: &Node) {
        let entries: Vec<&Node> = match node {
            Node::Mapping(_) => vec![node],
            _ => match node.as_list() {
                Some(list) => list,
                None => return self.bad("", "groups", node, "a list of groups"),
            },
        };
        for (at, entry) in entries.into_iter().enumerate() {
            let path = format!("groups[{at}]");
            match entry {
                Node::Scalar(_) => {
                    for name in self.names(&path, "", entry) {
                        self.groups.push((name, Vec::new()));
                    }
                }
                Node::Mapping(named) => {
                    for (name, members) in named {
                        let members = match members {
                            Node::Null => Vec::new(),
                            members => self.names(&path, name, members),
                        };
                        match is_account_name(name) {
                            true => self.groups.push((name.clone(), members)),
                            false => {
                                let rule = crate::account::NAME_RULE.into();
                                self.skip(&path, "", "bad-value", rule);
                            }
                        }
                    }
                }
                other => self.bad(&path, "", other, "a name, or a name with members"),
            }
        }
    }

    fn field(
        &mut self,
        path: &str,
        key: &str,
        node: &Node,
        fits: fn(&str) -> bool,
    ) -> Option<String> {
        let text = self.text(path, key, node)?;
        if fits(&text) {
            return Some(text);
        }
        self.skip(path, key, "bad-value", "the value can't stand in /etc/passwd".into());
        None
    }

    fn group_names(&mut self, path: &str, node: &Node) -> Vec<String> {
        self.names(path, "groups", node)
    }

    /// A list, or names joined by commas.
    fn names(&mut self, path: &str, key: &str, node: &Node) -> Vec<String> {
        let mut names = Vec::new();
        for text in self.texts(path, key, node) {
            for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                if is_account_name(name) {
                    names.push(name.to_owned());
                } else {
                    self.skip(path, key, "bad-value", crate::account::NAME_RULE.into());
                }
            }
        }
        names
    }

    pub(super) fn password(&mut self, node: &Node) {
        if let Some(text) = self.text("", "password", node) {
            self.passwords.push((None, given(text)));
        }
    }

    pub(super) fn chpasswd(&mut self, node: &Node) {
        let Node::Mapping(entries) = node else {
            self.bad("", "chpasswd", node, "a mapping");
            return;
        };
        for (key, value) in entries {
            match key.as_str() {
                // Acted on when everything is read.
                "expire" => {
                    self.truth("chpasswd", key, value);
                }
                "users" => self.chpasswd_users(value),
                "list" => self.chpasswd_list(value),
                _ => self.unsupported("chpasswd", key),
            }
        }
    }

    fn chpasswd_users(&mut self, node: &Node) {
        let Node::Sequence(list) = node else {
            self.bad("chpasswd", "users", node, "a list");
            return;
        };
        for (at, entry) in list.iter().enumerate() {
            let path = format!("chpasswd.users[{at}]");
            let field = |key: &str| entry.entry(key).and_then(Node::as_text);
            let password = match (field("type").unwrap_or("hash"), field("password")) {
                ("RANDOM", _) => Some(CloudPassword::Random),
                ("hash", Some(text)) => Some(CloudPassword::Hash(SecretString::new(text.into()))),
                ("text", Some(text)) => Some(CloudPassword::Text(SecretString::new(text.into()))),
                _ => None,
            };
            match (field("name").filter(|name| is_account_name(name)), password) {
                (Some(name), Some(password)) => {
                    self.passwords.push((Some(name.to_owned()), password));
                }
                _ => self.bad(&path, "", entry, "name, password and type"),
            }
        }
    }

    /// The older form: lines of `name:password`.
    fn chpasswd_list(&mut self, node: &Node) {
        for text in self.texts("chpasswd", "list", node) {
            for line in text.lines().filter(|line| !line.trim().is_empty()) {
                match line.split_once(':') {
                    Some((name, word)) if is_account_name(name.trim()) => {
                        // A space may be a password's own.
                        let password = match word {
                            "R" | "RANDOM" => CloudPassword::Random,
                            word => given(word.to_owned()),
                        };
                        self.passwords.push((Some(name.trim().to_owned()), password));
                    }
                    _ => {
                        let detail = "a line is not name:password".into();
                        self.skip("chpasswd", "list", "bad-value", detail);
                    }
                }
            }
        }
    }
}

/// A text that looks like a crypt(3) hash, `$ID$SALT$HASH`, is one; anything else is the password
/// itself.
fn given(text: String) -> CloudPassword {
    let mut pieces = text.split('$');
    let is_hash = pieces.next() == Some("")
        && pieces.next().is_some_and(|id| matches!(id, "1" | "2a" | "2y" | "5" | "6" | "y"))
        && pieces.filter(|piece| !piece.is_empty()).count() >= 2
        && !text.contains(':');
    let secret = SecretString::new(text);
    if is_hash { CloudPassword::Hash(secret) } else { CloudPassword::Text(secret) }
}

/// The passwords that one user may be given. cloud-init sets them in this order, so that the last
/// of them is the one that stays, in whichever order they are written.
#[derive(Default)]
struct Passwords {
    at_creation: Option<SecretString>,
    text: Option<SecretString>,
    hash: Option<SecretString>,
}

impl Passwords {
    fn last(self) -> Option<CloudPassword> {
        let hash = |secret| Some(CloudPassword::Hash(secret));
        match (self.hash, self.text, self.at_creation) {
            (Some(secret), _, _) => hash(secret),
            (None, Some(secret), _) => Some(CloudPassword::Text(secret)),
            (None, None, secret) => secret.and_then(hash),
        }
    }
}

/// Whether a text can be a field of /etc/passwd.
fn is_field(text: &str) -> bool {
    !text.contains([':', '\n', '\0'])
}

fn is_path_field(text: &str) -> bool {
    text.starts_with('/') && is_field(text)
}
