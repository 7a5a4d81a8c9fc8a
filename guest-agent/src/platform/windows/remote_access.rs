//! Ways into the system from outside: what of them stands in the registry, and in which order the
//! rest is told. What is to be, [`remote_desktop`], [`firewall`](crate::firewall) and
//! [`winrm`](crate::winrm) say.
//!
//! Remote Desktop takes another port only when its service is started anew, which ends its
//! sessions: so that is done for another port alone. That it is due is noted first, in the key that
//! no shutdown outlives: a run that is cut off in between is completed by the next one, or by the
//! next boot.

use std::io;

use mezame_model::{RemoteDesktop, Winrm};

use super::{
    own_key::{self, BOOT},
    registry::Registry,
};
use crate::{
    firewall::Opening,
    platform::{Change, PlatformError, Result, error::of_winrm, machine::Machine},
    remote_desktop::{self, Setting},
    thumbprint::Thumbprint,
    winrm::Names,
};

/// That Remote Desktop is to be started anew.
const DUE: &str = "RestartRemoteDesktop";

/// Ways into this system.
pub(super) struct RemoteAccess<'a> {
    pub(super) registry: &'a Registry,
    pub(super) machine: &'a dyn Machine,
}

impl RemoteAccess<'_> {
    /// Lets people in by Remote Desktop, or nobody.
    pub(super) fn set_desktop(&self, wanted: &RemoteDesktop) -> Result<Change> {
        for policy in remote_desktop::policies(wanted) {
            if !policy.is_met_by(self.number(&policy)?) {
                let path = format!(r"HKEY_LOCAL_MACHINE\{}", policy.path).into();
                return Err(PlatformError::Overruled { path, what: policy.name });
            }
        }
        let opening = Opening::of_desktop(wanted);
        // Shut from the outside first, and opened from the inside first.
        if wanted.enabled {
            Ok(self.write_desktop(wanted)?.and(self.machine.set_opening(&opening)?))
        } else {
            Ok(self.machine.set_opening(&opening)?.and(self.write_desktop(wanted)?))
        }
    }

    fn write_desktop(&self, wanted: &RemoteDesktop) -> Result<Change> {
        let mut change = Change::Same;
        for setting in remote_desktop::settings(wanted) {
            if setting.is_met_by(self.number(&setting)?) {
                continue;
            }
            if setting.at_start {
                self.note_due().map_err(failed(BOOT))?;
            }
            let key = self.registry.create(setting.path, false).map_err(failed(setting.path))?;
            key.set_number(setting.name, setting.number).map_err(failed(setting.path))?;
            change = Change::Changed;
        }
        let Some(boot) = self.registry.open(BOOT).map_err(failed(BOOT))? else { return Ok(change) };
        if boot.number(DUE).map_err(failed(BOOT))? == Some(1) {
            self.machine.restart_remote_desktop()?;
            boot.delete_value(DUE).map_err(failed(BOOT))?;
            change = Change::Changed;
        }
        Ok(change)
    }

    /// Has WinRM listen, or no longer; and the firewall let it be reached.
    pub(super) fn set_winrm(
        &self,
        wanted: &Winrm,
        hostname: &str,
    ) -> Result<(Change, Option<Thumbprint>)> {
        let names = Names::of(hostname).map_err(of_winrm)?;
        let opening = Opening::of_winrm(wanted);
        if wanted.https {
            let (change, thumbprint) = self.machine.set_winrm(wanted, &names)?;
            Ok((change.and(self.machine.set_opening(&opening)?), thumbprint))
        } else {
            let change = self.machine.set_opening(&opening)?;
            let (more, _) = self.machine.set_winrm(wanted, &names)?;
            Ok((change.and(more), None))
        }
    }

    /// Takes the agent's certificate for WinRM away, and its listener: a clone must not have the
    /// key of another guest.
    pub(super) fn forget(&self) -> Result<()> {
        let off = Winrm { https: false, port: Winrm::PORT, basic: false };
        self.set_winrm(&off, "localhost").map(drop)
    }

    fn number(&self, setting: &Setting) -> Result<Option<u32>> {
        let key = self.registry.open(setting.path).map_err(failed(setting.path))?;
        let number = key.map(|key| key.number(setting.name)).transpose();
        Ok(number.map_err(failed(setting.path))?.flatten())
    }

    fn note_due(&self) -> io::Result<()> {
        own_key::of_boot(self.registry)?.set_number(DUE, 1)
    }
}

fn failed(key: &'static str) -> impl Fn(io::Error) -> PlatformError {
    move |source| PlatformError::File { path: format!(r"HKEY_LOCAL_MACHINE\{key}").into(), source }
}
