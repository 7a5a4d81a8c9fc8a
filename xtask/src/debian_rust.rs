//! Debian's Rust (`rustc-web`), which comes with the source of the standard library: for targets that
//! rustup has no library for.
//!
//! Neither downloads nor installs anything; the set-up does.

use std::process::Command;

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
