//! Debian's Rust (`rustc-web`, `cargo-web`, `rust-web-src`), which comes with the source of the
//! standard library: for targets that rustup has no library for.
//!
//! Neither downloads nor installs anything; the set-up does.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

/// The compiler.
pub(crate) const RUSTC: &str = "/usr/bin/rustc";
/// The build tool.
pub(crate) const CARGO: &str = "/usr/bin/cargo";

/// Its cargo with a subcommand, allowed to build parts of the standard library (`-Z build-std`).
/// Cargo and rustc of rustup, under which the chores run, must not leak into it.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let mut cargo = Command::new(CARGO);
    for variable in std::env::vars_os().map(|(name, _)| name) {
        let text = variable.to_string_lossy();
        if text.starts_with("RUST") || (text.starts_with("CARGO") && text != "CARGO_HOME") {
            cargo.env_remove(&variable);
        }
    }
    cargo.arg(subcommand).env("RUSTC", RUSTC).env("RUSTC_BOOTSTRAP", "1");
    cargo
}

/// Flags that keep this machine's paths out of what is built. The workspace's own crates need none:
/// cargo names their files relative to the workspace, and a flag with its path would make everything
/// be compiled anew in each clone.
pub(crate) fn remap() -> Result<Vec<String>> {
    let home = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let home = home.context("neither CARGO_HOME nor a home directory is known")?;
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    // Of those that fit, rustc takes the last.
    let mut flags = vec![remap(&home, "/cargo")];
    // The registry's directory has a name made from its address.
    let registry = home.join("registry/src");
    if let Ok(entries) = fs::read_dir(&registry) {
        for entry in entries {
            flags.push(remap(&entry?.path(), "/crates"));
        }
    }
    Ok(flags)
}
