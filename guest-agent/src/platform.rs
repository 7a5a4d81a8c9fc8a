//! The operating system behind a trait: everything that a step does to the guest.
//!
//! This is the only file that selects by operating system. To add one, put a file beside
//! `platform/linux.rs`, implement [`Platform`], run the contract suite in `platform/contract.rs`
//! against it, and add it to [`native`].
//!
//! Each operation on state is idempotent: it says whether it changed anything, and doing it again
//! after a crash in its middle completes it.

mod abilities;
mod error;
pub mod fake;
#[cfg(target_os = "linux")]
pub mod linux;
pub mod machine;
pub mod rehearsal;
pub mod restart;
#[cfg(any(target_os = "linux", windows))]
mod running;
#[cfg(windows)]
pub mod windows;

#[cfg(test)]
mod contract;

use std::{io, path::PathBuf};

pub use self::{
    abilities::{Change, EndpointPath, NetworkGuard, PasswordForm, Platform, ScriptEnd},
    error::{PlatformError, Result},
};
use mezame_model::Report;

use crate::{
    doctor::instruments::Instruments,
    facts::System,
    freeze::{
        freezer::Recovered,
        orders::{Hands, Unable},
    },
    settings::Settings,
};

/// Has files that are made with these options readable by root alone.
#[cfg(unix)]
pub fn make_private(options: &mut std::fs::OpenOptions) {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
}

/// Has files that are made with these options readable by the system alone: elsewhere by the
/// directory's own access list.
#[cfg(not(unix))]
pub fn make_private(_options: &mut std::fs::OpenOptions) {}

/// Makes a directory that only root enters; that it is there already is fine.
pub fn create_private_directory(path: &std::path::Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
        // On Windows the settings lie there, and users may make files below ProgramData.
        #[cfg(windows)]
        windows::make_private(parent)?;
    }
    #[allow(unused_mut, reason = "changed on Unix only")]
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        other => other?,
    }
    #[cfg(windows)]
    windows::make_private(path)?;
    Ok(())
}

/// Reads the agent's settings; none where there are none. Those of a running Windows must be the
/// system's and administrators' alone: elsewhere only root writes there.
pub fn read_settings(path: &std::path::Path, _live: bool) -> Result<Option<Vec<u8>>> {
    #[cfg(windows)]
    if _live {
        return windows::read_settings(path);
    }
    match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PlatformError::File { path: path.into(), source }),
        Ok(bytes) => Ok(Some(bytes)),
    }
}

/// Puts the names in a directory on the disk.
#[cfg(unix)]
pub fn sync_directory(path: &std::path::Path) -> io::Result<()> {
    std::fs::File::open(path)?.sync_all()
}

/// Puts the names in a directory on the disk: elsewhere the file system does so by itself.
#[cfg(not(unix))]
pub fn sync_directory(_path: &std::path::Path) -> io::Result<()> {
    Ok(())
}

/// The kind of system that this binary is for.
#[cfg(not(windows))]
pub const SYSTEM: System = System::Unix;
/// The kind of system that this binary is for.
#[cfg(windows)]
pub const SYSTEM: System = System::Windows;

/// The running system's root directory: another one is a rehearsal's.
pub fn root() -> PathBuf {
    match SYSTEM {
        System::Unix => PathBuf::from("/"),
        System::Windows => {
            let drive = std::env::var("SystemDrive").unwrap_or_else(|_| "C:".into());
            PathBuf::from(format!("{drive}\\"))
        }
    }
}

/// Has a socket's packets leave through one device and no other (SO_BINDTODEVICE; on Windows
/// IP_UNICAST_IF).
pub fn bind_to_device(socket: &socket2::Socket, device: &str, is_ipv4: bool) -> io::Result<()> {
    #[cfg(not(windows))]
    let _ = is_ipv4;
    #[cfg(target_os = "linux")]
    return socket.bind_device(Some(device.as_bytes()));
    #[cfg(windows)]
    return windows::bind_to_device(socket, device, is_ipv4);
    #[cfg(not(any(target_os = "linux", windows)))]
    return Err(io::Error::new(
        io::ErrorKind::Unsupported,
        format!("can't bind {socket:?} to {device}"),
    ));
}

/// The platform that this binary runs on.
#[cfg(target_os = "linux")]
pub fn native(settings: &Settings) -> Result<Box<dyn Platform>> {
    Ok(Box::new(linux::Linux::new(settings)?))
}

/// The platform that this binary runs on.
#[cfg(windows)]
pub fn native(settings: &Settings) -> Result<Box<dyn Platform>> {
    Ok(Box::new(windows::Windows::new(settings)?))
}

