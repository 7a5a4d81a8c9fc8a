//! Windows: the system's own calls, and its programs only where there is no call that serves.
//!
//! From Windows 7 and Server 2008 R2 on, 64 bits. With a root other than the system's drive (a
//! rehearsal) files are written below it and keys of the registry below one of their own; accounts,
//! name, licence and power go into a record ([`super::rehearsal`]); adapters, the disk and the
//! clock stay. Scripts and HTTP are real in both.

mod access;
mod accounts;
mod adapters;
mod certificates;
mod endpoint_path;
pub(crate) mod event_log;
mod files;
mod handle;
mod job;
mod live;
mod network;
mod open_ssh;
mod own_key;
mod power;
mod registry;
mod remote_access;
mod route;
mod script;
mod serial;
pub(crate) mod service;
mod sessions;
mod shutting;
mod ssh_server;
mod system_tools;
mod way;
mod wide;
mod winrm;

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use mezame_model::{
    Certificate, RemoteDesktop, Report, SecretName, SecretString, Winrm, document::Interface,
};

pub(super) use self::adapters::bind_to_device;
use self::{
    files::{Files, Readers},
    registry::Registry,
};
use super::{
    Change, EndpointPath, NetworkGuard, PasswordForm, Platform, PlatformError, Result, ScriptEnd,
    machine::Machine, rehearsal::Rehearsal, restart,
};
use crate::{
    facts::{Facts, System},
    licence::Licence,
    sddl::Kind,
    settings::{STATE, Settings},
    step::{Account, FileSpec, Ntp, Packages, Script},
    thumbprint::Thumbprint,
};

/// Where the system keeps whose profile is where.
const PROFILES: &str = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion\ProfileList";
/// The only rules that Windows has an equal of.
const EVERYTHING: [&str; 4] =
    ["ALL=(ALL:ALL) NOPASSWD:ALL", "ALL=(ALL) NOPASSWD:ALL", "ALL=(ALL:ALL) ALL", "ALL=(ALL) ALL"];

/// The Windows platform.
#[derive(Debug)]
pub struct Windows {
    root: PathBuf,
    live: bool,
    network: bool,
    default_user: String,
    script_timeout: Option<Duration>,
    licence: Option<Licence>,
    files: Files,
    registry: Registry,
    machine: Box<dyn Machine>,
}

impl Windows {
    /// Of the root that the settings name.
    pub fn new(settings: &Settings) -> Result<Self> {
        let live = settings.is_live();
        let machine: Box<dyn Machine> =
            if live { Box::new(live::Live) } else { Box::new(Rehearsal::new(&settings.root)) };
        Ok(Self {
            root: settings.root.clone(),
            live,
            network: settings.configure_network,
            default_user: settings.default_user.clone(),
            script_timeout: settings.script_timeout,
            licence: settings.licence.clone(),
            files: Files::new(&settings.root),
            registry: Registry::new(live),
            machine,
        })
    }

    fn state(&self) -> PathBuf {
        self.root.join(STATE)
    }

    fn ssh(&self) -> open_ssh::Place<'_> {
        let (machine, registry) = (&*self.machine, &self.registry);
        open_ssh::Place { root: &self.root, live: self.live, machine, registry }
    }

    fn certificates(&self) -> certificates::Certificates<'_> {
        certificates::Certificates::new(&self.registry, self.live)
    }

    fn remote_access(&self) -> remote_access::RemoteAccess<'_> {
        remote_access::RemoteAccess { registry: &self.registry, machine: &*self.machine }
    }
}

fn network_error(what: &'static str) -> impl Fn(io::Error) -> PlatformError {
    move |source| PlatformError::Network { what, source }
}

/// Where a user's profile is, if one was ever made.
fn profile_of(user: &str) -> Option<PathBuf> {
    let key = format!(r"{PROFILES}\{}", accounts::sid(user)?);
    let path = Registry::new(true).open(&key).ok()??.text("ProfileImagePath").ok()??;
    Some(PathBuf::from(path))
}

/// Makes a directory one for the system and administrators alone. One of the running system that a
/// user has made is refused: its owner could always take that back.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    if path.starts_with(super::root().join("ProgramData")) {
        access::check_ours_at(path, Kind::Directory)
            .map_err(|error| io::Error::new(io::ErrorKind::PermissionDenied, error))?;
    }
    access::make_private(path)
}

