//! cargo-nextest, which runs the tests: each in a process of its own, with groups and time limits.

use std::process::{Command, Stdio};

use anyhow::Result;

use super::progress::Step;

/// One that the Rust of the workspace's `rust-version` compiles.
const VERSION: &str = "0.9.143";

/// Installs it where no version of it is there.
pub(crate) fn install() -> Result<()> {
    let there = Command::new("cargo")
        .args(["nextest", "--version"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if there {
        return Ok(());
    }
    let step = Step::begin("cargo-nextest");
    step.line("cargo-nextest is installed to run the tests, each in a process of its own");
    step.run(
        Command::new("cargo").args(["install", "--locked", "cargo-nextest", "--version", VERSION]),
        |line| step.note(line.trim()),
    )?;
    step.done(VERSION);
    Ok(())
}
