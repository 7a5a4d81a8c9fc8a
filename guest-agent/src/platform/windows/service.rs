//! The agent as a service: installed, removed, and run as the service manager wants it
//! (winsvc.h).
//!
//! ```text
//!   install ─► SERVICE_AUTO_START ─► boot ─► StartPending ─► Running ─► Stopped
//!                                                               ▲ stop, shutdown │
//!                                                               └── restarted where it failed
//! ```
//! It starts with the system, before anybody logs on, as LocalSystem. A stop ends the process
//! within a moment: whatever it was doing, the ledger has it, as after a kill.

use std::{
    ffi::OsString,
    io,
    process::ExitCode,
    ptr,
    sync::{
        OnceLock,
        atomic::{AtomicPtr, Ordering},
    },
    time::{Duration, Instant},
};

use windows_sys::Win32::{
    Foundation::{
        ERROR_CALL_NOT_IMPLEMENTED, ERROR_SERVICE_DOES_NOT_EXIST, ERROR_SERVICE_EXISTS, NO_ERROR,
    },
    System::Services::{
        ChangeServiceConfig2W, CloseServiceHandle, ControlService, CreateServiceW, DeleteService,
        OpenSCManagerW, OpenServiceW, QueryServiceStatus, RegisterServiceCtrlHandlerExW, SC_ACTION,
        SC_ACTION_RESTART, SC_HANDLE, SC_MANAGER_ALL_ACCESS, SERVICE_ACCEPT_SHUTDOWN,
        SERVICE_ACCEPT_STOP, SERVICE_ALL_ACCESS, SERVICE_AUTO_START, SERVICE_CONFIG_DESCRIPTION,
        SERVICE_CONFIG_FAILURE_ACTIONS, SERVICE_CONFIG_FAILURE_ACTIONS_FLAG,
        SERVICE_CONTROL_INTERROGATE, SERVICE_CONTROL_SHUTDOWN, SERVICE_CONTROL_STOP,
        SERVICE_DESCRIPTIONW, SERVICE_ERROR_NORMAL, SERVICE_FAILURE_ACTIONS_FLAG,
        SERVICE_FAILURE_ACTIONSW, SERVICE_RUNNING, SERVICE_STATUS, SERVICE_STOP_PENDING,
        SERVICE_STOPPED, SERVICE_TABLE_ENTRYW, SERVICE_WIN32_OWN_PROCESS, SetServiceStatus,
        StartServiceCtrlDispatcherW,
    },
};

use super::{
    event_log,
    wide::{succeeded, wide},
};
use crate::platform::{Change, PlatformError, Result, ServiceOrder};

/// The name by which the service manager and the event log know the agent.
pub(super) const NAME: &str = "MezameGuestAgent";
const TITLE: &str = "Mezame guest agent";
const ABOUT: &str = "Configures this guest from the metadata service at its link-local address.";
/// How long a stop is waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the service manager is given to hear that a stop was understood.
const FAREWELL: Duration = Duration::from_millis(100);
/// Restarted so often after it failed, each time after this many milliseconds.
const RESTARTS: [u32; 3] = [1_000, 5_000, 30_000];

fn failed(what: &'static str) -> impl Fn(io::Error) -> PlatformError {
    move |error| PlatformError::Tool { tool: what.to_owned(), detail: error.to_string() }
}

/// A handle of the service manager's.
struct Handle(SC_HANDLE);

impl Handle {
    fn of(raw: SC_HANDLE) -> io::Result<Self> {
        if raw.is_null() { Err(io::Error::last_os_error()) } else { Ok(Self(raw)) }
    }

    fn manager() -> io::Result<Self> {
        // SAFETY: no machine and no database means this one and the usual one.
        Self::of(unsafe { OpenSCManagerW(ptr::null(), ptr::null(), SC_MANAGER_ALL_ACCESS) })
    }

