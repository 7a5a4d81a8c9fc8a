//! Local accounts and groups (lmaccess.h), by the system's own calls: no password is ever in a
//! command line.

use std::{io, path::PathBuf, ptr};

use mezame_model::SecretString;
use windows_sys::Win32::{
    Foundation::{
        ERROR_ALIAS_EXISTS, ERROR_MEMBER_IN_ALIAS, ERROR_MEMBER_NOT_IN_ALIAS, ERROR_NO_SUCH_MEMBER,
        LocalFree,
    },
    NetworkManagement::NetManagement::{
        LG_INCLUDE_INDIRECT, LOCALGROUP_INFO_0, LOCALGROUP_MEMBERS_INFO_3, LOCALGROUP_USERS_INFO_0,
        MAX_PREFERRED_LENGTH, NERR_GroupExists, NERR_UserExists, NERR_UserNotFound,
        NetApiBufferFree, NetLocalGroupAdd, NetLocalGroupAddMembers, NetLocalGroupDelMembers,
        NetUserAdd, NetUserGetInfo, NetUserGetLocalGroups, NetUserSetInfo, UF_DONT_EXPIRE_PASSWD,
        UF_NORMAL_ACCOUNT, UF_SCRIPT, USER_INFO_1, USER_INFO_3, USER_INFO_1003, USER_INFO_1008,
        USER_INFO_1011, USER_PRIV_USER,
    },
    Security::{
        Authorization::ConvertSidToStringSidW, CreateWellKnownSid, LookupAccountNameW,
        LookupAccountSidW, PSID, SID_NAME_USE, WinBuiltinAdministratorsSid,
    },
    UI::Shell::CreateProfile,
};
use zeroize::Zeroizing;

use super::wide::{checked, narrow, pointed, succeeded, wide};
use crate::{
    platform::{Change, PlatformError, Result, machine::check_name},
    step::Account,
};

/// Constants of the system's, in the form that a pattern wants.
const NO_SUCH_USER: u32 = NERR_UserNotFound;
const USER_EXISTS: u32 = NERR_UserExists;
const GROUP_EXISTS: u32 = NERR_GroupExists;

/// The end of the SID of the built-in administrator, whatever its name (Microsoft, "Well-known
/// SIDs").
pub(super) const BUILT_IN: &str = "-500";
/// The longest SID, in bytes (SECURITY_MAX_SID_SIZE).
const MAX_SID: usize = 68;

fn failed(tool: &'static str) -> impl Fn(io::Error) -> PlatformError {
    move |error| PlatformError::Tool { tool: tool.to_owned(), detail: error.to_string() }
}

pub(super) fn missing(user: &str) -> PlatformError {
    PlatformError::NoSuchUser { name: user.to_owned() }
}

/// Makes an account and its groups, or completes them. A new one has a random password that nobody
/// knows, so that it is not open until one is set.
pub(super) fn ensure(account: &Account) -> Result<Change> {
    check_name(&account.name)?;
    let mut change = Change::Same;
    if !exists(&account.name)? {
        add(&account.name)?;
        change = Change::Changed;
    }
    if let Some(full) = &account.gecos {
        let mut full = wide(full);
        let info = USER_INFO_1011 { usri1011_full_name: full.as_mut_ptr() };
        set(&account.name, 1011, (&raw const info).cast())?;
    }
    let groups = groups_of(&account.name)?;
    for group in account.groups.iter().chain(&account.primary_group) {
        if !groups.iter().any(|known| known.eq_ignore_ascii_case(group)) {
            make_group(group)?;
            add_member(group, &account.name)?;
            change = Change::Changed;
        }
    }
    Ok(change)
}

/// Whether there is such an account.
pub(super) fn exists(user: &str) -> Result<bool> {
    match info(user, 1) {
        Err(PlatformError::NoSuchUser { .. }) => Ok(false),
        other => other.map(|_| true),
    }
}

/// A buffer that the network API has made.
pub(super) struct Buffer(pub(super) *mut u8);

impl Drop for Buffer {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: made by the API, and freed once.
            unsafe { NetApiBufferFree(self.0.cast()) };
        }
    }
}

/// What is known of an account, in the form that the level stands for.
pub(super) fn info(user: &str, level: u32) -> Result<Buffer> {
    let name = wide(user);
    let mut buffer = Buffer(ptr::null_mut());
    // SAFETY: a text that ends with a zero, and a place for a pointer.
    match unsafe { NetUserGetInfo(ptr::null(), name.as_ptr(), level, &mut buffer.0) } {
        NO_SUCH_USER => Err(missing(user)),
        status => checked(status).map(|()| buffer).map_err(failed("NetUserGetInfo")),
    }
}

