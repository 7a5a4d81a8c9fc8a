//! What `mezame volume leftover` takes.

use clap::Subcommand;

/// Of `volume leftover`.
#[derive(Debug, Subcommand)]
pub enum LeftoverCommand {
    /// Show the old contents that restores in place have kept
    #[command(after_help = "Examples:
  mezame volume leftover list

Those of volumes that are not known are not deleted: look at them.")]
    List,
    /// Delete some of them
    #[command(after_help = "Examples:
  mezame volume leftover delete default/web-root.restored-0.raw")]
    Delete {
        /// The pool and the file, as 'list' shows them
        #[arg(value_name = "POOL/FILE", required = true)]
        files: Vec<LeftoverArgument>,
    },
}

/// A pool, and a file in it.
#[derive(Debug, Clone)]
pub struct LeftoverArgument {
    /// The pool.
    pub pool: String,
    /// The file.
    pub file: String,
}

impl std::str::FromStr for LeftoverArgument {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b);
        let is_name = |name: &str| !name.is_empty() && name.bytes().all(fits);
        match text.split_once('/') {
            Some((pool, file)) if is_name(pool) && is_name(file) => {
                Ok(Self { pool: pool.into(), file: file.into() })
            }
            _ => Err("a pool and a file, such as default/web-root.restored-0.raw"),
        }
    }
}