    fn service(&self) -> io::Result<Self> {
        let name = wide(NAME);
        // SAFETY: an open handle and a text that ends with a zero.
        Self::of(unsafe { OpenServiceW(self.0, name.as_ptr(), SERVICE_ALL_ACCESS) })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: it was opened, and is closed once.
        unsafe { CloseServiceHandle(self.0) };
    }
}

/// Installs or removes the service.
pub(crate) fn order(order: ServiceOrder, words: &[String]) -> Result<Change> {
    let manager = Handle::manager().map_err(failed("the service manager"))?;
    match order {
        ServiceOrder::Install => install(&manager, words).map_err(failed("CreateService")),
        ServiceOrder::Uninstall => uninstall(&manager).map_err(failed("DeleteService")),
    }
}

fn install(manager: &Handle, words: &[String]) -> io::Result<Change> {
    event_log::install()?;
    let program = std::env::current_exe()?;
    let (name, title) = (wide(NAME), wide(TITLE));
    let line = wide(command_line(&program.display().to_string(), words));
    // SAFETY: an open handle and texts that end with a zero; null is the usual in its place.
    let raw = unsafe {
        CreateServiceW(
            manager.0,
            name.as_ptr(),
            title.as_ptr(),
            SERVICE_ALL_ACCESS,
            SERVICE_WIN32_OWN_PROCESS,
            SERVICE_AUTO_START,
            SERVICE_ERROR_NORMAL,
            line.as_ptr(),
            ptr::null(),
            ptr::null_mut(),
            ptr::null(),
            ptr::null(),
            ptr::null(),
        )
    };
    let service = match Handle::of(raw) {
        Err(error) if error.raw_os_error() == Some(ERROR_SERVICE_EXISTS.cast_signed()) => {
            return Ok(Change::Same);
        }
        other => other?,
    };
    let mut about = wide(ABOUT);
    let about = SERVICE_DESCRIPTIONW { lpDescription: about.as_mut_ptr() };
    let mut actions = RESTARTS.map(|delay| SC_ACTION { Type: SC_ACTION_RESTART, Delay: delay });
    let failure = SERVICE_FAILURE_ACTIONSW {
        dwResetPeriod: 600,
        lpRebootMsg: ptr::null_mut(),
        lpCommand: ptr::null_mut(),
        cActions: actions.len() as u32,
        lpsaActions: actions.as_mut_ptr(),
    };
    // Also where it ends with an error, and not only where it dies.
    let flag = SERVICE_FAILURE_ACTIONS_FLAG { fFailureActionsOnNonCrashFailures: 1 };
    // SAFETY: an open handle, and values of the form that each number stands for. Without any of
    // them the service works as well.
    unsafe {
        ChangeServiceConfig2W(service.0, SERVICE_CONFIG_DESCRIPTION, (&raw const about).cast());
        ChangeServiceConfig2W(
            service.0,
            SERVICE_CONFIG_FAILURE_ACTIONS,
            (&raw const failure).cast(),
        );
        ChangeServiceConfig2W(
            service.0,
            SERVICE_CONFIG_FAILURE_ACTIONS_FLAG,
            (&raw const flag).cast(),
        );
    }
    Ok(Change::Changed)
}

/// Each word in quotes: the words are paths and URLs, which hold none (a path can't).
fn command_line(program: &str, words: &[String]) -> OsString {
    let all = std::iter::once(program).chain(words.iter().map(String::as_str));
    // A backslash before a quote would take its meaning (Microsoft, "Parsing C command-line
    // arguments").
    let quoted = all.map(|word| {
        let tail = word.len() - word.trim_end_matches('\\').len();
        format!("\"{word}{}\"", "\\".repeat(tail))
    });
    quoted.collect::<Vec<_>>().join(" ").into()
}

