//! Where the programs under test are.
//!
//! The harness runs what was built; it builds nothing. `cargo xtask test` and `cargo xtask demo`
//! build first and say where.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// The programs.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// `metadata-server`.
    pub server: PathBuf,
    /// `mezame`.
    pub operator: PathBuf,
    /// The guest agent, linked statically.
    pub agent: PathBuf,
    /// The same for Windows.
    pub agent_windows: PathBuf,
}

impl Binaries {
    /// Finds them in `$MEZAME_BINARIES` and `$MEZAME_AGENT`, or where cargo puts them.
    pub fn locate() -> Result<Self> {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
        let binaries =
            std::env::var_os("MEZAME_BINARIES").map_or_else(|| target.join("debug"), PathBuf::from);
        let agent = std::env::var_os("MEZAME_AGENT").map_or_else(
            || target.join("x86_64-unknown-linux-gnu/agent/guest-agent"),
            PathBuf::from,
        );
        let found = Self {
            server: binaries.join("metadata-server"),
            operator: binaries.join("mezame"),
            agent,
            agent_windows: std::env::var_os("MEZAME_AGENT_WINDOWS").map_or_else(
                || target.join("windows/x86_64-win7-windows-gnu/agent/guest-agent.exe"),
                PathBuf::from,
            ),
        };
        for path in [&found.server, &found.operator] {
            ensure!(
                path.exists(),
                "{} is not there; `cargo xtask test` builds it, and so does \
                 `cargo build -p metadata-server -p mezame-cli`",
                path.display()
            );
        }
        Ok(found)
    }
}
