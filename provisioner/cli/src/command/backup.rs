//! What `mezame backup` takes.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};

use super::{
    Detach,
    freezing::FreezeArguments,
    keep::{self, KeepArguments},
    schedule::ScheduleCommand,
    volume::{ClassArgument, LimitArguments, VolumeIdArgument, flush_ms},
};
use crate::size;

/// Of `backup`.
#[derive(Debug, Subcommand)]
pub enum BackupCommand {
    /// Back up volumes of a guest, all at one point in time
    #[command(after_help = "Examples:
  mezame backup create web-root web-data -p tenant-a
  mezame backup create web-root -p tenant-a --full
  mezame backup create web-root -p tenant-a --instance web --require-consistent
  mezame backup create db-root -p tenant-a --qmp /run/db.qmp --guest-agent /run/db.qga
  mezame backup create web-root web-data -p tenant-a                    of a stopped guest

What was written since the last backup is read; all, where that is not known, and then why is told.
Without an agent that freezes the guest a backup is as after a power cut. Where nobody listens at
the socket, or none is known, all of each volume is read, and its guest can't be started meanwhile.")]
    Create(CreateBackupArguments),
    /// Show a project's backups, newest first
    #[command(after_help = "Examples:
  mezame backup list -p tenant-a
  mezame backup list -p tenant-a --volume web-root")]
    List {
        /// Only those of this volume
        #[arg(long, value_name = "ID")]
        volume: Option<VolumeIdArgument>,
    },
    /// Show all about one backup
    #[command(after_help = "Examples:
  mezame backup show img-0123456789abcdef0123456789abcdef -p tenant-a")]
    Show(BackupName),
    /// Delete a backup; those after it stand by themselves
    #[command(after_help = "Examples:
  mezame backup delete img-0123456789abcdef0123456789abcdef -p tenant-a

What no other image needs is freed by the next 'mezame image archive collect'.")]
    Delete(BackupName),
    /// Delete the backups of a volume that are not to be kept
    #[command(after_help = "Examples:
  mezame backup prune web-root -p tenant-a --keep-last 3 --keep-daily 7 --keep-weekly 4 --dry-run
  mezame backup prune web-root -p tenant-a --keep-last 3 --keep-daily 7 --keep-weekly 4

Kept are the newest ones, and the newest of each day, week and month that has any, in UTC.
It looks at one volume alone, and at all of its backups, those of schedules too: a schedule's own
'--keep' keeps and deletes volumes that were backed up together as one. What is deleted is shown. Where
all numbers are 0 all are kept. What no other image needs is freed by the next 'mezame image archive collect'.")]
    Prune(PruneArguments),
    /// Make a new volume out of a backup
    #[command(after_help = "Examples:
  mezame backup restore img-0123456789abcdef0123456789abcdef --to web-root-old -p tenant-a

The volume that was backed up stays as it is.")]
    Restore(RestoreArguments),
    /// Backups that are made by themselves
    #[command(after_help = "Examples:
  mezame backup schedule create nightly web-root -p tenant-a --when 02:30
  mezame backup schedule list -p tenant-a")]
    #[command(subcommand)]
    Schedule(ScheduleCommand),
}

/// What names a backup.
#[derive(Debug, Args)]
pub struct BackupName {
    /// Its id, as 'mezame backup list' shows it
    pub backup: BackupId,
}

/// Of `backup create`.
#[derive(Debug, Args)]
pub struct CreateBackupArguments {
    /// The volumes
    #[arg(required = true, value_name = "ID")]
    pub volumes: Vec<VolumeIdArgument>,
    /// The QMP socket of the QEMU that has them open [default: as 'volume open' was told]; where nobody
    /// listens, no guest may run on them
    #[arg(long, value_name = "SOCKET")]
    pub qmp: Option<PathBuf>,
    /// Read everything, whatever is known of changes
    #[arg(long)]
    pub full: bool,
    /// What the backups are called [default: 'backup of ID']
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    /// Who freezes the guest
    #[command(flatten)]
    pub freeze: FreezeArguments,
    /// Whether it is waited for
    #[command(flatten)]
    pub detach: Detach,
}

/// Of `backup prune`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("kept").args(keep::ANY).required(true).multiple(true)))]
pub struct PruneArguments {
    /// The volume; it may have gone
    #[arg(value_name = "ID")]
    pub volume: VolumeIdArgument,
    /// Which are kept
    #[command(flatten)]
    pub keep: KeepArguments,
    /// Only show what would be deleted
    #[arg(long)]
    pub dry_run: bool,
}

/// Of `backup restore`.
#[derive(Debug, Args)]
pub struct RestoreArguments {
    /// Which backup
    #[command(flatten)]
    pub backup: BackupName,
    /// The volume that is made
    #[arg(long, value_name = "ID")]
    pub to: VolumeIdArgument,
    /// Which pool it lies in [default: the site's]
    #[arg(long, value_name = "NAME")]
    pub pool: Option<String>,
    /// What a hard stop takes
    #[arg(long, value_name = "CLASS", default_value = "recovered")]
    pub class: ClassArgument,
    /// How long a write waits at most for the host's flush, 100ms to 60s [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = flush_ms)]
    pub flush_interval: Option<u32>,
    /// Its size, such as 20GiB [default: the backup's]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub size: Option<u64>,
    /// Encrypt what its guest writes
    #[arg(long)]
    pub encrypted: bool,
    /// What its guest may do
    #[command(flatten)]
    pub limits: LimitArguments,
    /// Whether it is waited for
    #[command(flatten)]
    pub detach: Detach,
}

/// A backup's id.
#[derive(Debug, Clone)]
pub struct BackupId(pub String);

impl std::str::FromStr for BackupId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let digits = text.strip_prefix("img-").unwrap_or_default();
        let is_good = digits.len() == 32 && digits.bytes().all(is_hex);
        if is_good { Ok(Self(text.into())) } else { Err("a backup's id is 'img-' and 32 digits") }
    }
}