/// Sets what the level stands for.
pub(super) fn set(user: &str, level: u32, value: *const u8) -> Result<()> {
    let name = wide(user);
    // SAFETY: the caller hands over a value of the form that the level stands for.
    match unsafe { NetUserSetInfo(ptr::null(), name.as_ptr(), level, value, ptr::null_mut()) } {
        NO_SUCH_USER => Err(missing(user)),
        status => checked(status).map_err(failed("NetUserSetInfo")),
    }
}

fn add(user: &str) -> Result<()> {
    let unknown = crate::password::random(user)
        .map_err(|error| PlatformError::Invalid { what: "password", why: error.to_string() })?;
    let mut name = wide(user);
    let mut password = Zeroizing::new(wide(unknown.expose()));
    let info = USER_INFO_1 {
        usri1_name: name.as_mut_ptr(),
        usri1_password: password.as_mut_ptr(),
        usri1_priv: USER_PRIV_USER,
        usri1_flags: UF_SCRIPT | UF_NORMAL_ACCOUNT | UF_DONT_EXPIRE_PASSWD,
        ..USER_INFO_1::default()
    };
    // SAFETY: a value of level 1, whose texts live until the call returns.
    match unsafe { NetUserAdd(ptr::null(), 1, (&raw const info).cast(), ptr::null_mut()) } {
        USER_EXISTS => Ok(()),
        status => checked(status).map_err(failed("NetUserAdd")),
    }
}

/// Sets a password, and nothing else.
pub(super) fn set_password_alone(user: &str, text: &SecretString) -> Result<()> {
    let mut password = Zeroizing::new(wide(text.expose()));
    let info = USER_INFO_1003 { usri1003_password: password.as_mut_ptr() };
    set(user, 1003, (&raw const info).cast())
}

/// Asks for a new password at the next login.
pub(super) fn expire_password(user: &str) -> Result<Change> {
    let buffer = info(user, 3)?;
    // SAFETY: level 3 was asked for.
    let known = unsafe { &*buffer.0.cast::<USER_INFO_3>() };
    if known.usri3_password_expired != 0 {
        return Ok(Change::Same);
    }
    // One that never expires can't be expired.
    let flags = USER_INFO_1008 { usri1008_flags: known.usri3_flags & !UF_DONT_EXPIRE_PASSWD };
    set(user, 1008, (&raw const flags).cast())?;
    let buffer = info(user, 3)?;
    // SAFETY: as above; the texts in it live until the buffer is freed.
    let mut whole = unsafe { *buffer.0.cast::<USER_INFO_3>() };
    whole.usri3_password = ptr::null_mut();
    whole.usri3_password_expired = 1;
    set(user, 3, (&raw const whole).cast())?;
    Ok(Change::Changed)
}

fn groups_of(user: &str) -> Result<Vec<String>> {
    let name = wide(user);
    let mut buffer = Buffer(ptr::null_mut());
    let (mut read, mut total) = (0, 0);
    // SAFETY: a text that ends with a zero, and places for what comes.
    let status = unsafe {
        NetUserGetLocalGroups(
            ptr::null(),
            name.as_ptr(),
            0,
            LG_INCLUDE_INDIRECT,
            &mut buffer.0,
            MAX_PREFERRED_LENGTH,
            &mut read,
            &mut total,
        )
    };
    match status {
        NO_SUCH_USER => return Err(missing(user)),
        status => checked(status).map_err(failed("NetUserGetLocalGroups"))?,
    }
    if buffer.0.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: as many entries as the call says, of level 0.
    let entries = unsafe {
        std::slice::from_raw_parts(buffer.0.cast::<LOCALGROUP_USERS_INFO_0>(), read as usize)
    };
    // SAFETY: the system's own texts.
    Ok(entries.iter().map(|entry| unsafe { pointed(entry.lgrui0_name) }).collect())
}

/// Makes a group, and takes those of its members in who are there.
pub(super) fn ensure_group(group: &str, members: &[String]) -> Result<Change> {
    let mut change = make_group(group)?;
    for member in members {
        if exists(member)? {
            change = change.and(add_member(group, member)?);
        }
    }
    Ok(change)
}

fn make_group(group: &str) -> Result<Change> {
    let mut name = wide(group);
    let info = LOCALGROUP_INFO_0 { lgrpi0_name: name.as_mut_ptr() };
    // SAFETY: a value of level 0, whose text lives until the call returns.
    match unsafe { NetLocalGroupAdd(ptr::null(), 0, (&raw const info).cast(), ptr::null_mut()) } {
        GROUP_EXISTS | ERROR_ALIAS_EXISTS => Ok(Change::Same),
        status => checked(status).map(|()| Change::Changed).map_err(failed("NetLocalGroupAdd")),
    }
}

