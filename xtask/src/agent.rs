//! `cargo xtask agent`: the guest agent as one file, for the guests' systems.
//!
//! For Windows the standard library is built from Debian's source of it, with Debian's compiler and
//! the linker of mingw-w64. The target is the one that asks for Windows 7 and not for Windows 10: so
//! the program runs on every Windows that is still about, and under Debian's Wine, where the tests
//! run it (the other target wants a `bcryptprimitives.dll`, which that Wine has not).

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;

use crate::{build, debian_rust, kept::Kept};

/// A guest's system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    /// Linux on x86-64, linked statically
    Linux,
    /// Windows on x86-64, from Windows 7 and Server 2008 R2 on
    Windows,
}

const WINDOWS: &str = "x86_64-win7-windows-gnu";
const WINDOWS_LINKER: &str = "x86_64-w64-mingw32-gcc";

/// Builds it, and says where it is.
pub(crate) fn run(root: &Path, target: Target) -> Result<()> {
    let path = match target {
        Target::Linux => build::agent()?,
        Target::Windows => windows(root)?,
    };
    println!("{} ({} bytes)", path.display(), std::fs::metadata(&path)?.len());
    Ok(())
}

/// Builds the agent for Windows, and gives its path.
pub(crate) fn windows(root: &Path) -> Result<PathBuf> {
    let kept = Kept::open("windows")?;
    let mut cargo = debian_rust::cargo("build");
    cargo
        .current_dir(root)
        .args(["--locked", "--profile", "agent", "--package", "guest-agent"])
        .args(["--target", WINDOWS, "-Z", "build-std=std,panic_abort"])
        .arg("--config")
        .arg(format!("target.{WINDOWS}.linker={WINDOWS_LINKER:?}"))
        .env("CARGO_TARGET_DIR", kept.directory())
        .env("CARGO_ENCODED_RUSTFLAGS", debian_rust::remap()?.join("\x1f"));
    build::run(&mut cargo)?;
    kept.take(&Path::new(WINDOWS).join("agent/guest-agent.exe"), Path::new("windows"))
}
