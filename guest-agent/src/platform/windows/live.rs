//! The running Windows as a [`Machine`]: accounts, name, licence and power for real.

use std::path::PathBuf;

use mezame_model::{SecretString, Winrm};

use super::{accounts, power, registry::Registry, script, shutting, ssh_server, winrm};
use crate::{
    firewall::{self, Opening},
    licence::{self, Licence},
    platform::{
        Change, PlatformError, Result,
        machine::{Machine, check_group},
    },
    step::Account,
    thumbprint::Thumbprint,
    winrm::Names,
};

/// What PowerShell is asked: 1 is "licensed" (Microsoft, "SoftwareLicensingProduct class"). The
/// number is that of Windows among all products.
const IS_ACTIVATED: &str = "(Get-CimInstance SoftwareLicensingProduct -Filter \
    \"ApplicationId='55c92734-d682-4d71-983e-d6ec3f16059f' and PartialProductKey is not null\" | \
    Where-Object LicenseStatus -eq 1 | Measure-Object).Count";

/// The running system.
#[derive(Debug)]
pub(super) struct Live;

impl Machine for Live {
    fn ensure_account(&self, account: &Account) -> Result<Change> {
        accounts::ensure(account)
    }

    fn set_administrator(&self, user: &str, is_one: bool) -> Result<Change> {
        accounts::set_administrator(user, is_one)
    }

    fn is_administrator(&self, user: &str) -> Result<bool> {
        accounts::is_administrator(user)
    }

    fn has_account(&self, user: &str) -> Result<bool> {
        accounts::exists(user)
    }

    fn stop_account(&self, user: &str) -> Result<Change> {
        shutting::stop(user)
    }

    fn start_account(&self, user: &str) -> Result<Change> {
        shutting::start(user)
    }

    fn ensure_group(&self, name: &str, members: &[String]) -> Result<Change> {
        check_group(name)?;
        accounts::ensure_group(name, members)
    }

    fn lock_password(&self, user: &str) -> Result<()> {
        shutting::lock_password(user)
    }

    fn ssh_server_runs(&self) -> Result<bool> {
        ssh_server::runs()
    }

    fn restart_ssh_server(&self) -> Result<()> {
        ssh_server::restart()
    }

    fn set_password(&self, user: &str, text: &SecretString) -> Result<()> {
        shutting::set_password(user, text)
    }

    fn expire_password(&self, user: &str) -> Result<Change> {
        accounts::expire_password(user)
    }

    fn profile(&self, user: &str) -> Result<PathBuf> {
        match super::profile_of(user) {
            Some(path) if path.is_dir() => Ok(path),
            _ => accounts::make_profile(user),
        }
    }

    fn set_name(&self, name: &str) -> Result<Change> {
        power::set_name(name)
    }

    fn name_awaiting_reboot(&self) -> Option<String> {
        power::name_awaiting_reboot()
    }

    fn reboot(&self, why: &str) -> Result<()> {
        power::reboot(why)
    }

    fn set_opening(&self, opening: &Opening) -> Result<Change> {
        let failed = |source| PlatformError::File { path: firewall::RULES.into(), source };
        let rules = match Registry::new(true).open(firewall::RULES).map_err(failed)? {
            Some(key) => key.texts().map_err(failed)?,
            None => Vec::new(),
        };
        let commands = firewall::commands(opening, &rules);
        for words in &commands {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            script::tool("netsh.exe", &words)?;
        }
        Ok(if commands.is_empty() { Change::Same } else { Change::Changed })
    }

    /// With what depends on it: the redirector of its ports.
    fn restart_remote_desktop(&self) -> Result<()> {
        script::powershell("Restart-Service -Name TermService -Force -ErrorAction Stop").map(drop)
    }

    fn set_winrm(&self, wanted: &Winrm, names: &Names) -> Result<(Change, Option<Thumbprint>)> {
        winrm::set(wanted, names)
    }

    fn activate(&self, licence: &Licence) -> Result<Change> {
        let asked = script::powershell(IS_ACTIVATED);
        if asked.is_ok_and(|count| count.trim().parse::<u32>().is_ok_and(|count| count > 0)) {
            return Ok(Change::Same);
        }
        let slmgr = script::system_directory().join("slmgr.vbs").display().to_string();
        for words in licence::commands(licence) {
            let mut all = vec!["//nologo", &slmgr];
            all.extend(words.iter().map(String::as_str));
            let said = script::tool("cscript.exe", &all)?;
            if let Some(number) = licence::error_number(&said) {
                let tool = format!("slmgr {}", words[0]);
                let detail = format!("{number}; `slui 0x2a {number}` says what it means");
                return Err(PlatformError::Tool { tool, detail });
            }
        }
        Ok(Change::Changed)
    }
}