fn add_member(group: &str, user: &str) -> Result<Change> {
    let (group, mut name) = (wide(group), wide(user));
    let member = LOCALGROUP_MEMBERS_INFO_3 { lgrmi3_domainandname: name.as_mut_ptr() };
    let member = (&raw const member).cast();
    // SAFETY: one value of level 3, whose text lives until the call returns.
    match unsafe { NetLocalGroupAddMembers(ptr::null(), group.as_ptr(), 3, member, 1) } {
        ERROR_MEMBER_IN_ALIAS => Ok(Change::Same),
        ERROR_NO_SUCH_MEMBER => Err(missing(user)),
        status => {
            checked(status).map_err(failed("NetLocalGroupAddMembers"))?;
            Ok(Change::Changed)
        }
    }
}

/// Makes a user an administrator, or one no longer.
pub(super) fn set_administrator(user: &str, is_one: bool) -> Result<Change> {
    if !exists(user)? {
        return if is_one { Err(missing(user)) } else { Ok(Change::Same) };
    }
    let administrators = administrators()?;
    if is_one {
        return add_member(&administrators, user);
    }
    if sid(user).is_some_and(|sid| sid.ends_with(BUILT_IN)) {
        return Ok(Change::Same);
    }
    let (group, mut name) = (wide(administrators), wide(user));
    let member = LOCALGROUP_MEMBERS_INFO_3 { lgrmi3_domainandname: name.as_mut_ptr() };
    let member = (&raw const member).cast();
    // SAFETY: one value of level 3, whose text lives until the call returns.
    match unsafe { NetLocalGroupDelMembers(ptr::null(), group.as_ptr(), 3, member, 1) } {
        ERROR_MEMBER_NOT_IN_ALIAS | ERROR_NO_SUCH_MEMBER => Ok(Change::Same),
        status => {
            checked(status).map_err(failed("NetLocalGroupDelMembers"))?;
            Ok(Change::Changed)
        }
    }
}

/// Whether a user is an administrator, also by way of another group.
pub(super) fn is_administrator(user: &str) -> Result<bool> {
    let administrators = administrators()?;
    Ok(groups_of(user)?.contains(&administrators))
}

/// The name of the administrators' group, which is translated: it is known by its number.
fn administrators() -> Result<String> {
    let look = || -> io::Result<String> {
        let mut sid = [0_u8; MAX_SID];
        let mut length = MAX_SID as u32;
        let place: PSID = sid.as_mut_ptr().cast();
        let (mut name, mut domain) = ([0_u16; 256], [0_u16; 256]);
        let (mut name_length, mut domain_length) = (256, 256);
        let mut kind: SID_NAME_USE = 0;
        // SAFETY: buffers of the lengths that are said.
        unsafe {
            succeeded(CreateWellKnownSid(
                WinBuiltinAdministratorsSid,
                ptr::null_mut(),
                place,
                &mut length,
            ))?;
            succeeded(LookupAccountSidW(
                ptr::null(),
                place,
                name.as_mut_ptr(),
                &mut name_length,
                domain.as_mut_ptr(),
                &mut domain_length,
                &mut kind,
            ))?;
        }
        Ok(narrow(&name))
    };
    look().map_err(failed("LookupAccountSid"))
}

/// A user's SID as a text; none where there is no such user.
pub(super) fn sid(user: &str) -> Option<String> {
    let name = wide(user);
    let mut sid = [0_u8; MAX_SID];
    let (mut length, mut domain_length) = (MAX_SID as u32, 256);
    let mut domain = [0_u16; 256];
    let mut kind: SID_NAME_USE = 0;
    let place: PSID = sid.as_mut_ptr().cast();
    // SAFETY: buffers of the lengths that are said.
    unsafe {
        succeeded(LookupAccountNameW(
            ptr::null(),
            name.as_ptr(),
            place,
            &mut length,
            domain.as_mut_ptr(),
            &mut domain_length,
            &mut kind,
        ))
        .ok()?;
        sid_text(place)
    }
}

/// A SID as a text.
///
/// # Safety
/// The pointer leads to a whole SID.
pub(super) unsafe fn sid_text(sid: PSID) -> Option<String> {
    let mut text = ptr::null_mut();
    // SAFETY: the caller promises a SID; the text is freed after it was copied.
    unsafe {
        succeeded(ConvertSidToStringSidW(sid, &mut text)).ok()?;
        let copy = pointed(text);
        LocalFree(text.cast());
        Some(copy)
    }
}

/// Makes a user's profile where it was never made, since nobody has logged in yet.
pub(super) fn make_profile(user: &str) -> Result<PathBuf> {
    let sid = sid(user).ok_or_else(|| missing(user))?;
    let (sid, name) = (wide(sid), wide(user));
    let mut path = [0_u16; 260];
    // SAFETY: texts that end with a zero, and a buffer of the length that is said.
    let result = unsafe { CreateProfile(sid.as_ptr(), name.as_ptr(), path.as_mut_ptr(), 260) };
    if result < 0 {
        let detail = format!("0x{:08X}", result.cast_unsigned());
        return Err(PlatformError::Tool { tool: "CreateProfile".into(), detail });
    }
    Ok(PathBuf::from(narrow(&path)))
}
