//! Linux: files edited directly, the network by netlink, programs only where nothing else will do.
//!
//! Needs kernel 3.2 and /proc; a distribution's own tools are used only for packages, for growing
//! the disk, and to tell its network service that its files changed. With a root other than `/`
//! (a rehearsal) only files below it are touched: host name, devices and services stay.

mod accounts;
mod arp;
mod certificates;
mod clock;
mod disk;
mod ear;
pub mod freeze;
mod instruments;
mod keys;
mod link_local;
mod link_local6;
mod netlink;
mod network;
mod packages;
mod packet;
mod persist;
mod program;
mod sessions;
mod shutting;
mod sshd;
mod sudo;
mod tree;
mod unit;

use std::{net::IpAddr, os::fd::AsRawFd, time::Duration};

use mezame_model::{Certificate, SecretBytes, SecretName, SecretString, document::Interface};

use self::tree::{Access, Tree};
use super::{Change, EndpointPath, NetworkGuard, Platform, PlatformError, Result, ScriptEnd};
use crate::{
    doctor::instruments::Instruments,
    facts::{Facts, System},
    settings::{ProbePace, STATE, Settings},
    step::{Account, FileSpec, Ntp, Packages, Script},
};

/// What the doctor looks with.
pub fn instruments(settings: &Settings) -> impl Instruments + use<> {
    instruments::LinuxInstruments::new(settings)
}

/// The Linux platform.
#[derive(Debug)]
pub struct Linux {
    tree: Tree,
    live: bool,
    network: bool,
    default_user: String,
    script_timeout: Option<Duration>,
    probe_pace: ProbePace,
}

impl Linux {
    /// Opens the root that the settings name.
    pub fn new(settings: &Settings) -> Result<Self> {
        Ok(Self {
            tree: Tree::open(&settings.root)?,
            live: settings.is_live(),
            network: settings.configure_network,
            default_user: settings.default_user.clone(),
            script_timeout: settings.script_timeout,
            probe_pace: settings.probe_pace,
        })
    }

    /// Whether a program is in one of the usual places below the root.
    fn tool(&self, name: &str) -> Option<String> {
        ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"]
            .iter()
            .map(|place| format!("{place}/{name}"))
            .find(|path| self.tree.exists(path))
    }

    /// `user`, `user:group` or `:group`; what is not named is root.
    fn uid_and_gid(&self, owner: Option<&str>) -> Result<(u32, u32)> {
        let owner = owner.unwrap_or_default();
        let (user, group) = owner.split_once(':').unwrap_or((owner, ""));
        let uid = match (user, user.parse()) {
            ("", _) => 0,
            (_, Ok(number)) => number,
            _ => accounts::find(&self.tree, user)?.uid,
        };
        let gid = match (group, group.parse()) {
            ("", _) => 0,
            (_, Ok(number)) => number,
            _ => crate::account::find_group(&self.tree.text("/etc/group")?, group)
                .ok_or_else(|| PlatformError::NoSuchGroup { name: group.to_owned() })?,
        };
        Ok((uid, gid))
    }

    /// The text of /etc/hosts with one line for the host itself (hosts(5); Debian's 127.0.1.1).
    fn hosts_with(&self, names: &[String]) -> Result<Option<String>> {
        let text = self.tree.text("/etc/hosts")?;
        let wanted = format!("127.0.1.1 {}", names.join(" "));
        let mut found = false;
        let mut out = String::new();
        for line in text.lines() {
            if line.split_whitespace().next() == Some("127.0.1.1") {
                if !found {
                    out.push_str(&wanted);
                    out.push('\n');
                }
                found = true;
            } else {
                out.push_str(line);
                out.push('\n');
            }
        }
        if text.is_empty() {
            out.push_str("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
        }
        if !found {
            out.push_str(&wanted);
            out.push('\n');
        }
        Ok((out != text).then_some(out))
    }
}

impl Platform for Linux {
    fn facts(&self) -> Result<Facts> {
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|text| text.trim().to_owned())
            .unwrap_or_default();
        Ok(Facts {
            system: System::Unix,
            boot_id,
            links: netlink::Netlink::open()?.links()?,
            default_user: self.default_user.clone(),
            configures_network: self.network,
            has_certificates: certificates::any(&self.tree),
            now: crate::facts::now(),
            licence: None,
        })
    }

    fn open_path(&self, device: &str, endpoint: IpAddr) -> Result<EndpointPath> {
        match endpoint {
            IpAddr::V4(endpoint) => link_local::open_path(device, endpoint, self.probe_pace),
            IpAddr::V6(endpoint) => link_local6::open_path(device, endpoint),
        }
    }

    fn close_path(&self, path: &EndpointPath, keep_route: bool) -> Result<()> {
        match path.endpoint {
            IpAddr::V4(endpoint) => link_local::close_path(path, endpoint, keep_route),
            IpAddr::V6(endpoint) => link_local6::close_path(path, endpoint, keep_route),
        }
    }

