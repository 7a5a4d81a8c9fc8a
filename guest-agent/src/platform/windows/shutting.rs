//! Shutting an account and opening it again, by its flag (lmaccess.h, `UF_ACCOUNTDISABLE`), and by
//! ending what runs as its user.
//!
//! Nobody logs in to a disabled account, whatever the way: by password, by key, by Remote Desktop.
//! Who is in stays in: so the sessions are ended, too. What the account owns stays.

use mezame_model::SecretString;
use windows_sys::Win32::NetworkManagement::NetManagement::{
    UF_ACCOUNTDISABLE, USER_INFO_1, USER_INFO_1008,
};

use super::{accounts, sessions};
use crate::platform::{Change, PlatformError, Result};

/// Disables an account, then ends what runs as its user.
pub(super) fn stop(user: &str) -> Result<Change> {
    if !accounts::exists(user)? {
        // Nobody to keep out.
        return Ok(Change::Same);
    }
    let sid = accounts::sid(user).ok_or_else(|| accounts::missing(user))?;
    if sid.ends_with(accounts::BUILT_IN) {
        let why = format!("{user} is the built-in administrator, who is never shut out");
        return Err(PlatformError::Invalid { what: "user", why });
    }
    let change = disable(user, true)?;
    Ok(change.and(sessions::end(&sid)?))
}

/// Enables an account.
pub(super) fn start(user: &str) -> Result<Change> {
    match disable(user, false) {
        Err(PlatformError::NoSuchUser { .. }) => Ok(Change::Same),
        other => other,
    }
}

/// Gives an account a password that nobody knows. Windows has no mark that could be taken off
/// again.
pub(super) fn lock_password(user: &str) -> Result<()> {
    let unknown = crate::password::random(user)
        .map_err(|error| PlatformError::Invalid { what: "password", why: error.to_string() })?;
    match accounts::set_password_alone(user, &unknown) {
        Err(PlatformError::NoSuchUser { .. }) => Ok(()),
        other => other,
    }
}

/// Sets a password, and enables the built-in administrator, whose account many images disable. Of
/// others one that is shut stays so: a password opens nothing that the record has shut.
pub(super) fn set_password(user: &str, text: &SecretString) -> Result<()> {
    accounts::set_password_alone(user, text)?;
    if accounts::sid(user).is_some_and(|sid| sid.ends_with(accounts::BUILT_IN)) {
        disable(user, false)?;
    }
    Ok(())
}

fn disable(user: &str, is_disabled: bool) -> Result<Change> {
    let buffer = accounts::info(user, 1)?;
    // SAFETY: level 1 was asked for.
    let known = unsafe { (*buffer.0.cast::<USER_INFO_1>()).usri1_flags };
    let flags = if is_disabled { known | UF_ACCOUNTDISABLE } else { known & !UF_ACCOUNTDISABLE };
    if flags == known {
        return Ok(Change::Same);
    }
    let info = USER_INFO_1008 { usri1008_flags: flags };
    accounts::set(user, 1008, (&raw const info).cast())?;
    Ok(Change::Changed)
}
