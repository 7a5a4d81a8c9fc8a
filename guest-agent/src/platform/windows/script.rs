//! Running programs: the tenant's scripts in cmd.exe and PowerShell, and the few tools that are
//! needed.
//!
//! A script runs without input, with the environment of the agent (as a service: the system's), and
//! its output in a file that has an end.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::job::Job;
use crate::{
    platform::{
        PlatformError, Result, ScriptEnd,
        running::{self, End},
    },
    step::{Language, PowerShell, Script},
    windows_script,
};

/// How long a tool of the system's may take.
const TOOL_TIME: Duration = Duration::from_secs(300);

/// Where a script and its output are kept, and what it is told of the place.
pub(super) struct Place<'a> {
    /// The agent's own directory.
    pub(super) state: &'a Path,
    /// In a rehearsal, the root.
    pub(super) rehearsal: Option<&'a Path>,
}

/// Runs a script to its end.
pub(super) fn run(
    place: &Place<'_>,
    script: &Script,
    timeout: Option<Duration>,
) -> Result<(ScriptEnd, String)> {
    let (body, extension) = match &script.language {
        Language::Batch => (windows_script::batch(&script.body), "cmd"),
        Language::PowerShell(_) => (windows_script::power_shell(&script.body), "ps1"),
        Language::Shebang => {
            return Err(PlatformError::Unsupported { what: "it is for Unix's shells" });
        }
    };
    let path = place.state.join("scripts").join(format!("{}.{extension}", script.name));
    let log = place.state.join("output").join(format!("{}.log", script.name));
    for file in [&path, &log] {
        let directory = file.parent().unwrap_or(place.state);
        fs::create_dir_all(directory).map_err(|source| file_error(directory, source))?;
    }
    fs::write(&path, body).map_err(|source| file_error(&path, source))?;
    let output = File::create(&log).map_err(|source| file_error(&log, source))?;
    let mut command = match &script.language {
        Language::PowerShell(shell) => power_shell(shell, &path),
        _ => {
            let mut command = Command::new(system_directory().join("cmd.exe"));
            // `/d`: what an administrator's registry has cmd.exe run first is none of ours.
            command.args(["/d", "/c"]).arg(&path);
            command
        }
    };
    let root = place.rehearsal.map_or_else(super::super::root, Path::to_path_buf);
    command.current_dir(&root);
    if place.rehearsal.is_some() {
        // A rehearsal: the script is told where the files are that were written.
        command.env("MEZAME_ROOT", &root);
    }
    finish(command, &path, Some(output), timeout)
}

fn power_shell(shell: &PowerShell, path: &Path) -> Command {
    // Ours are 64 bits: System32 is the wide one, and SysWOW64 the narrow.
    let directory = match shell.narrow {
        true => windows_directory().join("SysWOW64"),
        false => system_directory(),
    };
    let mut command = Command::new(directory.join(r"WindowsPowerShell\v1.0\powershell.exe"));
    if shell.arguments.is_empty() {
        command.args(["-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Bypass"]);
    } else {
        command.args(&shell.arguments);
    }
    command.arg("-File").arg(path);
    command
}

/// Runs a tool of the system's that must end well, and gives the end of what it said.
pub(super) fn tool(name: &str, words: &[&str]) -> Result<String> {
    let path = system_directory().join(name);
    let mut command = Command::new(&path);
    command.args(words).current_dir(super::super::root());
    match finish(command, &path, None, Some(TOOL_TIME))? {
        (ScriptEnd::Exited(0), tail) => Ok(tail),
        (other, tail) => Err(PlatformError::Tool {
            tool: name.to_owned(),
            detail: format!("{other:?}: {}", tail.trim_end()),
        }),
    }
}

/// Runs one word of Windows PowerShell's language that must end well, and gives the end of what it
/// said.
pub(super) fn powershell(text: &str) -> Result<String> {
    let shell = r"WindowsPowerShell\v1.0\powershell.exe";
    tool(shell, &["-NoProfile", "-NonInteractive", "-Command", text])
}

fn finish(
    mut command: Command,
    path: &Path,
    log: Option<File>,
    timeout: Option<Duration>,
) -> Result<(ScriptEnd, String)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (job, child) = Job::start(&mut command).map_err(|source| file_error(path, source))?;
    let (end, tail) = running::wait(child, log, timeout, |child| {
        job.end();
        let _ = child.wait();
    });
    job.release();
    let end = match end {
        End::TimedOut => ScriptEnd::TimedOut,
        End::Ended(status) => ScriptEnd::Exited(status.code().unwrap_or(-1)),
        End::Lost => ScriptEnd::Killed(0),
    };
    Ok((end, tail))
}

fn file_error(path: &Path, source: std::io::Error) -> PlatformError {
    PlatformError::File { path: path.into(), source }
}

pub(super) fn windows_directory() -> PathBuf {
    std::env::var_os("SystemRoot").map_or_else(|| PathBuf::from(r"C:\Windows"), PathBuf::from)
}

pub(super) fn system_directory() -> PathBuf {
    windows_directory().join("System32")
}
