//! `#cloud-config`: the keys that people use most, read from the tree into what a plan needs.
//!
//! Every key is accounted for: one that is not supported, or whose value is not of the form that
//! cloud-init's reference page ("Modules") gives, is listed in [`CloudConfig::skipped`] with its
//! path and the reason. Reading never fails as a whole.

mod account;
mod value;

use mezame_model::SecretString;

use super::{
    gzip,
    yaml::{self, Node, YamlError},
};
use crate::step::{Account, FileSpec, Ntp, Packages};

/// A key that is not acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedKey {
    /// Such as `users[0].ssh_import_id`.
    pub path: String,
    /// A stable word: `unsupported-key` or `bad-value`.
    pub reason: &'static str,
    /// For people; nothing of the value.
    pub detail: String,
}

/// A user as cloud-config describes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudUser {
    /// The account; for `default` only its name counts.
    pub account: Account,
    /// Lines of authorized_keys.
    pub keys: Vec<String>,
    /// What follows the name in sudoers; `None` where the key is not there.
    pub sudo: Option<Vec<String>>,
    /// How the password is set.
    pub password: Option<CloudPassword>,
    /// Whether the password, one that is set here included, is locked, so that only keys open the
    /// account; nothing: it is.
    pub lock: Option<bool>,
    /// Whether it is about the image's default user (`- default`); its account has no name then.
    pub is_default: bool,
}

/// A password as cloud-config gives one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloudPassword {
    /// For crypt(3).
    Hash(SecretString),
    /// In plain text.
    Text(SecretString),
    /// To be made in the guest.
    Random,
}

/// What a cloud-config asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CloudConfig {
    /// The short name, mostly.
    pub hostname: Option<String>,
    /// The full name.
    pub fqdn: Option<String>,
    /// Whether the full one becomes the host's.
    pub prefer_fqdn: Option<bool>,
    /// Leave the host name alone.
    pub preserve_hostname: bool,
    /// Whether /etc/hosts names the host.
    pub own_name_in_hosts: Option<bool>,
    /// In order.
    pub users: Vec<CloudUser>,
    /// Whether `users` is there: a list without `default` means that there is no default user.
    pub names_users: bool,
    /// `user`: what is said of the default user, a name in place of the image's included.
    pub default_user: Option<CloudUser>,
    /// Groups, each with members.
    pub groups: Vec<(String, Vec<String>)>,
    /// Whether the default user's keys are kept from root.
    pub disable_root: Option<bool>,
    /// Whether the SSH server takes passwords; nothing: as it is.
    pub ssh_pwauth: Option<bool>,
    /// The default user's.
    pub ssh_authorized_keys: Vec<String>,
    /// From `chpasswd` and `password`; no name: the default user.
    pub passwords: Vec<(Option<String>, CloudPassword)>,
    /// Whether those passwords must be changed at the first login.
    pub expire: bool,
    /// `write_files` without `defer`.
    pub files: Vec<FileSpec>,
    /// `write_files` with `defer`: after users and packages.
    pub deferred_files: Vec<FileSpec>,
    /// A shell script made of the list, if there is one.
    pub bootcmd: Option<Vec<u8>>,
    /// The same for the first boot's end.
    pub runcmd: Option<Vec<u8>>,
    /// Package work, if any is asked for.
    pub packages: Option<Packages>,
    /// Grow the root partition.
    pub growpart: bool,
    /// Grow the root file system.
    pub resize_rootfs: bool,
    /// Such as `Asia/Tokyo`.
    pub timezone: Option<String>,
    /// Time servers.
    pub ntp: Option<Ntp>,
    /// What is not acted on.
    pub skipped: Vec<SkippedKey>,
    unpacked: gzip::Budget,
}

/// Reads one text, with or without its first line.
pub fn parse(bytes: &[u8]) -> Result<CloudConfig, YamlError> {
    Ok(read(&yaml::parse(bytes)?))
}

