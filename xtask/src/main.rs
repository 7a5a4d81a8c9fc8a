//! `cargo xtask`: the project's chores. Each does its own set-up and can be run at any time.

mod build;
mod demo;
mod host;
mod setup;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

use setup::Purpose;

/// The project's chores.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Boot two real guests with the same IP and MAC, and log in to them
    Demo {
        /// End with one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Install what the other chores need (each of them does this for itself)
    Setup {
        /// What it is for
        #[arg(long = "for", value_enum, default_value = "test")]
        purpose: Purpose,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().chore {
        Chore::Demo { json } => demo::run(json),
        Chore::Setup { purpose } => {
            host::check(host::Need::Packages)?;
            setup::run(purpose)
        }
    }
}

/// The workspace's directory.
pub(crate) fn workspace() -> PathBuf {
    // Known at compile time: `cargo xtask` always compiles this where it runs it.
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().map_or_else(PathBuf::new, PathBuf::from)
}
