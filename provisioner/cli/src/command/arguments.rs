//! What each command takes.

use std::{path::PathBuf, time::Duration};

use clap::{
    Args, Subcommand, ValueEnum,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use mezame_model::{DeviceName, Generation, UserName, api::Kind};

use crate::{kind_name, text};

/// Where documents are.
#[derive(Debug, Clone, Args)]
pub struct SeedFiles {
    /// A file, a folder, or - for standard input; can be repeated
    #[arg(long = "filename", short = 'f', value_name = "FILE")]
    pub files: Vec<String>,
    /// Read folders within folders too
    #[arg(long, short = 'R')]
    pub recursive: bool,
}

/// Of `apply`.
#[derive(Debug, Args)]
pub struct ApplyArguments {
    /// Where the documents are
    #[command(flatten)]
    pub seeds: SeedFiles,
    /// Only show what would change
    #[arg(long, short = 'n')]
    pub dry_run: bool,
    /// With --dry-run: exit with 8 if there is something to change
    #[arg(long, requires = "dry_run")]
    pub exit_code: bool,
    /// Only if the document's thing was last changed in this generation (for a single document)
    #[arg(long, value_name = "GENERATION", value_parser = generation, conflicts_with = "dry_run")]
    pub if_revision: Option<Generation>,
}

/// What `get` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GetKind {
    /// Resources.
    Resource(Kind),
    /// An instance's sealed passwords.
    Password,
}

/// Of `get`.
#[derive(Debug, Args)]
pub struct GetArguments {
    /// What kind of thing
    #[arg(value_parser = get_kinds(), ignore_case = true)]
    pub kind: GetKind,
    /// Which one (all without)
    pub name: Option<String>,
    /// Of all projects
    #[arg(long, short = 'A', conflicts_with = "name")]
    pub all_projects: bool,
    /// For passwords: the SSH key that opens them [default: ~/.ssh/id_ed25519, ~/.ssh/id_rsa]
    #[arg(long, short = 'i', value_name = "FILE")]
    pub identity: Vec<PathBuf>,
    /// For passwords: only this user's
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
}

/// A kind and a name.
#[derive(Debug, Args)]
pub struct NamedArguments {
    /// What kind of thing
    #[arg(value_parser = kinds(), ignore_case = true)]
    pub kind: Kind,
    /// Which one
    pub name: String,
}

/// Of `delete`.
#[derive(Debug, Args)]
pub struct DeleteArguments {
    /// What kind of thing
    #[arg(value_parser = kinds(),
        ignore_case = true, required_unless_present = "files", requires = "name", conflicts_with = "files")]
    pub kind: Option<Kind>,
    /// Which one
    pub name: Option<String>,
    /// Where the documents are
    #[command(flatten)]
    pub seeds: SeedFiles,
    /// Only if it was last changed in this generation
    #[arg(long, value_name = "GENERATION", value_parser = generation, conflicts_with = "files")]
    pub if_revision: Option<Generation>,
    /// It is well if it is not there
    #[arg(long)]
    pub ignore_missing: bool,
}

/// An instance's name.
#[derive(Debug, Args)]
pub struct InstanceArguments {
    /// Which instance
    #[arg(value_name = "INSTANCE")]
    pub name: String,
}

/// Of `reports`.
#[derive(Debug, Args)]
pub struct ReportsArguments {
    /// Which instance
    #[arg(value_name = "INSTANCE")]
    pub name: String,
    /// Oldest first, and then each new one as it comes, until it is interrupted
    #[arg(long, short)]
    pub follow: bool,
}

/// A form of disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DiskFormat {
    /// OpenStack's config drive, of the dialect openstack.
    #[value(name = "config-2")]
    ConfigTwo,
    /// cloud-init's NoCloud seed, of the dialect nocloud.
    Cidata,
}

impl DiskFormat {
    /// Its name, as the API has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigTwo => "config-2",
            Self::Cidata => "cidata",
        }
    }
}

/// Of `disk`.
#[derive(Debug, Args)]
pub struct DiskArguments {
    /// Which instance
    #[arg(value_name = "INSTANCE")]
    pub name: String,
    /// What the guest's client looks for
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub format: DiskFormat,
    /// The file to write, with mode 0600; - for standard output
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    pub force: bool,
}

