//! The service `sshd` of OpenSSH for Windows: started anew, so that it reads its settings. What is
//! logged in stays so: each session is a process of its own.

use std::{
    io, ptr,
    time::{Duration, Instant},
};

use windows_sys::Win32::{
    Foundation::ERROR_SERVICE_DOES_NOT_EXIST,
    System::Services::{
        CloseServiceHandle, ControlService, OpenSCManagerW, OpenServiceW, QueryServiceStatus,
        SC_HANDLE, SC_MANAGER_CONNECT, SERVICE_CONTROL_STOP, SERVICE_QUERY_STATUS, SERVICE_START,
        SERVICE_STATUS, SERVICE_STOP, SERVICE_STOPPED, StartServiceW,
    },
};

use super::wide::{succeeded, wide};
use crate::platform::{PlatformError, Result};

/// How long its end is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// A handle of the service manager's.
struct Handle(SC_HANDLE);

impl Handle {
    fn of(raw: SC_HANDLE) -> io::Result<Self> {
        if raw.is_null() { Err(io::Error::last_os_error()) } else { Ok(Self(raw)) }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: it was opened, and is closed once.
        unsafe { CloseServiceHandle(self.0) };
    }
}

/// Whether it runs, or is about to.
pub(super) fn runs() -> Result<bool> {
    let runs = || match open()? {
        Some(service) => Ok(status(&service)?.dwCurrentState != SERVICE_STOPPED),
        None => Ok(false),
    };
    runs().map_err(failed)
}

/// Stops it where it runs, and starts it.
pub(super) fn restart() -> Result<()> {
    let restart = || {
        let Some(service) = open()? else { return Ok(()) };
        stop(&service)?;
        // SAFETY: an open handle, and no words.
        succeeded(unsafe { StartServiceW(service.0, 0, ptr::null()) })
    };
    restart().map_err(failed)
}

fn failed(error: io::Error) -> PlatformError {
    PlatformError::Tool { tool: "the service sshd".to_owned(), detail: error.to_string() }
}

/// The service; none where there is none.
fn open() -> io::Result<Option<Handle>> {
    let name = wide("sshd");
    // SAFETY: no machine and no database means this one and the usual one.
    let manager =
        Handle::of(unsafe { OpenSCManagerW(ptr::null(), ptr::null(), SC_MANAGER_CONNECT) })?;
    let access = SERVICE_QUERY_STATUS | SERVICE_START | SERVICE_STOP;
    // SAFETY: an open handle and a text that ends with a zero.
    match Handle::of(unsafe { OpenServiceW(manager.0, name.as_ptr(), access) }) {
        Err(error) if error.raw_os_error() == Some(ERROR_SERVICE_DOES_NOT_EXIST.cast_signed()) => {
            Ok(None)
        }
        other => other.map(Some),
    }
}

fn status(service: &Handle) -> io::Result<SERVICE_STATUS> {
    let mut status = SERVICE_STATUS::default();
    // SAFETY: an open handle and a place for a status.
    succeeded(unsafe { QueryServiceStatus(service.0, &mut status) })?;
    Ok(status)
}

fn stop(service: &Handle) -> io::Result<()> {
    let until = Instant::now() + PATIENCE;
    while status(service)?.dwCurrentState != SERVICE_STOPPED {
        if Instant::now() >= until {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut told = SERVICE_STATUS::default();
        // SAFETY: as above. One that begins takes no orders yet, and that it stops already is as
        // wanted: it is looked at again.
        unsafe { ControlService(service.0, SERVICE_CONTROL_STOP, &mut told) };
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
