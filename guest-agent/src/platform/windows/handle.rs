//! A handle of the kernel's that is closed once, whoever opened it (Microsoft, "Handles and
//! Objects"). It knows nothing of what it is a handle to.

use std::io;

use windows_sys::Win32::Foundation::{CloseHandle, HANDLE, INVALID_HANDLE_VALUE};

/// An open handle.
pub(super) struct Handle(pub(super) HANDLE);

impl Handle {
    /// What a call gave, or why it gave none: some say so by null and some by another value.
    pub(super) fn of(raw: HANDLE) -> io::Result<Self> {
        if raw.is_null() || raw == INVALID_HANDLE_VALUE {
            return Err(io::Error::last_os_error());
        }
        Ok(Self(raw))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: it was opened, and is closed once.
        unsafe { CloseHandle(self.0) };
    }
}