fn uninstall(manager: &Handle) -> io::Result<Change> {
    event_log::uninstall()?;
    let service = match manager.service() {
        Err(error) if error.raw_os_error() == Some(ERROR_SERVICE_DOES_NOT_EXIST.cast_signed()) => {
            return Ok(Change::Same);
        }
        other => other?,
    };
    let mut status = SERVICE_STATUS::default();
    let until = Instant::now() + PATIENCE;
    // SAFETY: an open handle and a place for a status. That it does not run is as wanted.
    unsafe { ControlService(service.0, SERVICE_CONTROL_STOP, &mut status) };
    loop {
        // SAFETY: as above.
        succeeded(unsafe { QueryServiceStatus(service.0, &mut status) })?;
        if status.dwCurrentState == SERVICE_STOPPED || Instant::now() >= until {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    // SAFETY: an open handle.
    succeeded(unsafe { DeleteService(service.0) }).map(|()| Change::Changed)
}

static WORK: OnceLock<fn() -> ExitCode> = OnceLock::new();
static STATUS: AtomicPtr<core::ffi::c_void> = AtomicPtr::new(ptr::null_mut());

/// Runs as a service until it is asked to end. Fails where nobody but a person has started it.
pub(crate) fn serve(work: fn() -> ExitCode) -> Result<()> {
    let _ = WORK.set(work);
    let mut name = wide(NAME);
    let table = [
        SERVICE_TABLE_ENTRYW { lpServiceName: name.as_mut_ptr(), lpServiceProc: Some(main) },
        SERVICE_TABLE_ENTRYW { lpServiceName: ptr::null_mut(), lpServiceProc: None },
    ];
    // SAFETY: a table that ends with an empty entry; name and table live until the call returns.
    succeeded(unsafe { StartServiceCtrlDispatcherW(table.as_ptr()) })
        .map_err(failed("only the service manager can start this"))
}

unsafe extern "system" fn main(_count: u32, _words: *mut *mut u16) {
    let name = wide(NAME);
    // SAFETY: a text that ends with a zero, and a function that lives as long as the process.
    let status =
        unsafe { RegisterServiceCtrlHandlerExW(name.as_ptr(), Some(control), ptr::null()) };
    STATUS.store(status, Ordering::SeqCst);
    tell(SERVICE_RUNNING, 0);
    let went_well = WORK.get().is_none_or(|work| work() == ExitCode::SUCCESS);
    // Without the number of an error it would not count as a failure, and not be restarted.
    tell(SERVICE_STOPPED, if went_well { 0 } else { 1 });
}

unsafe extern "system" fn control(
    what: u32,
    _event: u32,
    _data: *mut core::ffi::c_void,
    _context: *mut core::ffi::c_void,
) -> u32 {
    match what {
        SERVICE_CONTROL_STOP | SERVICE_CONTROL_SHUTDOWN => {
            tell(SERVICE_STOP_PENDING, 0);
            // Not from here: who asks for the stop waits for this to return.
            std::thread::spawn(|| {
                std::thread::sleep(FAREWELL);
                tell(SERVICE_STOPPED, 0);
                std::process::exit(0);
            });
            NO_ERROR
        }
        SERVICE_CONTROL_INTERROGATE => NO_ERROR,
        _ => ERROR_CALL_NOT_IMPLEMENTED,
    }
}

fn tell(state: u32, error: u32) {
    let is_running = state == SERVICE_RUNNING;
    let status = SERVICE_STATUS {
        dwServiceType: SERVICE_WIN32_OWN_PROCESS,
        dwCurrentState: state,
        dwControlsAccepted: if is_running {
            SERVICE_ACCEPT_STOP | SERVICE_ACCEPT_SHUTDOWN
        } else {
            0
        },
        dwWin32ExitCode: error,
        ..SERVICE_STATUS::default()
    };
    // SAFETY: the handle that registering gave, and a whole status. Nobody is there to hear of an
    // error.
    unsafe { SetServiceStatus(STATUS.load(Ordering::SeqCst), &status) };
}
