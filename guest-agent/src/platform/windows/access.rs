//! Who may open a file: access lists, written in the security descriptor definition language
//! (Microsoft, "Security Descriptor String Format").

use std::{fs::File, io, os::windows::io::AsRawHandle, path::Path, ptr};

use windows_sys::Win32::{
    Foundation::LocalFree,
    Security::{
        ACL,
        Authorization::{
            ConvertSecurityDescriptorToStringSecurityDescriptorW,
            ConvertStringSecurityDescriptorToSecurityDescriptorW, GetSecurityInfo, SDDL_REVISION_1,
            SE_FILE_OBJECT, SetNamedSecurityInfoW, SetSecurityInfo,
        },
        DACL_SECURITY_INFORMATION, GetSecurityDescriptorDacl, OWNER_SECURITY_INFORMATION,
        PROTECTED_DACL_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR,
    },
};

use super::{
    way,
    wide::{checked, pointed, succeeded, wide},
};
use crate::{
    platform::{PlatformError, Result},
    sddl::{self, Kind},
};

/// For the system and administrators, whatever the directory above says; what is made in a
/// directory has it as well. sshd wants exactly this of `administrators_authorized_keys`
/// (Microsoft, "Key-based authentication in OpenSSH for Windows").
const PRIVATE: &str = "D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)";
/// The same of a file.
const PRIVATE_FILE: &str = "D:PAI(A;;FA;;;SY)(A;;FA;;;BA)";

/// Makes a directory one for the system and administrators alone.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    let path = wide(path);
    with(PRIVATE, |entries| {
        // SAFETY: a text that ends with a zero, and a list that lives until the call returns.
        checked(unsafe {
            SetNamedSecurityInfoW(
                path.as_ptr(),
                SE_FILE_OBJECT,
                DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION,
                ptr::null_mut(),
                ptr::null_mut(),
                entries,
                ptr::null(),
            )
        })
    })
}

/// Makes an open file one for the system and administrators, and for one user more, by the user's
/// SID.
pub(super) fn restrict(file: &File, sid: Option<&str>) -> io::Result<()> {
    let more = sid.map_or(String::new(), |sid| format!("(A;;FA;;;{sid})"));
    with(&format!("{PRIVATE_FILE}{more}"), |entries| {
        // SAFETY: an open file, and a list that lives until the call returns.
        checked(unsafe {
            SetSecurityInfo(
                file.as_raw_handle(),
                SE_FILE_OBJECT,
                DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION,
                ptr::null_mut(),
                ptr::null_mut(),
                entries,
                ptr::null(),
            )
        })
    })
}

/// Refuses what somebody else than the system and administrators owns or could change.
pub(super) fn check_ours(file: &File, path: &Path, kind: Kind) -> Result<()> {
    let described =
        description(file).map_err(|source| PlatformError::File { path: path.into(), source })?;
    if sddl::outsider(&described, kind).is_none() {
        return Ok(());
    }
    let why = "others than SYSTEM and Administrators own it or may change it";
    Err(PlatformError::Untrusted { path: path.into(), why })
}

/// The same by its path; that it is not there is fine.
pub(super) fn check_ours_at(path: &Path, kind: Kind) -> Result<()> {
    let failed = |source| PlatformError::File { path: path.into(), source };
    let file = match way::open_as_it_is(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(failed)?,
    };
    if way::is_link(&file).map_err(failed)? {
        let why = "it is a symbolic link or a junction";
        return Err(PlatformError::Untrusted { path: path.into(), why });
    }
    check_ours(&file, path, kind)
}

/// Owner and access list of an open file, as a text.
fn description(file: &File) -> io::Result<String> {
    let wanted = OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION;
    let mut descriptor: PSECURITY_DESCRIPTOR = ptr::null_mut();
    // SAFETY: an open file, and a place for the descriptor; no part of it is asked for alone.
    checked(unsafe {
        GetSecurityInfo(
            file.as_raw_handle(),
            SE_FILE_OBJECT,
            wanted,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            &mut descriptor,
        )
    })?;
    let mut text = ptr::null_mut();
    // SAFETY: the descriptor was just made; both are freed once, after the text was copied.
    unsafe {
        let made = succeeded(ConvertSecurityDescriptorToStringSecurityDescriptorW(
            descriptor,
            SDDL_REVISION_1,
            wanted,
            &mut text,
            ptr::null_mut(),
        ))
        .map(|()| pointed(text));
        LocalFree(text.cast());
        LocalFree(descriptor);
        made
    }
}

/// Has something done with a list that is written as a text.
fn with(list: &str, set: impl FnOnce(*const ACL) -> io::Result<()>) -> io::Result<()> {
    let list = wide(list);
    let mut descriptor: PSECURITY_DESCRIPTOR = ptr::null_mut();
    // SAFETY: the text ends with a zero, and the descriptor goes into a place of its type.
    succeeded(unsafe {
        ConvertStringSecurityDescriptorToSecurityDescriptorW(
            list.as_ptr(),
            SDDL_REVISION_1,
            &mut descriptor,
            ptr::null_mut(),
        )
    })?;
    let (mut present, mut defaulted) = (0, 0);
    let mut entries: *mut ACL = ptr::null_mut();
    // SAFETY: the descriptor was just made, and the list is a part of it until it is freed below.
    let got = succeeded(unsafe {
        GetSecurityDescriptorDacl(descriptor, &mut present, &mut entries, &mut defaulted)
    });
    let result = got.and_then(|()| set(entries));
    // SAFETY: it was made by the call above, and is used no more.
    unsafe { LocalFree(descriptor) };
    result
}
