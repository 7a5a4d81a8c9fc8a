//! `cargo xtask test`: every check of the project, and one count at the end.
//!
//! format → lints → the eBPF object from its source → the agent's crate for the BSDs → fuzz targets,
//! shortly → programs and tests are built → all tests, from units to real guests → documented examples. Nothing is left out silently:
//! what is left out is in the count, with its reason. A test that can't run here fails.

mod junit;
mod tally;

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};

use crate::{
    agent, bsd, build, ebpf, fuzz, host,
    setup::{self, Purpose},
    workspace,
};
use tally::Tally;

/// What is to be run.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Leave out what takes minutes: the eBPF rebuild, the BSDs, fuzzing and the real guests.
    pub(crate) quick: bool,
    /// Only tests whose names contain one of these; all of them without.
    pub(crate) names: Vec<String>,
}

/// Why something is left out.
const QUICK: &str = "left out by --quick";

/// Runs the suite. Success only if nothing failed.
pub(crate) fn run(wanted: &Wanted) -> Result<ExitCode> {
    host::check(host::Need::DataPath)?;
    setup::run(Purpose::Test)?;
    let mut tally = Tally::default();
    if wanted.names.is_empty() {
        tally.check("format", || build::run(build::cargo("fmt").args(["--all", "--check"])));
        tally.check("lints", || {
            build::run(build::cargo("clippy").args([
                "--workspace",
                "--all-targets",
                "--quiet",
                "--",
                "--deny",
                "warnings",
            ]))
        });
    }
    let mut object = None;
    if wanted.quick || !wanted.names.is_empty() {
        let why = if wanted.quick { QUICK } else { "left out by a filter" };
        tally.skip("the eBPF object from its source", why);
        tally.skip("the agent's crate for NetBSD and FreeBSD", why);
    } else {
        tally.check("the checked-in eBPF object is of its source", || {
            ebpf::verify_digest(&workspace())
        });
        tally.check("the eBPF object from its source", || {
            object = Some(ebpf::build(&workspace(), &setup::cache_root())?);
            Ok(())
        });
        tally.check("the agent's crate for NetBSD and FreeBSD", || bsd::check(&workspace()));
    }
    if wanted.quick || !wanted.names.is_empty() {
        let why = if wanted.quick { QUICK } else { "left out by a filter" };
        tally.skip("a short run of each fuzz target", why);
    } else {
        for (name, check) in fuzz::short() {
            tally.check(&name, check);
        }
    }
    let mut built = None;
    tally.check("programs and tests", || {
        let programs = build::programs_and_tests()?;
        let (agent, windows) = (build::agent()?, agent::windows(&workspace())?);
        built = Some(Built { programs, agent, windows, object });
        Ok(())
    });
    if let Some(built) = &built {
        tests(wanted, built, &mut tally)?;
        if wanted.names.is_empty() {
            tally.check("documented examples", || {
                build::run(build::cargo("test").args(["--workspace", "--doc", "--quiet"]))
            });
        }
    } else {
        tally.skip("all tests", "the programs and tests could not be built");
    }
    Ok(tally.close())
}

/// What the tests are run on.
struct Built {
    /// The directory of the programs.
    programs: PathBuf,
    /// The guest agent.
    agent: PathBuf,
    /// The same for Windows.
    windows: PathBuf,
    /// The eBPF object that was built from source, if one was.
    object: Option<PathBuf>,
}

/// All tests of the workspace, each in a process of its own.
fn tests(wanted: &Wanted, built: &Built, tally: &mut Tally) -> Result<()> {
    // Its own default, which `CARGO_TARGET_DIR` does not move.
    let report = workspace().join("target/nextest/whole/junit.xml");
    // What an earlier run reported must not be counted if this one never gets to write its own.
    if let Err(error) = std::fs::remove_file(&report)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error).context("removing an old report");
    }
    let mut nextest = build::cargo("nextest");
    nextest.args(["run", "--workspace", "--profile", "whole", "--no-tests=warn"]);
    if wanted.quick {
        let guests = "package(mezame-tests) & test(/^(guests|backup|clones|encrypted_roots::guest|durability::guest|iscsi|migration|volumes)::/)";
        nextest.args(["--filterset", &format!("not ({guests})")]);
        tally.skip("real guests under QEMU", QUICK);
    }
    nextest.env("MEZAME_BINARIES", &built.programs).env("MEZAME_AGENT", &built.agent);
    nextest.env("MEZAME_AGENT_WINDOWS", &built.windows);
    if let Some(object) = &built.object {
        nextest.env("MEZAME_EBPF_OBJECT", object);
    }
    nextest.args(&wanted.names);
    let is_good = status_of(&mut nextest)?;
    match junit::read(&report).and_then(|text| junit::count(&text, tally)) {
        Ok(0) if is_good => tally.fail("tests", &no_such_test(wanted)),
        Ok(_) if is_good || tally.has_failures() => {}
        Ok(_) => tally.fail("cargo nextest", "it failed, and no test of its report did"),
        Err(error) => tally.fail("cargo nextest", &format!("{error:#}")),
    }
    Ok(())
}

/// Why no test was run, though all went well: a name that no test has would pass otherwise.
fn no_such_test(wanted: &Wanted) -> String {
    let but = if wanted.quick { ", real guests excepted," } else { "" };
    format!("no test{but} has a name that contains {}", wanted.names.join(" or "))
}

fn status_of(command: &mut Command) -> Result<bool> {
    let status = command
        .current_dir(workspace())
        .status()
        .with_context(|| format!("starting {command:?}"))?;
    Ok(status.success())
}
