//! Who may open a file: access lists, written in the security descriptor definition language
//! (Microsoft, "Security Descriptor String Format").

use std::{io, path::Path, ptr};

use windows_sys::Win32::{
    Foundation::LocalFree,
    Security::{
        ACL,
        Authorization::{
            ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1, SE_FILE_OBJECT,
            SetNamedSecurityInfoW,
        },
        DACL_SECURITY_INFORMATION, GetSecurityDescriptorDacl, PROTECTED_DACL_SECURITY_INFORMATION,
        PSECURITY_DESCRIPTOR,
    },
};

use super::wide::{checked, succeeded, wide};

/// For the system and administrators, whatever the directory above says; what is made in a
/// directory has it as well. sshd wants exactly this of `administrators_authorized_keys`
/// (Microsoft, "Key-based authentication in OpenSSH for Windows").
const PRIVATE: &str = "D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)";
/// The same of a file.
const PRIVATE_FILE: &str = "D:PAI(A;;FA;;;SY)(A;;FA;;;BA)";

/// Makes a file or a directory one for the system and administrators alone.
pub(super) fn make_private(path: &Path) -> io::Result<()> {
    set(path, if path.is_dir() { PRIVATE } else { PRIVATE_FILE })
}

/// Makes a file one for the system, administrators and a user, by the user's SID.
pub(super) fn make_private_for(path: &Path, sid: &str) -> io::Result<()> {
    let inherit = if path.is_dir() { "OICI" } else { "" };
    let list = format!("D:PAI(A;{inherit};FA;;;SY)(A;{inherit};FA;;;BA)(A;{inherit};FA;;;{sid})");
    set(path, &list)
}

fn set(path: &Path, list: &str) -> io::Result<()> {
    let (path, list) = (wide(path), wide(list));
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
    let result = unsafe {
        succeeded(GetSecurityDescriptorDacl(descriptor, &mut present, &mut entries, &mut defaulted))
            .and_then(|()| {
                checked(SetNamedSecurityInfoW(
                    path.as_ptr(),
                    SE_FILE_OBJECT,
                    DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION,
                    ptr::null_mut(),
                    ptr::null_mut(),
                    entries,
                    ptr::null(),
                ))
            })
    };
    // SAFETY: it was made by the call above, and is used no more.
    unsafe { LocalFree(descriptor) };
    result
}
