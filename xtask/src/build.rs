//! Builds the programs that a chore runs, with cargo's own progress.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};

use crate::workspace;

/// The agent's target: named, so that its flags don't reach build scripts.
const AGENT_TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds these packages' programs for release, and gives the directory that they are in.
pub(crate) fn released(packages: &[&str]) -> Result<PathBuf> {
    let mut cargo = cargo("build");
    cargo.arg("--release");
    for package in packages {
        cargo.args(["--package", package]);
    }
    run(cargo.arg("--bins"))?;
    Ok(target().join("release"))
}

/// Builds all programs and tests, quickly, and gives the directory of the programs.
///
/// All at once, since what a dependency is compiled with depends on who is built: some packages' programs,
/// and then all tests, would compile most of it twice.
pub(crate) fn programs_and_tests() -> Result<PathBuf> {
    run(cargo("build").args(["--workspace", "--bins", "--tests"]))?;
    Ok(target().join("debug"))
}

/// Builds the guest agent, linked statically, so that it runs in any guest.
pub(crate) fn agent() -> Result<PathBuf> {
    run(cargo("build")
        .args(["--profile", "agent", "--package", "guest-agent", "--target", AGENT_TARGET])
        .env("RUSTFLAGS", "-C target-feature=+crt-static"))?;
    Ok(target().join(AGENT_TARGET).join("agent/guest-agent"))
}

/// `cargo` with a subcommand, in the workspace.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.arg(subcommand).current_dir(workspace());
    cargo
}

/// Runs a command that must succeed, with its output shown.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting {command:?}"))?;
    ensure!(status.success(), "{command:?} ended with {status}");
    Ok(())
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| workspace().join("target"), |path| workspace().join(path))
}
