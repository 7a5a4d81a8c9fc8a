//! `cargo xtask`: the project's chores. Each does its own set-up and can be run at any time.

mod agent;
mod bench;
mod bsd;
mod build;
mod debian_rust;
mod demo;
mod ebpf;
mod fuzz;
mod host;
mod kept;
mod setup;
mod suite;

use std::{path::PathBuf, process::ExitCode};

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
    /// Build the guest agent for a guest's system, as one file
    Agent {
        /// For which system
        #[arg(long, value_enum)]
        target: agent::Target,
    },
    /// Measure the programs beside their peers, one row a figure
    Bench(bench::Wanted),
    /// Say whether the agent's crate compiles for NetBSD and FreeBSD
    Bsd,
    /// Boot two real guests with the same IP and MAC, and log in to them
    Demo {
        /// End with one line of JSON
        #[arg(long)]
        json: bool,
    },
    /// Build the eBPF object from its source, and put it in place of the checked-in one
    Ebpf {
        /// Only say whether the checked-in object is of this source
        #[arg(long)]
        check: bool,
    },
    /// Try random and mutated inputs on all that reads what strangers wrote
    Fuzz(fuzz::Wanted),
    /// Install what the other chores need (each of them does this for itself)
    Setup {
        /// What it is for
        #[arg(long = "for", value_enum, default_value = "test")]
        purpose: Purpose,
    },
    /// Run every test, up to real guests under QEMU
    Test {
        /// Leave out what takes minutes: the eBPF rebuild, the BSDs, fuzzing and the real guests
        #[arg(long)]
        quick: bool,
        /// Only tests whose names contain one of these; an error if none is run
        names: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().chore) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<ExitCode> {
    match chore {
        Chore::Agent { target } => {
            host::check(host::Need::Packages)?;
            setup::run(Purpose::Agent)?;
            agent::run(&workspace(), target)?;
        }
        Chore::Bench(wanted) => bench::run(&wanted)?,
        Chore::Bsd => {
            host::check(host::Need::Packages)?;
            // They have the compiler in common.
            setup::run(Purpose::Ebpf)?;
            bsd::check(&workspace())?;
        }
        Chore::Demo { json } => demo::run(json)?,
        Chore::Ebpf { check } => {
            if !check {
                host::check(host::Need::Packages)?;
                setup::run(Purpose::Ebpf)?;
            }
            ebpf::run(&workspace(), &setup::cache_root(), check)?;
        }
        Chore::Fuzz(wanted) => {
            host::check(host::Need::DataPath)?;
            setup::run(Purpose::Fuzz)?;
            fuzz::run(&wanted)?;
        }
        Chore::Setup { purpose } => {
            host::check(host::Need::Packages)?;
            setup::run(purpose)?;
        }
        Chore::Test { quick, names } => return suite::run(&suite::Wanted { quick, names }),
    }
    Ok(ExitCode::SUCCESS)
}

/// The workspace's directory.
pub(crate) fn workspace() -> PathBuf {
    // As cargo says where it runs this. Where it compiled it may be another checkout, if several
    // share a target directory.
    let xtask = std::env::var_os("CARGO_MANIFEST_DIR");
    let xtask = xtask.unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    PathBuf::from(xtask).parent().map_or_else(PathBuf::new, PathBuf::from)
}
