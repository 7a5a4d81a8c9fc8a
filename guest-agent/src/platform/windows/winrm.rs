//! WinRM of the running system, by PowerShell: looked at, changed, and looked at again. What is
//! told to it, [`winrm`](crate::winrm) says.
//!
//! What the agent has done is noted in the registry, and that it will do something before it does:
//! a system without that key is not touched where nothing is wanted of it. A new certificate is its
//! listener's own: no other place has its key.

use std::io;

use mezame_model::Winrm;

use super::{registry::Registry, script};
use crate::{
    platform::{Change, PlatformError, Result, error::of_winrm},
    thumbprint::Thumbprint,
    winrm::{self, Names, Noted, Now},
};

/// Where the notes are.
const NOTES: &str = r"SOFTWARE\Mezame\WinRM";
/// The certificate of the listener.
const THUMBPRINT: &str = "Thumbprint";
/// 1: the agent has had Basic taken.
const BASIC: &str = "Basic";

fn noting(source: io::Error) -> PlatformError {
    PlatformError::File { path: format!(r"HKEY_LOCAL_MACHINE\{NOTES}").into(), source }
}

/// Has it listen, or no longer. Gives what its certificate is known by.
pub(super) fn set(wanted: &Winrm, names: &Names) -> Result<(Change, Option<Thumbprint>)> {
    let registry = Registry::new(true);
    if !wanted.https && registry.open(NOTES).map_err(noting)?.is_none() {
        return Ok((Change::Same, None));
    }
    let notes = registry.create(NOTES, false).map_err(noting)?;
    let noted = Noted {
        thumbprint: notes.text(THUMBPRINT).map_err(noting)?.as_deref().and_then(Thumbprint::parse),
        basic: notes.number(BASIC).map_err(noting)? == Some(1),
    };
    let mut now = look()?;
    let mut change = if now.is_service_changed { Change::Changed } else { Change::Same };
    if let Some(script) = winrm::changes(wanted, names, &now, &noted).map_err(of_winrm)? {
        if wanted.https && wanted.basic && !now.basic {
            notes.set_number(BASIC, 1).map_err(noting)?;
        }
        notes.flush().map_err(noting)?;
        script::powershell(&script)?;
        change = Change::Changed;
        now = look()?;
        if winrm::changes(wanted, names, &now, &noted).map_err(of_winrm)?.is_some() {
            let detail = "it is not as it was told to be".to_owned();
            return Err(PlatformError::Tool { tool: "WinRM".to_owned(), detail });
        }
    }
    if !wanted.https {
        registry.delete(NOTES).map_err(noting)?;
        return Ok((change, None));
    }
    let thumbprint = now.thumbprint().cloned();
    if let Some(known) = thumbprint.as_ref().filter(|it| noted.thumbprint.as_ref() != Some(*it)) {
        notes.set_text(THUMBPRINT, known.as_str()).map_err(noting)?;
    }
    if !wanted.basic {
        notes.delete_value(BASIC).map_err(noting)?;
    }
    Ok((change, thumbprint))
}

fn look() -> Result<Now> {
    Now::parse(&script::powershell(winrm::LOOK)?).map_err(of_winrm)
}
