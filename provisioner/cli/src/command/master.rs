//! What `mezame volume master` takes.

use clap::Subcommand;

/// Of `volume master`.
#[derive(Debug, Subcommand)]
pub enum MasterCommand {
    /// Show the masters, what they take and how many volumes stand on each
    #[command(after_help = "Examples:
  mezame volume master list
  mezame volume master list -o json")]
    List,
    /// Delete masters that no volume stands on
    #[command(after_help = "Examples:
  mezame volume master delete --unused
  mezame volume master delete img-0123456789abcdef0123456789abcdef

The next volume of their images fetches them from the archive again.")]
    Delete {
        /// Which
        #[arg(value_name = "MASTER", required_unless_present = "unused")]
        masters: Vec<MasterNameArgument>,
        /// All that no volume stands on
        #[arg(long, conflicts_with = "masters")]
        unused: bool,
    },
}

/// A master's name.
#[derive(Debug, Clone)]
pub struct MasterNameArgument(pub String);

impl std::str::FromStr for MasterNameArgument {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let is_good = (1..=80).contains(&text.len()) && text.bytes().all(fits);
        if is_good { Ok(Self(text.into())) } else { Err("'mezame volume master list' shows them") }
    }
}
