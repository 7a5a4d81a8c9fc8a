//! Texts and errors as Windows has them: UTF-16 with a zero at the end, and numbers.

use std::{ffi::OsStr, io, os::windows::ffi::OsStrExt};

/// A text for a system call. What stands behind a zero would be cut off there, so it is cut here.
pub(super) fn wide(text: impl AsRef<OsStr>) -> Vec<u16> {
    text.as_ref().encode_wide().take_while(|unit| *unit != 0).chain([0]).collect()
}

/// A text that a system call wrote into a buffer, up to its zero.
pub(super) fn narrow(units: &[u16]) -> String {
    let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    String::from_utf16_lossy(&units[..end])
}

/// A text that a system call points to; empty where there is none.
///
/// # Safety
/// The pointer is null, or leads to a text that ends with a zero and stays as it is meanwhile.
pub(super) unsafe fn pointed(text: *const u16) -> String {
    if text.is_null() {
        return String::new();
    }
    let mut length = 0;
    // SAFETY: the caller promises a zero, and nothing behind it is read.
    while unsafe { *text.add(length) } != 0 {
        length += 1;
    }
    // SAFETY: as many units as were just read.
    String::from_utf16_lossy(unsafe { std::slice::from_raw_parts(text, length) })
}

/// The error of a call that returns its number; none for 0.
pub(super) fn checked(status: u32) -> io::Result<()> {
    match status {
        0 => Ok(()),
        // The numbers are small; std keeps them signed.
        status => Err(io::Error::from_raw_os_error(status.cast_signed())),
    }
}

/// The error of a call that returns whether it went well.
pub(super) fn succeeded(went_well: i32) -> io::Result<()> {
    if went_well != 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