    fn guard_network(
        &self,
        interfaces: &[(&str, &Interface)],
    ) -> Result<Option<Box<dyn NetworkGuard + '_>>> {
        if !self.live {
            return Ok(None);
        }
        Ok(Some(Box::new(network::guard::Guard::new(&self.tree, interfaces)?)))
    }

    fn recover_network(&self) -> Result<bool> {
        let left = if self.live { network::guard::Guard::left_behind(&self.tree)? } else { None };
        match left {
            Some(guard) => guard.roll_back().map(|()| true),
            None => Ok(false),
        }
    }

    fn configure_interface(&self, device: &str, interface: &Interface) -> Result<Change> {
        if !self.live {
            return Ok(Change::Same);
        }
        network::configure(&self.tree, device, interface)
    }

    fn persist_network(&self, interfaces: &[(String, Interface)]) -> Result<Change> {
        persist::write(self, interfaces)
    }

    fn set_hostname(&self, name: &str) -> Result<Change> {
        let mut change = Change::Same;
        if self.live {
            const LIVE: &str = "/proc/sys/kernel/hostname";
            let known = std::fs::read_to_string(LIVE).unwrap_or_default();
            if known.trim_end() != name {
                std::fs::write(LIVE, name)
                    .map_err(|source| PlatformError::File { path: LIVE.into(), source })?;
                change = Change::Changed;
            }
        }
        let text = format!("{name}\n");
        Ok(change.and(self.tree.write("/etc/hostname", text.as_bytes(), Access::root(0o644))?))
    }

    fn set_own_name(&self, names: &[String]) -> Result<Change> {
        match self.hosts_with(names)? {
            None => Ok(Change::Same),
            Some(hosts) => self.tree.edit("/etc/hosts", hosts.as_bytes(), Access::root(0o644)),
        }
    }

    fn ensure_account(&self, account: &Account) -> Result<Change> {
        accounts::ensure(self, account)
    }

    fn ensure_group(&self, name: &str, members: &[String]) -> Result<Change> {
        accounts::ensure_group(self, name, members)
    }

    fn has_account(&self, name: &str) -> Result<bool> {
        match accounts::find(&self.tree, name) {
            Err(PlatformError::NoSuchUser { .. }) => Ok(false),
            other => other.map(|_| true),
        }
    }

    fn stop_account(&self, user: &str) -> Result<Change> {
        shutting::stop(self, user)
    }

    fn start_account(&self, user: &str) -> Result<Change> {
        shutting::start(self, user)
    }

    fn set_sudo(&self, user: &str, rules: &[String]) -> Result<Change> {
        sudo::set(self, user, rules)
    }

    fn authorize_keys(&self, user: &str, keys: &[String]) -> Result<Change> {
        keys::authorize(&self.tree, user, keys)
    }

    fn set_password_hash(&self, user: &str, hash: &SecretString) -> Result<Change> {
        accounts::set_password(self, user, hash)
    }

    fn lock_password(&self, user: &str) -> Result<Change> {
        shutting::lock_password(self, user)
    }

    fn trust_certificates(&self, all: &[Certificate]) -> Result<Change> {
        certificates::trust(self, all)
    }

    fn set_ssh_passwords(&self, on: bool) -> Result<Change> {
        sshd::set_passwords(self, on)
    }

    fn complete_restarts(&self) -> Result<bool> {
        sshd::complete(self)
    }

    fn expire_password(&self, user: &str) -> Result<Change> {
        accounts::expire_password(self, user)
    }

    fn write_file(&self, file: &FileSpec, added: bool) -> Result<Change> {
        let (uid, gid) = self.uid_and_gid(file.owner.as_deref())?;
        let access = Access { mode: file.mode, uid, gid };
        if !file.append {
            return self.tree.write(&file.path, &file.content, access);
        }
        let mut content = self.tree.read(&file.path)?.unwrap_or_default();
        if !added {
            content.extend_from_slice(&file.content);
        }
        self.tree.write(&file.path, &content, access)
    }

    fn run_script(&self, script: &Script) -> Result<(ScriptEnd, String)> {
        program::run_script(&self.tree, script, self.live, self.script_timeout)
    }

    fn install_packages(&self, packages: &Packages) -> Result<Change> {
        packages::install(self, packages)
    }

    fn grow_root(&self, partition: bool, filesystem: bool) -> Result<Change> {
        disk::grow(self, partition, filesystem)
    }

    fn set_timezone(&self, zone: &str) -> Result<Change> {
        clock::set_timezone(&self.tree, zone)
    }

    fn set_ntp(&self, ntp: &Ntp) -> Result<Change> {
        clock::set_ntp(self, ntp)
    }

    fn store_secret(&self, name: &SecretName, value: &SecretString) -> Result<Change> {
        let path = format!("/{STATE}/secrets/{name}");
        let directory = format!("/{STATE}/secrets");
        let fd = self.tree.directory(directory.as_ref(), Some(Access::root(0o700)))?;
        let change = self.tree.write(&path, value.expose().as_bytes(), Access::root(0o600))?;
        nix::unistd::syncfs(&fd).map_err(|errno| tree::file_error(directory.as_ref(), errno))?;
        Ok(change)
    }

    fn opens_volume(&self, device: &str, key: &SecretBytes) -> Result<()> {
        let program =
            self.tool("cryptsetup").ok_or(PlatformError::NoTool { tool: "cryptsetup" })?;
        let arguments = ["open", "--test-passphrase", "--key-file", "-", device];
        program::check_with(&program, &arguments, key.expose())
    }

    fn host_keys(&self) -> Vec<String> {
        keys::host_keys(&self.tree)
    }

    fn read_file(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.tree.read(path)
    }

    fn flush(&self) -> Result<()> {
        debug_assert!(self.tree.root().as_raw_fd() >= 0);
        nix::unistd::syncfs(self.tree.root()).map_err(|errno| tree::file_error("/".as_ref(), errno))
    }
}

#[cfg(test)]
mod tests;
