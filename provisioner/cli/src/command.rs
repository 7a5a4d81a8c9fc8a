//! The command line: every command, flag and help text.
//!
//! Each command's help ends with examples, since those are what people look for.

mod arguments;
mod backup;
mod files;
mod flush;
mod freezing;
mod image;
mod job;
mod keep;
mod key;
mod leftover;
mod master;
mod pool;
mod restore;
mod schedule;
mod volume;

use std::{path::PathBuf, time::Duration};

pub use arguments::{
    ApplyArguments, Condition, DeleteArguments, DiskArguments, DiskFormat, ExplainArguments,
    GetArguments, GetKind, InstanceArguments, KeysCommand, NamedArguments, PortCommand,
    ReportsArguments, ResetArguments, ResetCommand, RotatedKey, SeedFiles, WaitArguments,
    WatchArguments,
};
pub use backup::{
    BackupCommand, BackupId, BackupName, CreateBackupArguments, PruneArguments, RestoreArguments,
};
use clap::{Args, Parser, Subcommand};
pub use files::{FileArguments, FolderArguments};
pub use flush::FlushArguments;
pub use freezing::FreezeArguments;
pub use image::{
    ArchiveCommand, Detach, FormatArgument, ImageCommand, ImageName, ImportArguments, Label,
    PackName, ShareArguments,
};
pub use job::{JobCommand, JobId, JobName, Whose};
pub use keep::KeepArguments;
pub use key::{CreateArguments, KeyCommand, KeyName, KeySource, OnceArgument, RotateArguments};
pub use leftover::{LeftoverArgument, LeftoverCommand};
pub use master::{MasterCommand, MasterNameArgument};
use mezame_model::ProjectName;
pub use pool::{PoolCommand, VolumePool};
pub use restore::{CaptureArguments, RestoreVolumeArguments};
pub use schedule::{
    CreateScheduleArguments, ScheduleCommand, ScheduleName, ScheduleNameArgument,
    SetScheduleArguments,
};
pub use volume::{
    ClassArgument, CreateVolumeArguments, Hydrating, LimitArguments, VolumeCommand,
    VolumeIdArgument, VolumeName,
};

use crate::{
    client::address::ServerAddress,
    exit,
    screen::{ColorChoice, Format},
    text,
};

const SETTINGS: &str = "\
The settings file holds contexts, one of them the current one:
  current: lab
  contexts:
    lab:
      server: https://provisioner.lab.example:8443
      token_file: ~/.config/mezame/lab.token
      ca_file: ~/.config/mezame/lab.pem
      project: tenant-a";

const AFTER: &str = "\
Examples:
  mezame apply -f tenant-a.yaml --dry-run     show what a seed would change
  mezame apply -f seeds/                      apply every seed in a folder
  mezame get instances -p tenant-a            a table of a project's instances
  mezame describe instance web -p tenant-a    all about one, with its last report
  mezame explain instance                     the fields of a document

Settings come from flags, then MEZAME_SERVER, MEZAME_TOKEN, MEZAME_TOKEN_FILE, MEZAME_CA_FILE,
MEZAME_PROJECT and MEZAME_CONTEXT, then ~/.config/mezame/config.yaml.";