/// The platform that this binary runs on.
#[cfg(not(any(target_os = "linux", windows)))]
pub fn native(_settings: &Settings) -> Result<Box<dyn Platform>> {
    Err(PlatformError::Unsupported {
        what: "the agent for this system is guest-agent.sh (docs/appliances.md)",
    })
}

/// What freezes this system's file systems for a backup.
#[cfg(target_os = "linux")]
pub fn hands(settings: &Settings) -> Box<dyn Hands> {
    if settings.freeze {
        Box::new(linux::freeze::LinuxHands::default())
    } else {
        Box::new(Unable("it is switched off in this guest's settings (freeze: false)"))
    }
}

/// What freezes this system's file systems for a backup: nothing.
#[cfg(not(target_os = "linux"))]
pub fn hands(_settings: &Settings) -> Box<dyn Hands> {
    // By VSS it takes a requester of backups (COM), which could be tried on no Windows yet.
    Box::new(Unable("this agent can't freeze the file systems of this system"))
}

/// Thaws what an agent has left frozen that was killed.
#[cfg(target_os = "linux")]
pub fn thaw_leftovers() -> Recovered {
    linux::freeze::thaw_leftovers()
}

/// Thaws what an agent has left frozen: on this system there is nothing.
#[cfg(not(target_os = "linux"))]
pub fn thaw_leftovers() -> Recovered {
    Recovered::default()
}

/// Is the process that freezes, until it has thawed.
#[cfg(target_os = "linux")]
pub fn help_to_freeze(bound: std::time::Duration) -> io::Result<()> {
    linux::freeze::help(bound)
}

/// Is the process that freezes: on this system there is none.
#[cfg(not(target_os = "linux"))]
pub fn help_to_freeze(_bound: std::time::Duration) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// What the doctor looks with on the platform that this binary runs on.
#[cfg(target_os = "linux")]
pub fn instruments(settings: &Settings) -> Box<dyn Instruments> {
    Box::new(linux::instruments(settings))
}

/// What the doctor looks with: on this platform, nothing but the platform itself.
#[cfg(not(target_os = "linux"))]
pub fn instruments(_settings: &Settings) -> Box<dyn Instruments> {
    Box::new(crate::doctor::instruments::Blind)
}

/// What the system's service manager is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServiceOrder {
    /// Know the agent, and start it with the system.
    Install,
    /// Stop it, and know it no more.
    Uninstall,
}

/// Asks the system's service manager for something. `words` are what the agent is started with.
#[cfg(windows)]
pub fn order_service(order: ServiceOrder, words: &[String]) -> Result<Change> {
    windows::service::order(order, words)
}

/// Asks the system's service manager for something.
#[cfg(not(windows))]
pub fn order_service(_order: ServiceOrder, _words: &[String]) -> Result<Change> {
    Err(PlatformError::Unsupported {
        what: "only on Windows the agent installs itself: see docs/agent.md",
    })
}

/// Runs as the service manager wants it, until it asks for the end.
#[cfg(windows)]
pub fn serve(work: fn() -> std::process::ExitCode) -> Result<()> {
    windows::service::serve(work)
}

/// Runs as the service manager wants it.
#[cfg(not(windows))]
pub fn serve(_work: fn() -> std::process::ExitCode) -> Result<()> {
    Err(PlatformError::Unsupported { what: "this system has no such services: use `watch`" })
}

/// Tells people what happens: on standard error, and in the system's log where a service has no
/// other place.
pub fn say(weight: Weight, text: &str) {
    eprintln!("guest-agent: {text}");
    #[cfg(windows)]
    windows::event_log::write(weight, text);
    #[cfg(not(windows))]
    let _ = weight;
}

/// Writes a run's end into the system's log, where it has one for that.
pub fn log_run(is_good: bool, report: &Report) {
    #[cfg(windows)]
    {
        let weight = if is_good { Weight::Run } else { Weight::FailedRun };
        // Every user reads that log, and what a script has said may be a secret.
        let mut report = report.clone();
        report.steps.iter_mut().for_each(|step| step.detail.clear());
        windows::event_log::write(weight, &crate::status::text(&report));
    }
    #[cfg(not(windows))]
    let _ = (is_good, report);
}

/// How much a message weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weight {
    /// A run came to its end.
    Run,
    /// A run in which a step failed.
    FailedRun,
    /// What the agent waits for.
    Waiting,
    /// The agent can't go on.
    Fatal,
    /// The guest is rebooted.
    Reboot,
}
