//! The keys that are about users and passwords.

use mezame_model::SecretString;

use super::{CloudConfig, CloudPassword, CloudUser};
use crate::{account::is_account_name, step::Account, user_data::yaml::Node};

impl CloudConfig {
    pub(super) fn users(&mut self, node: &Node) {
        let Node::Sequence(list) = node else {
            if *node != Node::Null {
                self.bad("", "users", node, "a list of users");
            }
            return;
        };
        for (at, entry) in list.iter().enumerate() {
            let path = format!("users[{at}]");
            match entry {
                Node::Scalar(scalar) if scalar.text == "default" => self.users.push(CloudUser {
                    account: Account::named(""),
                    keys: Vec::new(),
                    sudo: None,
                    password: None,
                    is_default: true,
                }),
                Node::Scalar(scalar) => {
                    let name = scalar.text.clone();
                    self.user(&path, &[("name".into(), entry.clone())], &name);
                }
                Node::Mapping(entries) => {
                    let name = entry.entry("name").and_then(Node::as_text).unwrap_or_default();
                    self.user(&path, entries, name);
                }
                other => self.bad(&path, "", other, "a name or a mapping"),
            }
        }
    }

    /// `user:`, the default user: a name, or a mapping with further fields.
    pub(super) fn default_user(&mut self, node: &Node) {
        match node {
            Node::Scalar(scalar) => {
                let name = scalar.text.clone();
                self.user("user", &[("name".into(), node.clone())], &name);
            }
            Node::Mapping(entries) => {
                let name = node.entry("name").and_then(Node::as_text).unwrap_or_default();
                self.user("user", entries, name);
            }
            other => {
                self.bad("", "user", other, "a name or a mapping");
            }
        }
    }

    fn user(&mut self, path: &str, entries: &[(String, Node)], name: &str) {
        if !is_account_name(name) {
            self.skip(path, "name", "bad-value", crate::account::NAME_RULE.into());
            return;
        }
        let mut user = CloudUser {
            account: Account::named(name),
            keys: Vec::new(),
            sudo: None,
            password: None,
            is_default: false,
        };
        let mut lock = false;
        for (key, value) in entries {
            let account = &mut user.account;
            match key.as_str() {
                "name" => {}
                "gecos" => account.gecos = self.field(path, key, value, is_field),
                "homedir" => account.home = self.field(path, key, value, is_path_field),
                "primary_group" => {
                    account.primary_group = self.field(path, key, value, is_account_name);
                }
                "groups" => account.groups = self.groups(path, value),
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
                "ssh_authorized_keys" | "ssh-authorized-keys" => {
                    user.keys = self.texts(path, key, value);
                }
                "passwd" | "hashed_passwd" => {
                    user.password =
                        self.text(path, key, value).map(SecretString::new).map(CloudPassword::Hash);
                }
                "plain_text_passwd" => {
                    user.password =
                        self.text(path, key, value).map(SecretString::new).map(CloudPassword::Text);
                }
                "lock_passwd" | "lock-passwd" => lock = self.truth(path, key, value),
                _ => self.unsupported(path, key),
            }
        }
        // Without a word on it, a password that was handed over is meant to be used. Locked by
        // name, it is not set: a new account is locked until it gets one.
        if lock {
            user.password = None;
        }
        self.users.push(user);
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

    /// A list, or names joined by commas.
    fn groups(&mut self, path: &str, node: &Node) -> Vec<String> {
        let mut groups = Vec::new();
        for text in self.texts(path, "groups", node) {
            for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                if is_account_name(name) {
                    groups.push(name.to_owned());
                } else {
                    self.skip(path, "groups", "bad-value", crate::account::NAME_RULE.into());
                }
            }
        }
        groups
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
                        let password = match word.trim() {
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

/// A text that looks like a crypt(3) hash is one; anything else is the password itself.
fn given(text: String) -> CloudPassword {
    let is_hash = ["$1$", "$2a$", "$2y$", "$5$", "$6$", "$y$"].iter().any(|p| text.starts_with(p));
    let secret = SecretString::new(text);
    if is_hash { CloudPassword::Hash(secret) } else { CloudPassword::Text(secret) }
}

/// Whether a text can be a field of /etc/passwd.
fn is_field(text: &str) -> bool {
    !text.contains([':', '\n', '\0'])
}

fn is_path_field(text: &str) -> bool {
    text.starts_with('/') && is_field(text)
}
