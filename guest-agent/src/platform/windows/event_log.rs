//! The event log (Windows Logs, Application), since a service has no other place to say something.
//!
//! | Event | When |
//! |---|---|
//! | 1 | a run came to its end |
//! | 2 | a run in which a step failed |
//! | 3 | what the agent waits for, or found on its way |
//! | 4 | the agent can't go on |
//! | 5 | the guest is rebooted |
//!
//! The texts are shown by the system's own `EventCreate.exe`, whose messages 1 to 1000 are nothing
//! but the text that comes with an event: a message table of ours would need a tool chain of its
//! own. What can't be logged is not: the log must never be what an agent fails by.

use std::{io, ptr};

use windows_sys::Win32::System::EventLog::{
    DeregisterEventSource, EVENTLOG_ERROR_TYPE, EVENTLOG_INFORMATION_TYPE, EVENTLOG_WARNING_TYPE,
    RegisterEventSourceW, ReportEventW,
};

use super::{registry::Registry, service::NAME, wide::wide};
use crate::platform::Weight;

const SOURCE: &str = r"SYSTEM\CurrentControlSet\Services\EventLog\Application";
const MESSAGES: &str = r"%SystemRoot%\System32\EventCreate.exe";
/// The log takes 31,839 characters a text (Microsoft, "ReportEventW").
const MAX_TEXT: usize = 30_000;

/// Writes an event.
pub(crate) fn write(weight: Weight, text: &str) {
    let (id, kind) = match weight {
        Weight::Run => (1, EVENTLOG_INFORMATION_TYPE),
        Weight::FailedRun => (2, EVENTLOG_WARNING_TYPE),
        Weight::Waiting => (3, EVENTLOG_INFORMATION_TYPE),
        Weight::Fatal => (4, EVENTLOG_ERROR_TYPE),
        Weight::Reboot => (5, EVENTLOG_INFORMATION_TYPE),
    };
    let text: String = text.chars().take(MAX_TEXT).collect();
    let (source, text) = (wide(NAME), wide(text));
    let texts = [text.as_ptr()];
    // SAFETY: texts that end with a zero; the handle is closed once.
    unsafe {
        let log = RegisterEventSourceW(ptr::null(), source.as_ptr());
        if log.is_null() {
            return;
        }
        ReportEventW(log, kind, 0, id, ptr::null_mut(), 1, 0, texts.as_ptr(), ptr::null());
        DeregisterEventSource(log);
    }
}

/// Makes the log know where the texts of our events are.
pub(super) fn install() -> io::Result<()> {
    let key = Registry::new(true).create(&format!(r"{SOURCE}\{NAME}"), false)?;
    key.set_text("EventMessageFile", MESSAGES)?;
    key.set_number("TypesSupported", 7)
}

/// Takes that away.
pub(super) fn uninstall() -> io::Result<()> {
    Registry::new(true).delete(&format!(r"{SOURCE}\{NAME}"))
}
