//! Which backups are kept: the same words of a schedule and of `backup prune`, as restic and borg have
//! them.

use clap::Args;
use mezame_model::api::schedules::Keep;

/// Their ids, for who wants one of them.
pub(super) const ANY: [&str; 6] =
    ["keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly"];

/// Which are kept.
#[derive(Debug, Clone, Copy, Args)]
pub struct KeepArguments {
    /// Keep the newest ones
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    keep_last: u32,
    /// Keep the newest of each of so many hours
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    keep_hourly: u32,
    /// Keep the newest of each of so many days
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    keep_daily: u32,
    /// Keep the newest of each of so many weeks
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    keep_weekly: u32,
    /// Keep the newest of each of so many months
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    keep_monthly: u32,
    /// Keep the newest of each of so many years
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    keep_yearly: u32,
}

impl From<KeepArguments> for Keep {
    fn from(of: KeepArguments) -> Self {
        Self {
            last: of.keep_last,
            hourly: of.keep_hourly,
            daily: of.keep_daily,
            weekly: of.keep_weekly,
            monthly: of.keep_monthly,
            yearly: of.keep_yearly,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::command::{BackupCommand, Command, CommandLine};

    fn pruned(words: &[&str]) -> Result<Keep, clap::Error> {
        let all = ["mezame", "backup", "prune", "web"].iter().chain(words);
        match CommandLine::try_parse_from(all)?.command {
            Command::Backup(BackupCommand::Prune(arguments)) => Ok(arguments.keep.into()),
            _ => panic!("another command"),
        }
    }

    #[test]
    fn what_is_kept_is_named_and_a_prune_that_would_keep_all_is_none() {
        let keep = pruned(&["--keep-daily", "7", "--keep-last", "3", "--dry-run"]).unwrap();
        assert_eq!(keep, Keep { daily: 7, last: 3, ..Keep::default() });
        assert!(pruned(&[]).is_err() && pruned(&["--dry-run"]).is_err());
    }
}
