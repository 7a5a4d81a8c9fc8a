//! The log: structured events on standard error, as text for people or JSON for programs.

use anyhow::Context;
use serde::Deserialize;
use tracing_subscriber::EnvFilter;

/// The form of a line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// How the log is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogSettings {
    /// Its form.
    pub(crate) format: Format,
    /// What is let through, as `RUST_LOG` says it.
    pub(crate) filter: String,
}

/// Starts it. Lines of the target `audit` are let through at any level.
pub(crate) fn start(settings: &LogSettings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(format!("{},audit=info", settings.filter))
        .with_context(|| format!("log_level {:?} is not valid", settings.filter))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.format {
        Format::Text => {
            use std::io::IsTerminal;
            builder.with_ansi(std::io::stderr().is_terminal()).init();
        }
        Format::Json => builder.json().flatten_event(true).init(),
    }
    Ok(())
}
