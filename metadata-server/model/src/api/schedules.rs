//! The wire types of the calls about schedules of backups.
//!
//! | Call | Answer |
//! |---|---|
//! | `GET /v1/projects/P/backup-schedules` | `[`[`ScheduleView`]`]`, sorted by name |
//! | `GET`, `PUT …/backup-schedules/S` ([`Schedule`]) | [`ScheduleView`] |
//! | `POST …/backup-schedules/S/pause`, `…/resume` | [`ScheduleView`] |
//! | `DELETE …/backup-schedules/S` | 204 |

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::freezing::Freezing;

/// Which of a schedule's own backups are kept, by the names that restic and borg have for it. All
/// zero keeps all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keep {
    /// The newest ones.
    pub last: u32,
    /// The newest of each of so many hours that have any.
    pub hourly: u32,
    /// The newest of each of so many days that have any, in UTC.
    pub daily: u32,
    /// The newest of each of so many weeks that have any, from Monday.
    pub weekly: u32,
    /// The newest of each of so many months that have any.
    pub monthly: u32,
    /// The newest of each of so many years that have any.
    pub yearly: u32,
}

/// When volumes of one guest are backed up, and which of these backups are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// 1 to 64 volumes of one guest, backed up at one point in time.
    pub volumes: Vec<String>,
    /// The QMP socket of its QEMU; without, each time that which the volumes were opened for last. Where
    /// nobody listens there, the volumes of the stopped guest are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qmp: Option<PathBuf>,
    /// In UTC: `02:30`, five fields as crontab(5) has them, or `every 15m`, `6h`, `2d`.
    pub when: String,
    /// What is kept of the points in time that it made; all without.
    #[serde(default)]
    pub keep: Keep,
    /// Who freezes the guest each time; nobody without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeze: Option<Freezing>,
    /// Whether nothing is done for now.
    #[serde(default)]
    pub paused: bool,
}

/// What became of a time that came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleRun {
    /// When it was begun, in milliseconds since 1970-01-01T00:00:00Z.
    pub at_ms: u64,
    /// The job, if it came to one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// `running`, `done` or `failed`.
    pub outcome: String,
    /// Why it failed; of one that is done, why older ones could not be deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How many older backups were deleted after it.
    #[serde(default)]
    pub dropped: u64,
}

/// A schedule, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleView {
    /// What it is called in its project.
    pub name: String,
    /// Whose it is.
    pub project: String,
    /// What was asked for.
    pub spec: Schedule,
    /// When it is due next, or has been since; none while it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_ms: Option<u64>,
    /// Why it is not begun, or not ended, though it is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// The last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<ScheduleRun>,
    /// When it was done last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_ms: Option<u64>,
    /// How often it has failed since.
    pub failures: u32,
}
