//! The computer's name and its power.
//!
//! Windows takes a new name at a boot only: the one that waits and the one that is in use stand in
//! two places of the registry, and are compared. A reboot is asked for with a few seconds' notice,
//! so that the report is out and people see why.

use std::{io, ptr};

use windows_sys::Win32::{
    Foundation::{CloseHandle, ERROR_NOT_ALL_ASSIGNED, GetLastError, HANDLE},
    Security::{
        AdjustTokenPrivileges, LUID_AND_ATTRIBUTES, LookupPrivilegeValueW, SE_PRIVILEGE_ENABLED,
        TOKEN_ADJUST_PRIVILEGES, TOKEN_PRIVILEGES, TOKEN_QUERY,
    },
    System::{
        Shutdown::{
            InitiateSystemShutdownExW, SHTDN_REASON_FLAG_PLANNED,
            SHTDN_REASON_MAJOR_OPERATINGSYSTEM, SHTDN_REASON_MINOR_RECONFIG,
        },
        SystemInformation::{ComputerNamePhysicalDnsHostname, SetComputerNameExW},
        Threading::{GetCurrentProcess, OpenProcessToken},
    },
};

use super::{
    event_log,
    registry::Registry,
    wide::{succeeded, wide},
};
use crate::platform::{Change, PlatformError, Result, Weight};

/// In seconds.
const NOTICE: u32 = 3;
/// The name after the next boot.
const NEXT: &str = r"SYSTEM\CurrentControlSet\Services\Tcpip\Parameters";
/// The name now.
const NOW: &str = r"SYSTEM\CurrentControlSet\Control\ComputerName\ActiveComputerName";
/// NetBIOS's longest name: the one now is cut off there.
const NETBIOS: usize = 15;

fn failed(tool: &'static str) -> impl Fn(io::Error) -> PlatformError {
    move |error| PlatformError::Tool { tool: tool.to_owned(), detail: error.to_string() }
}

fn value(path: &str, name: &str) -> Result<String> {
    let key = Registry::new(true).open(path).map_err(failed("RegOpenKeyEx"))?;
    let text = key.map(|key| key.text(name)).transpose().map_err(failed("RegGetValue"))?;
    Ok(text.flatten().unwrap_or_default())
}

/// Names the computer: at the next boot.
pub(super) fn set_name(name: &str) -> Result<Change> {
    if value(NEXT, "NV Hostname")?.eq_ignore_ascii_case(name) {
        return Ok(Change::Same);
    }
    let name = wide(name);
    // SAFETY: a text that ends with a zero.
    succeeded(unsafe { SetComputerNameExW(ComputerNamePhysicalDnsHostname, name.as_ptr()) })
        .map_err(failed("SetComputerNameEx"))?;
    Ok(Change::Changed)
}

/// The name that waits for the next boot.
pub(super) fn name_awaiting_reboot() -> Option<String> {
    let next = value(NEXT, "NV Hostname").ok()?;
    let now = value(NOW, "ComputerName").ok()?;
    let short: String = next.chars().take(NETBIOS).collect();
    (!next.is_empty() && !short.eq_ignore_ascii_case(&now)).then_some(next)
}

/// Ends the system and starts it again.
pub(super) fn reboot(why: &str) -> Result<()> {
    enable_privilege().map_err(failed("AdjustTokenPrivileges"))?;
    event_log::write(Weight::Reboot, why);
    let message = wide(format!("Mezame guest agent: {why}"));
    let reason = SHTDN_REASON_MAJOR_OPERATINGSYSTEM
        | SHTDN_REASON_MINOR_RECONFIG
        | SHTDN_REASON_FLAG_PLANNED;
    // SAFETY: a text that ends with a zero; no machine means this one.
    let asked =
        unsafe { InitiateSystemShutdownExW(ptr::null(), message.as_ptr(), NOTICE, 1, 1, reason) };
    succeeded(asked).map_err(failed("InitiateSystemShutdownEx"))
}

/// The right to shut the system down, which an account has and must ask for.
fn enable_privilege() -> io::Result<()> {
    let name = wide("SeShutdownPrivilege");
    let mut token: HANDLE = ptr::null_mut();
    let mut wanted = TOKEN_PRIVILEGES { PrivilegeCount: 1, ..TOKEN_PRIVILEGES::default() };
    wanted.Privileges[0] =
        LUID_AND_ATTRIBUTES { Attributes: SE_PRIVILEGE_ENABLED, ..Default::default() };
    // SAFETY: values of the forms that the calls want; the token is closed once.
    unsafe {
        let luid = &mut wanted.Privileges[0].Luid;
        succeeded(LookupPrivilegeValueW(ptr::null(), name.as_ptr(), luid))?;
        let access = TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY;
        succeeded(OpenProcessToken(GetCurrentProcess(), access, &mut token))?;
        let done = succeeded(AdjustTokenPrivileges(
            token,
            0,
            &wanted,
            0,
            ptr::null_mut(),
            ptr::null_mut(),
        ));
        // It "succeeds" without having given anything.
        let error = GetLastError();
        CloseHandle(token);
        done?;
        if error == ERROR_NOT_ALL_ASSIGNED {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
    }
    Ok(())
}