/// Reads the settings of the running system, which are the system's and administrators' alone.
pub(super) fn read_settings(path: &Path) -> Result<Option<Vec<u8>>> {
    files::read_ours(path)
}

impl Platform for Windows {
    fn facts(&self) -> Result<Facts> {
        let listed = network_error("listing the adapters");
        let links = adapters::all().map_err(listed)?.into_iter().map(|it| it.link).collect();
        Ok(Facts {
            system: System::Windows,
            boot_id: own_key::boot_id(&self.registry)?,
            links,
            default_user: self.default_user.clone(),
            configures_network: self.network,
            has_certificates: self.certificates().any(),
            now: crate::facts::now(),
            licence: self.licence.clone(),
        })
    }

    fn open_path(&self, device: &str, endpoint: IpAddr) -> Result<EndpointPath> {
        endpoint_path::open(device, endpoint)
    }

    fn close_path(&self, path: &EndpointPath, keep_route: bool) -> Result<()> {
        endpoint_path::close(path, keep_route)
    }

    fn guard_network(
        &self,
        interfaces: &[(&str, &Interface)],
    ) -> Result<Option<Box<dyn NetworkGuard + '_>>> {
        if !self.live {
            return Ok(None);
        }
        let devices: Vec<&str> = interfaces.iter().map(|(device, _)| *device).collect();
        let guard = network::Network { state: &self.state() }.guard(&devices)?;
        Ok(Some(Box::new(guard)))
    }

    fn recover_network(&self) -> Result<bool> {
        let state = self.state();
        let left = if self.live { network::Network { state: &state }.left_behind()? } else { None };
        left.map_or(Ok(false), |guard| guard.roll_back().map(|()| true))
    }

    fn configure_interface(&self, device: &str, interface: &Interface) -> Result<Change> {
        if !self.live {
            return Ok(Change::Same);
        }
        network::Network { state: &self.state() }.configure(device, interface)
    }

    /// What netsh sets stays.
    fn persist_network(&self, _interfaces: &[(String, Interface)]) -> Result<Change> {
        Ok(Change::Same)
    }

    /// The first label alone: the rest is the domain's, which a computer joins in another way.
    fn set_hostname(&self, name: &str) -> Result<Change> {
        let label = name.split('.').next().unwrap_or(name);
        if label.bytes().all(|byte| byte.is_ascii_digit()) {
            let why = "Windows takes no name of digits alone".to_owned();
            return Err(PlatformError::Invalid { what: "host name", why });
        }
        self.machine.set_name(label)
    }

    fn name_awaiting_reboot(&self) -> Option<String> {
        self.machine.name_awaiting_reboot()
    }

    fn reboot(&self, why: &str) -> Result<()> {
        self.machine.reboot(why)
    }

    fn ensure_account(&self, account: &Account) -> Result<Change> {
        self.machine.ensure_account(account)
    }

    fn ensure_group(&self, name: &str, members: &[String]) -> Result<Change> {
        self.machine.ensure_group(name, members)
    }

    fn has_account(&self, name: &str) -> Result<bool> {
        self.machine.has_account(name)
    }

    fn stop_account(&self, user: &str) -> Result<Change> {
        self.machine.stop_account(user)
    }

    fn start_account(&self, user: &str) -> Result<Change> {
        self.machine.start_account(user)
    }

    /// An administrator, or none: Windows knows nothing between.
    fn set_sudo(&self, user: &str, rules: &[String]) -> Result<Change> {
        if let Some(rule) = rules.iter().find(|rule| !EVERYTHING.contains(&rule.trim())) {
            let why = format!("Windows has no equal of {rule:?}: only of {:?}", EVERYTHING[0]);
            return Err(PlatformError::Invalid { what: "sudo rule", why });
        }
        self.machine.set_administrator(user, !rules.is_empty())
    }

    fn authorize_keys(&self, user: &str, keys: &[String]) -> Result<Change> {
        let sid = if self.live { accounts::sid(user) } else { None };
        self.ssh().authorize(sid.as_deref(), user, keys)
    }

    fn lock_password(&self, user: &str) -> Result<Change> {
        self.machine.lock_password(user).map(|()| Change::Changed)
    }

    fn set_ssh_passwords(&self, on: bool) -> Result<Change> {
        self.ssh().set_passwords(on)
    }

    fn complete_restarts(&self) -> Result<bool> {
        restart::complete(&self.ssh()).map(|change| change == Change::Changed)
    }

    fn password_form(&self) -> PasswordForm {
        PasswordForm::Text
    }

    fn set_password_text(&self, user: &str, text: &SecretString) -> Result<Change> {
        self.machine.set_password(user, text).map(|()| Change::Changed)
    }

    fn set_password_hash(&self, _user: &str, _hash: &SecretString) -> Result<Change> {
        Err(PlatformError::Unsupported { what: "Windows takes no password by its crypt(3) hash" })
    }

    fn trust_certificates(&self, all: &[Certificate]) -> Result<Change> {
        self.certificates().trust(all).map_err(certificates::error)
    }

    fn set_remote_desktop(&self, wanted: &RemoteDesktop) -> Result<Change> {
        self.remote_access().set_desktop(wanted)
    }

    fn set_winrm(&self, wanted: &Winrm, hostname: &str) -> Result<(Change, Option<Thumbprint>)> {
        self.remote_access().set_winrm(wanted, hostname)
    }

    fn write_to_serial(&self, port: &str, lines: &str) -> Result<()> {
        serial::write(port, (!self.live).then_some(self.root.as_path()), lines)
    }

    fn expire_password(&self, user: &str) -> Result<Change> {
        self.machine.expire_password(user)
    }

    fn write_file(&self, file: &FileSpec, added: bool) -> Result<Change> {
        if file.owner.is_some() {
            let what = "the owner of a file can't be set on Windows: leave `owner` out";
            return Err(PlatformError::Unsupported { what });
        }
        let path = self.files.outside(&file.path)?;
        // Of a mode only this is left: whether others than its owner may read it.
        let readers = if file.mode & 0o077 == 0 { Readers::Nobody } else { Readers::AsAbove };
        files::change(&path, readers, |there| {
            let mut content = there.filter(|_| file.append).unwrap_or_default().to_vec();
            if !(file.append && added) {
                content.extend_from_slice(&file.content);
            }
            Ok(Some(content))
        })
    }

    fn run_script(&self, script: &Script) -> Result<(ScriptEnd, String)> {
        let state = self.state();
        let rehearsal = (!self.live).then_some(self.root.as_path());
        let place = script::Place { state: &state, rehearsal };
        script::run(&place, script, self.script_timeout)
    }

    fn install_packages(&self, _packages: &Packages) -> Result<Change> {
        Err(PlatformError::Unsupported { what: "packages are not installed on Windows" })
    }

    fn grow_root(&self, _partition: bool, _filesystem: bool) -> Result<Change> {
        if self.live { system_tools::grow_system_volume(&self.state()) } else { Ok(Change::Same) }
    }

    fn set_timezone(&self, zone: &str) -> Result<Change> {
        if self.live { system_tools::set_timezone(zone) } else { Ok(Change::Same) }
    }

    fn set_ntp(&self, ntp: &Ntp) -> Result<Change> {
        if self.live { system_tools::set_ntp(&self.registry, ntp) } else { Ok(Change::Same) }
    }

    fn store_secret(&self, name: &SecretName, value: &SecretString) -> Result<Change> {
        let path = self.state().join("secrets").join(name.as_str());
        files::write(&path, value.expose().as_bytes(), Readers::Nobody)
    }

    fn activate(&self, licence: &Licence) -> Result<Change> {
        self.machine.activate(licence)
    }

    fn clear_stale_routes(&self) -> Result<Vec<String>> {
        let cleared = route::clear_stale(&self.registry, self.live);
        cleared.map_err(network_error("taking stale routes away"))
    }

    fn show_run(&self, report: &Report) -> Result<()> {
        own_key::show_run(&self.registry, report)
    }

    fn forget(&self) -> Result<()> {
        self.remote_access().forget()?;
        own_key::forget(&self.registry)
    }

    fn host_keys(&self) -> Vec<String> {
        open_ssh::host_keys(&self.root)
    }

    fn read_file(&self, path: &str) -> Result<Option<Vec<u8>>> {
        self.files.read(path)
    }

    /// Each file was put on the disk when it was written.
    fn flush(&self) -> Result<()> {
        Ok(())
    }
}
