//! Ending what a user runs: logins, what was started from them, and services of that user.
//!
//! A process is the user's if it has the user's number, real or effective (credentials(7)), or if
//! the kernel's audit knows it as started from a login of the user's: so a root shell that was got
//! by sudo ends too. An agent that was itself started from a login (by hand, or in a container that
//! was) goes by the numbers alone: everything around it would seem to be of that login. Never ends
//! the agent itself, nor anything of a number that is root's.

use std::{
    io,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::platform::{Change, PlatformError, Result};

/// How long they are given to end by themselves.
const GRACE: Duration = Duration::from_secs(2);
/// How long the kernel is given to end them.
const END: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(50);

/// Ends all processes of a user: SIGTERM, and after two seconds SIGKILL.
pub(super) fn end(uid: u32) -> Result<Change> {
    if uid == 0 || of(uid).is_empty() {
        return Ok(Change::Same);
    }
    for (signal, patience) in [(Signal::SIGTERM, GRACE), (Signal::SIGKILL, END)] {
        let until = Instant::now() + patience;
        let mut told: Vec<Pid> = Vec::new();
        loop {
            let running = of(uid);
            if running.is_empty() {
                return Ok(Change::Changed);
            }
            // What was started meanwhile is told too, and each only once.
            for pid in running {
                if !told.contains(&pid) {
                    // That it has ended is as wanted.
                    let _ = kill(pid, signal);
                    told.push(pid);
                }
            }
            if Instant::now() >= until {
                break;
            }
            std::thread::sleep(POLL);
        }
    }
    let what = "ending a user's processes";
    let source = io::Error::new(io::ErrorKind::TimedOut, "some don't end");
    Err(PlatformError::Process { what, source })
}

/// A user's processes that have not ended.
fn of(uid: u32) -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let own = std::process::id();
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own && *pid != 1 && belongs(*pid, uid))
        .filter_map(|pid| i32::try_from(pid).ok().map(Pid::from_raw))
        .collect()
}

fn belongs(pid: u32, uid: u32) -> bool {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    let Some(status) = read("status") else { return false };
    if is_zombie(&status) {
        return false;
    }
    has_uid(&status, uid) || (login("self").is_none() && login(&pid.to_string()) == Some(uid))
}

/// From whose login a process was started (proc_pid_loginuid(5)); none, if from nobody's or where
/// the kernel does not tell.
fn login(pid: &str) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/loginuid")).ok()?;
    text.trim().parse().ok().filter(|uid| *uid != u32::MAX)
}

fn is_zombie(status: &str) -> bool {
    status.lines().any(|line| line.starts_with("State:") && line.contains("Z ("))
}

fn has_uid(status: &str, uid: u32) -> bool {
    let wanted = uid.to_string();
    status
        .lines()
        .find_map(|line| line.strip_prefix("Uid:"))
        .is_some_and(|numbers| numbers.split_whitespace().take(2).any(|it| it == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_numbers_and_a_zombie_is_none() {
        let status = "Name:\tsh\nState:\tS (sleeping)\nUid:\t1000\t0\t0\t100\nGid:\t7\n";
        assert!(has_uid(status, 1000) && has_uid(status, 0));
        assert!(!has_uid(status, 100) && !has_uid(status, 7));
        assert!(!is_zombie(status) && is_zombie("State:\tZ (zombie)\n"));
    }
}
