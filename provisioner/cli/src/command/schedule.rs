//! What `mezame backup schedule` takes.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{freezing::FreezeArguments, keep::KeepArguments, volume::VolumeIdArgument};

/// Of `backup schedule`.
#[derive(Debug, Subcommand)]
pub enum ScheduleCommand {
    /// Have volumes of one guest backed up at times
    #[command(after_help = "Examples:
  mezame backup schedule create nightly web-root web-data -p tenant-a --when 02:30 \\
    --keep-daily 7 --keep-weekly 4 --keep-yearly 2
  mezame backup schedule create often web-root -p tenant-a --when 'every 6h'
  mezame backup schedule create sundays web-root -p tenant-a --when '0 4 * * 0' \\
    --instance web --require-consistent

Times are UTC. Five fields are minute, hour, day of month, month and day of week, as in crontab(5).
What is kept is so of the backups that the schedule made, and of no others; without any --keep all are.
What is not kept is deleted, and its space in the archive is freed by 'mezame image archive collect', by
hand or at the times of 'images.collect' in the settings. A name that is in use is refused: 'set' changes a schedule.")]
    Create(CreateScheduleArguments),
    /// Change a schedule; what is not named stays as it is
    #[command(after_help = "Examples:
  mezame backup schedule set nightly -p tenant-a --keep-daily 14
  mezame backup schedule set nightly -p tenant-a --when 03:15
  mezame backup schedule set nightly web-root web-data web-logs -p tenant-a

Volumes that are named take the place of all that it had. Of one that it names no more, and of points
in time that have one, nothing is deleted by it any more. A schedule that is paused stays so.")]
    Set(SetScheduleArguments),
    /// Show a project's schedules
    #[command(after_help = "Examples:
  mezame backup schedule list -p tenant-a")]
    List,
    /// Show all about one schedule: what it does next, and why it failed last
    #[command(after_help = "Examples:
  mezame backup schedule show nightly -p tenant-a")]
    Show(ScheduleName),
    /// Have a schedule rest
    #[command(after_help = "Examples:
  mezame backup schedule pause nightly -p tenant-a

A backup that it has begun goes on.")]
    Pause(ScheduleName),
    /// Have it go on; what it missed is not made up for
    #[command(after_help = "Examples:
  mezame backup schedule resume nightly -p tenant-a")]
    Resume(ScheduleName),
    /// Delete a schedule; its backups stay
    #[command(after_help = "Examples:
  mezame backup schedule delete nightly -p tenant-a")]
    Delete(ScheduleName),
}

/// What names a schedule.
#[derive(Debug, Args)]
pub struct ScheduleName {
    /// Its name
    pub name: ScheduleNameArgument,
}

/// Of `backup schedule create`.
#[derive(Debug, Args)]
pub struct CreateScheduleArguments {
    /// What it is called
    #[command(flatten)]
    pub name: ScheduleName,
    /// The volumes
    #[arg(required = true, value_name = "ID")]
    pub volumes: Vec<VolumeIdArgument>,
    /// The QMP socket of the QEMU that has them open [default: each time as 'volume open' was told]; where
    /// nobody listens, the guest is off
    #[arg(long, value_name = "SOCKET")]
    pub qmp: Option<PathBuf>,
    /// When, in UTC: '02:30', 'every 15m' (or 6h, 2d), or five fields as in crontab(5)
    #[arg(long, value_name = "TIMES")]
    pub when: String,
    /// Which of its backups are kept
    #[command(flatten)]
    pub keep: KeepArguments,
    /// Who freezes the guest each time
    #[command(flatten)]
    pub freeze: FreezeArguments,
    /// Do nothing for now
    #[arg(long)]
    pub pause: bool,
}

/// Of `backup schedule set`.
#[derive(Debug, Args)]
pub struct SetScheduleArguments {
    /// Which one
    #[command(flatten)]
    pub name: ScheduleName,
    /// The volumes, in place of those it has
    #[arg(value_name = "ID")]
    pub volumes: Vec<VolumeIdArgument>,
    /// The QMP socket of the QEMU that has them open
    #[arg(long, value_name = "SOCKET")]
    pub qmp: Option<PathBuf>,
    /// Have the QMP socket each time be the one that 'volume open' was told
    #[arg(long, conflicts_with = "qmp")]
    pub qmp_as_opened: bool,
    /// When, as 'create' takes it
    #[arg(long, value_name = "TIMES")]
    pub when: Option<String>,
    /// Keep the newest ones; 0 for none of them, as with all that follow
    #[arg(long, value_name = "NUMBER")]
    pub keep_last: Option<u32>,
    /// Keep the newest of each of so many hours
    #[arg(long, value_name = "NUMBER")]
    pub keep_hourly: Option<u32>,
    /// Keep the newest of each of so many days
    #[arg(long, value_name = "NUMBER")]
    pub keep_daily: Option<u32>,
    /// Keep the newest of each of so many weeks
    #[arg(long, value_name = "NUMBER")]
    pub keep_weekly: Option<u32>,
    /// Keep the newest of each of so many months
    #[arg(long, value_name = "NUMBER")]
    pub keep_monthly: Option<u32>,
    /// Keep the newest of each of so many years
    #[arg(long, value_name = "NUMBER")]
    pub keep_yearly: Option<u32>,
    /// Who freezes the guest each time, in place of who did
    #[command(flatten)]
    pub freeze: FreezeArguments,
    /// Have nobody freeze the guest
    #[arg(long, conflicts_with = "freezer")]
    pub no_freeze: bool,
}

/// A schedule's name.
#[derive(Debug, Clone)]
pub struct ScheduleNameArgument(pub String);

impl std::str::FromStr for ScheduleNameArgument {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let is_good = (1..=63).contains(&text.len()) && text.bytes().all(fits);
        if is_good { Ok(Self(text.into())) } else { Err("a schedule's name is of a-z, 0-9 and -") }
    }
}