/// Reads a tree, possibly merged from several parts.
pub fn read(tree: &Node) -> CloudConfig {
    let mut config = CloudConfig::default();
    let entries = match tree {
        Node::Mapping(entries) => entries.as_slice(),
        Node::Null => &[],
        other => {
            config.bad("", "cloud-config", other, "a mapping");
            &[]
        }
    };
    let mut resize = None;
    for (key, node) in entries {
        config.read_key(key, node, &mut resize);
    }
    // A grown partition is of use only with its file system: that is done unless it says no.
    config.resize_rootfs = resize.unwrap_or(config.growpart);
    // `password` is the default user's where `chpasswd` names nobody.
    if config.passwords.iter().any(|(name, _)| name.is_some()) {
        config.passwords.retain(|(name, _)| name.is_some());
    }
    // `password` expires unless `chpasswd` says no, in whichever order they were written.
    config.expire = tree
        .entry("chpasswd")
        .and_then(|it| it.entry("expire"))
        .is_none_or(|it| it.as_bool() != Some(false));
    if config.packages == Some(Packages::default()) {
        config.packages = None;
    }
    config
}

impl CloudConfig {
    /// One key of the text. `resize` is what was said of the root file system.
    fn read_key(&mut self, key: &str, node: &Node, resize: &mut Option<bool>) {
        match key {
            "hostname" => self.hostname = self.host("hostname", node),
            "fqdn" => self.fqdn = self.host("fqdn", node),
            "preserve_hostname" => self.preserve_hostname = self.truth("", key, node),
            "prefer_fqdn_over_hostname" => {
                self.prefer_fqdn = Some(self.truth("", key, node));
            }
            "manage_etc_hosts" => self.hosts(node),
            "users" => self.users(node),
            "user" => self.default_user(node),
            "groups" => self.groups(node),
            "disable_root" => self.disable_root = Some(self.truth("", key, node)),
            "ssh_pwauth" => self.ssh_pwauth(node),
            "ssh_authorized_keys" => self.ssh_authorized_keys = self.texts("", key, node),
            "chpasswd" => self.chpasswd(node),
            "password" => self.password(node),
            "write_files" => self.write_files(node),
            "bootcmd" => self.bootcmd = self.commands(key, node),
            "runcmd" => self.runcmd = self.commands(key, node),
            "packages" | "package_update" | "apt_update" | "package_upgrade" | "apt_upgrade" => {
                self.package_key(key, node);
            }
            "growpart" => self.growpart(node),
            // In the background or not: it is done either way.
            "resize_rootfs" if node.as_text() == Some("noblock") => *resize = Some(true),
            "resize_rootfs" => *resize = Some(self.truth("", key, node)),
            "timezone" => self.timezone = self.zone(node),
            "ntp" => self.ntp(node),
            "merge_how" | "merge_type" => {
                if node.as_list().is_none() {
                    self.bad("", key, node, "a text such as list(append)+dict()+str()");
                }
            }
            _ => self.unsupported("", key),
        }
    }

    fn package_key(&mut self, key: &str, node: &Node) {
        match key {
            "packages" => {
                let install = self.package_names(node);
                self.packages.get_or_insert_default().install = install;
            }
            "package_update" | "apt_update" => {
                let on = self.truth("", key, node);
                self.packages.get_or_insert_default().update = on;
            }
            _ => {
                let on = self.truth("", key, node);
                self.packages.get_or_insert_default().upgrade = on;
            }
        }
    }

    fn unsupported(&mut self, path: &str, key: &str) {
        self.skip(path, key, "unsupported-key", "this key is not supported".into());
    }

    fn bad(&mut self, path: &str, key: &str, node: &Node, wanted: &str) {
        let detail = format!("{wanted} is wanted here, not {}", node.kind());
        self.skip(path, key, "bad-value", detail);
    }

    fn skip(&mut self, path: &str, key: &str, reason: &'static str, detail: String) {
        // A guest's report is bounded; so is what a hostile text can put into it.
        if self.skipped.len() < 200 {
            let dot = if path.is_empty() || key.is_empty() { "" } else { "." };
            let key: String = key.chars().take(80).collect();
            self.skipped.push(SkippedKey { path: format!("{path}{dot}{key}"), reason, detail });
        }
    }
}

#[cfg(test)]
mod tests;
