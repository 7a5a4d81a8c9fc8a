//! What `mezame job` takes.

use std::str::FromStr;

use clap::{Args, Subcommand};

use super::volume::VolumeIdArgument;

/// Of `job`.
#[derive(Debug, Subcommand)]
pub enum JobCommand {
    /// Show long work, newest first
    #[command(after_help = "Examples:
  mezame job list -p tenant-a --unfinished
  mezame job list -p tenant-a --volume web-root
  mezame job list --all-projects                   those of the archive, too

Of each project the 200 that ended last are known.")]
    List {
        /// Only those about this volume
        #[arg(long, value_name = "ID")]
        volume: Option<VolumeIdArgument>,
        /// Only those that have not ended
        #[arg(long)]
        unfinished: bool,
        /// Whose
        #[command(flatten)]
        whose: Whose,
    },
    /// Show all about one job
    #[command(after_help = "Examples:
  mezame job show job-0123456789abcdef0123456789ab -p tenant-a")]
    Show(JobName),
    /// Wait until a job has ended, and show what came of it
    #[command(after_help = "Examples:
  mezame job wait job-0123456789abcdef0123456789ab -p tenant-a

Exits with 1 where the job failed.")]
    Wait(JobName),
    /// End a job before it is done
    #[command(after_help = "Examples:
  mezame job cancel job-0123456789abcdef0123456789ab -p tenant-a

It ends after the piece that is at work. What was begun of an image or a backup leaves nothing. A key that
is being changed is not stopped: that goes on to its end.")]
    Cancel(JobName),
}

/// What names a job.
#[derive(Debug, Args)]
pub struct JobName {
    /// Its id
    pub job: JobId,
    /// Whose
    #[command(flatten)]
    pub whose: Whose,
}

/// In which projects it is looked for.
#[derive(Debug, Clone, Copy, Args)]
pub struct Whose {
    /// Of all projects, and those of the archive as a whole
    #[arg(long, short = 'A', conflicts_with = "project")]
    pub all_projects: bool,
}

/// A job's id.
#[derive(Debug, Clone)]
pub struct JobId(pub String);

impl FromStr for JobId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("job-").unwrap_or_default();
        let is_good = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
        if is_good { Ok(Self(text.into())) } else { Err("a job's id is 'job-' and digits") }
    }
}
