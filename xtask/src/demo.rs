//! `cargo xtask demo`: sets up, builds, and becomes the demo.

use std::os::unix::process::CommandExt;

use anyhow::{Context, Result};

use crate::{
    build, host,
    setup::{self, Purpose},
};

/// Runs the demo in place of this process, so that signals reach it directly. Comes back only
/// with an error.
pub(crate) fn run(json: bool) -> Result<()> {
    host::check(host::Need::DataPath)?;
    setup::run(Purpose::Demo)?;
    let programs = build::released(&["metadata-server", "mezame-cli", "mezame-tests"])?;
    let agent = build::agent()?;
    let mut demo = std::process::Command::new(programs.join("demo"));
    demo.env("MEZAME_BINARIES", &programs).env("MEZAME_AGENT", &agent);
    if json {
        demo.arg("--json");
    }
    Err(demo.exec()).context("starting the demo")
}