/// The operator's command of Mezame: seeds instances, ports and networks, and shows what became
/// of them.
#[derive(Debug, Parser)]
#[command(name = "mezame", version, propagate_version = false, max_term_width = 100)]
#[command(after_help = AFTER, after_long_help = format!("{AFTER}\n\n{SETTINGS}\n\n{}", exit::HELP))]
pub struct CommandLine {
    /// Where to and as whom.
    #[command(flatten)]
    pub connection: ConnectionFlags,
    /// How to show it.
    #[command(flatten)]
    pub show: ShowFlags,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where to and as whom.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionFlags {
    /// The provisioner: unix:PATH or https://HOST[:PORT] [default: unix:/run/mezame/provisioner.sock]
    #[arg(long, short = 's', global = true, env = "MEZAME_SERVER", value_name = "ADDRESS")]
    pub server: Option<ServerAddress>,
    /// A file with the bearer token (or put the token into MEZAME_TOKEN)
    #[arg(long, global = true, env = "MEZAME_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Believe the certificates that this PEM file signs, and no others
    #[arg(long, global = true, env = "MEZAME_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// Use this context of the settings file
    #[arg(long, global = true, env = "MEZAME_CONTEXT", value_name = "NAME")]
    pub context: Option<String>,
    /// The settings file [default: ~/.config/mezame/config.yaml]
    #[arg(long, global = true, env = "MEZAME_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The project (or set MEZAME_PROJECT)
    #[arg(long, short, global = true, value_name = "NAME")]
    pub project: Option<ProjectName>,
    /// How long one call may take [default: 60s]
    #[arg(long = "request-timeout", global = true, value_name = "TIME", value_parser = text::duration)]
    pub timeout: Option<Duration>,
}

/// How to show it.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Output")]
pub struct ShowFlags {
    /// The form of results
    #[arg(long, short, global = true, value_enum, default_value_t, value_name = "FORM")]
    pub output: Format,
    /// Leave out messages that are no results and no errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// When to use colour
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: ColorChoice,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make what documents describe, all of them or none
    #[command(after_help = "Examples:
  mezame apply -f tenant.yaml
  mezame apply -f seeds/ -f extra.yaml --dry-run
  generate-seed | mezame apply -f -
  mezame apply -f seeds/ --dry-run --exit-code    exits with 8 if there is something to change

A seed is YAML (or JSON) of any number of documents; 'mezame explain instance' shows their fields.
A user_data_file or vendor_data_file is relative to its seed's folder.")]
    Apply(ApplyArguments),
    /// Show things in a table, or one of them
    #[command(after_help = "Examples:
  mezame get networks -p tenant-a
  mezame get instances --all-projects -o wide
  mezame get instance web -p tenant-a -o json
  mezame get instances -p tenant-a -o seed > backup.yaml    documents that can be applied again
  mezame get password web -p tenant-a --identity ~/.ssh/id_ed25519

KIND is projects (proj), networks (net), ports (po), instances (inst) or passwords (pw), also in
the singular.")]
    Get(GetArguments),
    /// Show all about one thing
    #[command(after_help = "Examples:
  mezame describe instance web -p tenant-a    with the last report and the SSH host keys
  mezame describe port web-0 -p tenant-a")]
    Describe(NamedArguments),
    /// Delete one thing, or what documents describe
    #[command(after_help = "Examples:
  mezame delete instance web -p tenant-a
  mezame delete port web-0 -p tenant-a --if-revision 42    only if nobody changed it since
  mezame delete -f tenant.yaml                             instances first, projects last")]
    Delete(DeleteArguments),
    /// Change one thing in an editor
    #[command(after_help = "Examples:
  mezame edit instance web -p tenant-a
  EDITOR=nano mezame edit network lan -p tenant-a

If somebody else changes it meanwhile, nothing is overwritten.")]
    Edit(NamedArguments),
    /// Show what an instance's guest reported, newest first
    #[command(after_help = "Examples:
  mezame reports web -p tenant-a
  mezame reports web -p tenant-a -o wide    with every step
  mezame reports web -p tenant-a -f         and each new one as it comes
  mezame reports web -p tenant-a -o json | jq '.[0].report.steps'")]
    Reports(ReportsArguments),
    /// Write what an instance's guest is told into the image of a disk, for a guest without a network
    #[command(after_help = "Examples:
  mezame disk web -p tenant-a --format cidata --to web-seed.img
  mezame disk web -p tenant-a --format config-2 --to web-seed.img --force    write it anew
  mezame disk web -p tenant-a --format cidata --to - | ssh hv1 'umask 077; cat > web-seed.img'
  qemu-system-x86_64 … -drive file=web-seed.img,format=raw,if=virtio,readonly=on

cidata is cloud-init's NoCloud seed (dialect nocloud), config-2 OpenStack's config drive (dialect
openstack). The image holds user-data and vendor-data in the clear.")]
    Disk(DiskArguments),
    /// Follow what happens
    #[command(after_help = "Examples:
  mezame watch
  mezame watch -p tenant-a --after 41    what happened after generation 41, and on
  mezame watch -o json | jq .what        one JSON object a line")]
    Watch(WatchArguments),
    /// Wait until an instance is configured
    #[command(after_help = "Examples:
  mezame wait web -p tenant-a --for configured --timeout 60s
  mezame wait web -p tenant-a --for password && mezame get password web -p tenant-a

Exits with 9 when the time runs out, and with 1 when the guest reports a failure.")]
    Wait(WaitArguments),
    /// Have a guest make something anew
    #[command(subcommand)]
    Reset(ResetCommand),
    /// Say which tap on the hypervisor is a port's
    #[command(subcommand)]
    Port(PortCommand),
    /// Keys of a guest's encrypted volumes: make, replace, revoke, and see who asked for them
    #[command(subcommand)]
    Key(KeyCommand),
    /// Images of disks in the archive: import, export, share, delete
    #[command(subcommand)]
    Image(ImageCommand),
    /// Volumes of guests: make, open, limit, copy, delete
    #[command(subcommand)]
    Volume(VolumeCommand),
    /// Backups of volumes, and schedules of them
    #[command(subcommand)]
    Backup(BackupCommand),
    /// Long work on images and volumes: list it, wait for it, end it
    #[command(subcommand)]
    Job(JobCommand),
    /// Make a new key the one in use
    #[command(after_help = "Examples:
  mezame keys rotate sealing    seal all stored secrets anew
  mezame keys rotate tokens     session tokens in use stay valid until they expire")]
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Print the certificate that verifies instance-identity documents
    #[command(after_help = "Examples:
  mezame certificate > site.pem
  # rsa2048 is what a guest read at latest/dynamic/instance-identity/rsa2048
  (echo \"-----BEGIN CMS-----\"; cat rsa2048; echo; echo \"-----END CMS-----\") > rsa2048.pem
  openssl cms -verify -binary -inform PEM -in rsa2048.pem \\
    -nointern -certfile site.pem -noverify")]
    Certificate,
    /// Explain the fields of a kind of document
    #[command(after_help = "Examples:
  mezame explain                          the kinds
  mezame explain instance                 all fields of an instance, and an example
  mezame explain instance.users.password  one field
  mezame explain port --example           only the example, ready to be edited and applied")]
    Explain(ExplainArguments),
    /// Print the shell's completion script
    #[command(after_help = "Examples:
  mezame completion bash > /etc/bash_completion.d/mezame
  mezame completion zsh > \"${fpath[1]}/_mezame\"
  mezame completion fish > ~/.config/fish/completions/mezame.fish")]
    Completion {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Man {
        /// Where to
        folder: PathBuf,
    },
    /// Show who the server takes the caller for, and what it may do
    #[command(after_help = "Examples:
  mezame whoami
  mezame whoami --token-file other.token")]
    Whoami,
    /// Show this program's version and the server's
    Version {
        /// Don't ask the server
        #[arg(long)]
        client: bool,
    },
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_command_that_takes_arguments_has_examples() {
        let root = CommandLine::command();
        for command in root.get_subcommands().filter(|c| !c.is_hide_set()) {
            let has_own = |c: &clap::Command| {
                c.get_after_help().is_some_and(|help| help.to_string().contains("Examples:"))
            };
            let without = command.get_name() == "version";
            assert!(
                without || has_own(command) || command.get_subcommands().all(has_own),
                "{}",
                command.get_name()
            );
        }
    }
}
