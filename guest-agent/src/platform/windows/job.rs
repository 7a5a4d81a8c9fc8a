//! A program with all that it starts, as one job (Microsoft, "Job Objects").
//!
//! It is started suspended and put into the job before its first instruction, so nothing that it
//! starts is outside. The job's last handle is the agent's: where the agent dies, the script dies
//! with it, since a script that runs on while it is reported as interrupted would be a lie.

use std::{
    io,
    os::windows::{io::AsRawHandle, process::CommandExt},
    process::{Child, Command},
    ptr,
};

use windows_sys::Win32::System::{
    Diagnostics::ToolHelp::{
        CreateToolhelp32Snapshot, TH32CS_SNAPTHREAD, THREADENTRY32, Thread32First, Thread32Next,
    },
    JobObjects::{
        AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
        JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectExtendedLimitInformation,
        SetInformationJobObject, TerminateJobObject,
    },
    Threading::{CREATE_SUSPENDED, OpenThread, ResumeThread, THREAD_SUSPEND_RESUME},
};

use super::{handle::Handle, wide::succeeded};

/// A job with one program in it.
pub(super) struct Job(Handle);

impl Job {
    /// Starts a program in a job of its own.
    pub(super) fn start(command: &mut Command) -> io::Result<(Self, Child)> {
        // SAFETY: neither a name nor an access list.
        let job = Self(Handle::of(unsafe { CreateJobObjectW(ptr::null(), ptr::null()) })?);
        job.limit(JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE)?;
        let mut child = command.creation_flags(CREATE_SUSPENDED).spawn()?;
        // SAFETY: two open handles.
        let joined = succeeded(unsafe { AssignProcessToJobObject(job.0.0, child.as_raw_handle()) })
            .and_then(|()| resume(child.id()));
        if let Err(error) = joined {
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
        Ok((job, child))
    }

    /// Ends all that is in it.
    pub(super) fn end(&self) {
        // SAFETY: an open handle. Where nothing is in it, nothing is to be ended.
        unsafe { TerminateJobObject(self.0.0, 1) };
    }

    /// Lets go what a script that has ended leaves running, such as a server that it started.
    pub(super) fn release(self) {
        // Where that fails, what is left ends with the handle.
        let _ = self.limit(0);
    }

    fn limit(&self, flags: u32) -> io::Result<()> {
        let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        limits.BasicLimitInformation.LimitFlags = flags;
        // SAFETY: a value of the form that the class stands for, and its size.
        succeeded(unsafe {
            SetInformationJobObject(
                self.0.0,
                JobObjectExtendedLimitInformation,
                (&raw const limits).cast(),
                size_of::<JOBOBJECT_EXTENDED_LIMIT_INFORMATION>() as u32,
            )
        })
    }
}

/// Lets a process that was started suspended run: its only thread. (std hands that thread out in
/// no stable way.)
fn resume(process: u32) -> io::Result<()> {
    // SAFETY: all threads of the system; the handle is closed once.
    let all = Handle::of(unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0) })?;
    let mut entry = THREADENTRY32::default();
    entry.dwSize = size_of::<THREADENTRY32>() as u32;
    // SAFETY: an open snapshot and an entry with its size.
    let mut more = unsafe { Thread32First(all.0, &mut entry) } != 0;
    while more {
        if entry.th32OwnerProcessID == process {
            // SAFETY: the thread can't end before it has begun.
            let thread =
                Handle::of(unsafe { OpenThread(THREAD_SUSPEND_RESUME, 0, entry.th32ThreadID) })?;
            // SAFETY: an open handle.
            return match unsafe { ResumeThread(thread.0) } {
                u32::MAX => Err(io::Error::last_os_error()),
                _ => Ok(()),
            };
        }
        // SAFETY: as above.
        more = unsafe { Thread32Next(all.0, &mut entry) } != 0;
    }
    Err(io::ErrorKind::NotFound.into())
}