/// Of `watch`.
#[derive(Debug, Args)]
pub struct WatchArguments {
    /// Begin after this generation (from now on without)
    #[arg(long, value_name = "GENERATION", value_parser = generation)]
    pub after: Option<Generation>,
    /// End when the connection does, instead of connecting anew
    #[arg(long)]
    pub once: bool,
}

/// What `wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Condition {
    /// The guest reported that it is configured.
    Configured,
    /// The guest posted a password, and another one for each reset that was asked for.
    Password,
    /// The instance is gone.
    Deleted,
}

/// Of `wait`.
#[derive(Debug, Args)]
pub struct WaitArguments {
    /// Which instance
    #[arg(value_name = "INSTANCE")]
    pub name: String,
    /// What for
    #[arg(long = "for", value_enum, default_value = "configured", value_name = "WHAT")]
    pub condition: Condition,
    /// How long
    #[arg(long, default_value = "5m", value_name = "TIME", value_parser = text::duration)]
    pub timeout: Duration,
}

/// Of `reset`.
#[derive(Debug, Subcommand)]
pub enum ResetCommand {
    /// Have a guest make another password
    #[command(after_help = "Examples:
  mezame reset password web -p tenant-a
  mezame reset password web -p tenant-a --user ops
  mezame wait web -p tenant-a --for password && mezame get password web -p tenant-a

The agent makes it as soon as it watches, else at the guest's next boot. Asked again before that,
nothing changes. The old password goes when the new one is set.")]
    Password(ResetArguments),
}

/// Of `reset password`.
#[derive(Debug, Args)]
pub struct ResetArguments {
    /// Which instance
    #[arg(value_name = "INSTANCE")]
    pub name: String,
    /// Whose password, where the guest makes several
    #[arg(long, value_name = "NAME")]
    pub user: Option<UserName>,
    /// Ask anew even where the guest has not answered the last ask yet
    #[arg(long)]
    pub again: bool,
}

/// Of `port`.
#[derive(Debug, Subcommand)]
pub enum PortCommand {
    /// A port's tap has this name (libvirt's vnetN, say)
    #[command(after_help = "Examples:
  mezame port attach web-0 vnet7 -p tenant-a")]
    Attach {
        /// Which port
        port: String,
        /// The device's name on the hypervisor
        device: DeviceName,
    },
    /// A port's tap has the port's own name again
    #[command(after_help = "Examples:
  mezame port detach web-0 -p tenant-a")]
    Detach {
        /// Which port
        port: String,
    },
}

/// Of `keys`.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Make a new key the one in use
    Rotate {
        /// Which key
        #[arg(value_enum)]
        key: RotatedKey,
    },
}

/// The keys that can be rotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RotatedKey {
    /// What stored secrets are sealed with.
    Sealing,
    /// What session tokens are sealed with.
    Tokens,
}

/// Of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArguments {
    /// A kind, or a field of one: instance.users.password
    pub what: Option<String>,
    /// Print only the example
    #[arg(long, requires = "what")]
    pub example: bool,
}

/// Kinds with their short names, known to shell completion and to clap's suggestions.
fn kind_values() -> Vec<PossibleValue> {
    kind_name::SPELLINGS
        .iter()
        .map(|(_, plural, others)| PossibleValue::new(*plural).aliases(others.iter().copied()))
        .collect()
}

fn kinds() -> impl TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(kind_values()).try_map(|text| kind_name::kind(&text))
}

fn get_kinds() -> impl TypedValueParser<Value = GetKind> {
    const PASSWORDS: [&str; 3] = ["passwords", "password", "pw"];
    let mut values = kind_values();
    values.push(PossibleValue::new(PASSWORDS[0]).aliases(&PASSWORDS[1..]));
    PossibleValuesParser::new(values).try_map(|text| {
        if PASSWORDS.iter().any(|name| name.eq_ignore_ascii_case(&text)) {
            Ok(GetKind::Password)
        } else {
            kind_name::kind(&text).map(GetKind::Resource)
        }
    })
}

fn generation(text: &str) -> Result<Generation, std::num::ParseIntError> {
    text.trim_matches('"').parse().map(Generation)
}
