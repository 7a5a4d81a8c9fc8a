//! SIGHUP: start the program's file anew with the same arguments; the new process takes over.
//!
//! The file is the one that this process was started from, so that a package's new version is
//! what runs. systemd follows by MAINPID (sd_notify(3)); the new process is in the same control
//! group, since it is a child.

use std::{ffi::OsString, path::PathBuf, process::Command};

/// What has to be started.
#[derive(Debug)]
pub(crate) struct Upgrader {
    program: PathBuf,
    arguments: Vec<OsString>,
}

impl Upgrader {
    /// Remembers the file and the arguments of this process.
    pub(crate) fn new() -> std::io::Result<Self> {
        // At the start, while the link does not yet say "(deleted)".
        Ok(Self {
            program: std::env::current_exe()?,
            arguments: std::env::args_os().skip(1).collect(),
        })
    }

    /// Starts it. What becomes of it is its own and the takeover's business.
    pub(crate) fn start_successor(&self) {
        match Command::new(&self.program).args(&self.arguments).spawn() {
            Ok(mut child) => {
                tracing::info!(pid = child.id(), "successor started");
                // Reaped when it ends before this process does.
                std::thread::spawn(move || {
                    if let Ok(status) = child.wait() {
                        tracing::warn!(%status, "the successor has ended");
                    }
                });
            }
            Err(error) => tracing::error!(%error, "the successor could not be started"),
        }
    }
}
