//! `cargo xtask bench`: sets up, builds what is measured, and becomes `mezame-bench`.

use std::os::unix::process::CommandExt;

use anyhow::{Context, Result};

use crate::{
    build, host,
    setup::{self, Purpose},
};

/// What is to be measured, and how it is to be shown.
#[derive(Debug, clap::Args)]
pub(crate) struct Wanted {
    /// One JSON object a row instead of a table
    #[arg(long)]
    json: bool,
    /// Only rows whose names begin so, such as `get.`
    #[arg(long, value_name = "PREFIX")]
    only: Option<String>,
    /// End with 1 if a row misses what is wanted of it, or could not be measured
    #[arg(long)]
    strict: bool,
}

/// Measures in place of this process, so that signals reach it directly. Comes back only with an
/// error.
pub(crate) fn run(wanted: &Wanted) -> Result<()> {
    host::check(host::Need::DataPath)?;
    setup::run(Purpose::Bench)?;
    let programs = build::released(&["metadata-server", "mezame-cli", "mezame-bench"])?;
    let agent = build::agent()?;
    let mut bench = std::process::Command::new(programs.join("mezame-bench"));
    bench.env("MEZAME_BINARIES", &programs).env("MEZAME_AGENT", &agent);
    if wanted.json {
        bench.arg("--json");
    }
    if let Some(prefix) = &wanted.only {
        bench.args(["--only", prefix]);
    }
    if wanted.strict {
        bench.arg("--strict");
    }
    Err(bench.exec()).context("starting the bench")
}
