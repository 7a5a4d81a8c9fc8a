//! Ending what runs as a user: sessions at the console and by Remote Desktop, and processes in any
//! (Microsoft, "Remote Desktop Services API", "Tool Help Library").
//!
//! sshd's sessions and services are in session 0, which nobody logs off: so all processes with the
//! user's SID in their token are ended, too. In which order, [`eviction`](crate::eviction) says.

use std::{io, ptr, time::Duration};

use windows_sys::Win32::{
    Foundation::HANDLE,
    Security::{GetTokenInformation, TOKEN_QUERY, TOKEN_USER, TokenUser},
    System::{
        Diagnostics::ToolHelp::{
            CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW,
            TH32CS_SNAPPROCESS,
        },
        RemoteDesktop::{
            WTS_CURRENT_SERVER_HANDLE, WTS_INFO_CLASS, WTS_SESSION_INFOW, WTSDomainName,
            WTSEnumerateSessionsW, WTSFreeMemory, WTSLogoffSession, WTSQuerySessionInformationW,
            WTSUserName,
        },
        Threading::{
            OpenProcess, OpenProcessToken, PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_TERMINATE,
            TerminateProcess,
        },
    },
};

use super::{
    accounts,
    handle::Handle,
    wide::{pointed, succeeded},
};
use crate::{
    eviction::{Presence, evict},
    platform::{Change, PlatformError, Result},
};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// What a process that was ended leaves as its status.
const ENDED: u32 = 1;
/// Room for a user's SID with what stands before it, in units of eight bytes.
const TOKEN_ROOM: usize = 32;

/// Ends all that runs as the user of this SID.
pub(super) fn end(sid: &str) -> Result<Change> {
    evict(&User { sid })
}

/// The user of a SID.
struct User<'a> {
    sid: &'a str,
}

impl Presence for User<'_> {
    type Process = Handle;

    fn sessions(&self) -> Result<Vec<u32>> {
        let all = all().map_err(failed("listing the sessions"))?;
        Ok(all.into_iter().filter(|it| owner(*it).as_deref() == Some(self.sid)).collect())
    }

    fn log_off(&self, session: u32) -> Result<()> {
        // SAFETY: the number of a session, on this machine; it is not waited for.
        let asked = unsafe { WTSLogoffSession(WTS_CURRENT_SERVER_HANDLE, session, 0) };
        succeeded(asked).map_err(failed("logging a session off"))
    }

    fn processes(&self) -> Result<Vec<Handle>> {
        processes(self.sid).map_err(failed("listing the processes"))
    }

    fn end(&self, process: Handle) {
        // SAFETY: an open handle. One that is ending already can't be ended again.
        unsafe { TerminateProcess(process.0, ENDED) };
    }

    fn left(&self) -> PlatformError {
        failed("ending the processes")(io::ErrorKind::TimedOut.into())
    }

    fn pause(&self) {
        std::thread::sleep(PAUSE);
    }
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> PlatformError {
    move |source| PlatformError::Process { what, source }
}

/// The numbers of all sessions.
fn all() -> io::Result<Vec<u32>> {
    let mut list: *mut WTS_SESSION_INFOW = ptr::null_mut();
    let mut count = 0;
    // SAFETY: places for what comes; the list is copied before it is freed.
    unsafe {
        succeeded(WTSEnumerateSessionsW(WTS_CURRENT_SERVER_HANDLE, 0, 1, &mut list, &mut count))?;
        let sessions = std::slice::from_raw_parts(list, count as usize);
        let numbers = sessions.iter().map(|session| session.SessionId).collect();
        WTSFreeMemory(list.cast());
        Ok(numbers)
    }
}

/// The SID of a session's user; none where nobody is logged in there.
fn owner(session: u32) -> Option<String> {
    let (user, domain) = (text(session, WTSUserName)?, text(session, WTSDomainName)?);
    if user.is_empty() { None } else { accounts::sid(&format!(r"{domain}\{user}")) }
}

fn text(session: u32, what: WTS_INFO_CLASS) -> Option<String> {
    let mut text = ptr::null_mut();
    let mut bytes = 0;
    // SAFETY: places for what comes; the text ends with a zero, and is copied before it is freed.
    unsafe {
        succeeded(WTSQuerySessionInformationW(
            WTS_CURRENT_SERVER_HANDLE,
            session,
            what,
            &mut text,
            &mut bytes,
        ))
        .ok()?;
        let copy = pointed(text);
        WTSFreeMemory(text.cast());
        Some(copy)
    }
}

/// The processes of the user of this SID, open to be ended.
fn processes(sid: &str) -> io::Result<Vec<Handle>> {
    // SAFETY: no process is named.
    let snapshot = Handle::of(unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0) })?;
    let size = size_of::<PROCESSENTRY32W>() as u32;
    let mut entry = PROCESSENTRY32W { dwSize: size, ..PROCESSENTRY32W::default() };
    let mut found = Vec::new();
    // SAFETY: an open snapshot, and an entry that says its size.
    let mut more = unsafe { Process32FirstW(snapshot.0, &mut entry) };
    while more != 0 {
        let access = PROCESS_TERMINATE | PROCESS_QUERY_LIMITED_INFORMATION;
        // SAFETY: the number of a process. Those that can't be opened are the system's own.
        let process = Handle::of(unsafe { OpenProcess(access, 0, entry.th32ProcessID) });
        // Its owner is asked for by the handle: the number may be another process's by now.
        if let Ok(process) = process
            && runs_as(&process).is_ok_and(|owner| owner.as_deref() == Some(sid))
        {
            found.push(process);
        }
        // SAFETY: as above.
        more = unsafe { Process32NextW(snapshot.0, &mut entry) };
    }
    Ok(found)
}

/// The SID of a process's user.
fn runs_as(process: &Handle) -> io::Result<Option<String>> {
    let mut token: HANDLE = ptr::null_mut();
    // SAFETY: an open process, and a place for a handle.
    succeeded(unsafe { OpenProcessToken(process.0, TOKEN_QUERY, &mut token) })?;
    let token = Handle::of(token)?;
    let mut buffer = [0_u64; TOKEN_ROOM];
    let mut length = 0;
    // SAFETY: an open token, and a buffer of the length that is said, aligned for what comes; the
    // SID stands in the same buffer.
    unsafe {
        succeeded(GetTokenInformation(
            token.0,
            TokenUser,
            buffer.as_mut_ptr().cast(),
            (TOKEN_ROOM * 8) as u32,
            &mut length,
        ))?;
        let user = &*buffer.as_ptr().cast::<TOKEN_USER>();
        Ok(accounts::sid_text(user.User.Sid))
    }
}
