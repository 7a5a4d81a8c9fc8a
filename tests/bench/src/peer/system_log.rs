//! The system's log, as a Debian machine has it: rsyslogd writing lines to a file.
//!
//! A proxy that logs each request makes somebody else read, format and write a line, which is part
//! of what a request costs. It runs wherever the system puts it, as a system's log does: no
//! request waits for it. Has a socket and a file of its own, and never touches those of the
//! machine.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use mezame_tests::{
    process::{self, Background},
    wait::{self, SOON},
};

use crate::peer::program;

/// A running rsyslogd.
#[derive(Debug)]
pub(super) struct SystemLog {
    _process: Background,
    /// Where it takes lines, as `/dev/log` elsewhere.
    pub(super) socket: PathBuf,
}

impl SystemLog {
    /// Starts it; works in the folder `home`.
    pub(super) fn start(home: &Path) -> anyhow::Result<Self> {
        let socket = home.join("log.sock");
        let settings = home.join("rsyslog.conf");
        fs::write(&settings, settings_of(&socket, &home.join("syslog")))
            .context("writing rsyslogd's settings")?;
        let mut command = process::command(program("rsyslogd")?);
        command.arg("-n").arg("-f").arg(&settings).arg("-i").arg(home.join("rsyslogd.pid"));
        let mut process = Background::start("rsyslogd", &mut command, &home.join("rsyslogd.log"))?;
        wait::until("the log's socket", SOON, || {
            process.ensure_running()?;
            anyhow::ensure!(socket.exists(), "it is not there");
            Ok(())
        })?;
        Ok(Self { _process: process, socket })
    }
}

/// Debian's own rule for all that has no file of its own: `-` is "don't wait for the disk".
fn settings_of(socket: &Path, file: &Path) -> String {
    format!(
        "module(load=\"imuxsock\" SysSock.Use=\"off\")
input(type=\"imuxsock\" Socket=\"{}\")
*.*;auth,authpriv.none -{}
",
        socket.display(),
        file.display()
    )
}
