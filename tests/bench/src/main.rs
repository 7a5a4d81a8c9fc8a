//! `mezame-bench`: runs the measurements and prints their rows.
//!
//! Started by `cargo xtask bench`, which builds what is measured and says where it is
//! (`$MEZAME_BINARIES`, `$MEZAME_AGENT`).

use std::{path::PathBuf, process::ExitCode};

use clap::Parser;
use mezame_bench::{peer, plan, row};

/// Measures Mezame beside its peers.
#[derive(Debug, Parser)]
struct Arguments {
    /// One JSON object a row instead of a table.
    #[arg(long)]
    json: bool,
    /// Only rows whose name begins so.
    #[arg(long, value_name = "PREFIX", default_value = "")]
    only: String,
    /// End with 1 if a row misses what is wanted of it, or could not be measured.
    #[arg(long)]
    strict: bool,
    /// Serves as what stands behind the proxy that is compared with, on this unix socket.
    #[arg(long, hide = true)]
    upstream: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if let Some(socket) = &arguments.upstream {
        peer::upstream::serve(socket)?;
    }
    let mut rows = Vec::new();
    for measurement in plan::measurements(&arguments.only) {
        eprintln!("measuring {} …", measurement.names());
        for row in measurement.run() {
            if !row.name.starts_with(&arguments.only) {
                continue;
            }
            if arguments.json {
                println!("{}", serde_json::to_string(&row)?);
            }
            rows.push(row);
        }
    }
    if !arguments.json {
        print!("{}", row::table(&rows));
    }
    let missed = rows.iter().any(|row| row.verdict().is_some_and(|(_, holds)| !holds));
    let is_empty = rows.is_empty();
    Ok(if arguments.strict && (missed || is_empty) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
