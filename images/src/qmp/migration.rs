//! Commands about moving a guest to another QEMU, and the parts of the replies that are of use here.
//!
//! After <https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html> (`migrate`, `query-migrate`,
//! `RunState`); all of it is in QEMU 7.2.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Qmp, QmpError};

/// What QEMU says of a migration, on the side that sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MigrationStatus {
    /// There was none.
    #[default]
    None,
    /// It connects.
    Setup,
    /// Memory is copied while the guest runs.
    Active,
    /// The guest stands still, and whoever asked for this says when it goes on.
    PreSwitchover,
    /// The rest is copied while the guest stands still.
    Device,
    /// The guest is on the other side.
    Completed,
    /// It has failed; the guest is on this side.
    Failed,
    /// It is being cancelled.
    Cancelling,
    /// It was cancelled; the guest is on this side.
    Cancelled,
    /// A kind that nobody here asks for.
    #[serde(other)]
    Other,
}

impl MigrationStatus {
    /// Whether something is under way.
    pub fn is_under_way(self) -> bool {
        !matches!(self, Self::None | Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// How a migration does.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MigrationState {
    /// Where it is.
    pub status: MigrationStatus,
    /// Why it failed, in QEMU's words.
    pub said: Option<String>,
    /// Bytes of memory that are still to be sent, as far as QEMU has looked.
    pub remaining: u64,
    /// Bytes a second, of late.
    pub rate: u64,
    /// How long the guest stood still, in milliseconds.
    pub downtime_ms: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Reply {
    #[serde(default)]
    status: MigrationStatus,
    error_desc: Option<String>,
    #[serde(default)]
    downtime: u64,
    ram: Option<Memory>,
}

#[derive(Deserialize)]
struct Memory {
    #[serde(default)]
    remaining: u64,
    /// Millions of bits a second.
    #[serde(default)]
    mbps: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Parameters {
    #[serde(default)]
    downtime_limit: u64,
}

#[derive(Deserialize)]
struct Status {
    status: String,
}

impl Qmp {
    /// How the migration does, if there is or was one.
    pub fn migration(&mut self) -> Result<MigrationState, QmpError> {
        let reply: Reply = self.ask("query-migrate", json!({}), "a migration's state")?;
        let rate = reply.ram.as_ref().map_or(0.0, |memory| memory.mbps * 125_000.0);
        // What is no number of bytes becomes one: a cast saturates.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let rate = rate as u64;
        Ok(MigrationState {
            status: reply.status,
            said: reply.error_desc,
            remaining: reply.ram.map_or(0, |memory| memory.remaining),
            rate,
            downtime_ms: reply.downtime,
        })
    }

    /// What the machine is doing, in QEMU's words (`RunState`).
    pub fn run_state(&mut self) -> Result<String, QmpError> {
        let status: Status = self.ask("query-status", json!({}), "a status")?;
        Ok(status.status)
    }

    /// Whether the guest is on its way to or from this QEMU, or has left it. A QEMU without a machine
    /// has no guest that could be.
    pub fn is_moving(&mut self) -> Result<bool, QmpError> {
        let state = match self.run_state() {
            Err(QmpError::Refused { class, .. }) if class == "CommandNotFound" => return Ok(false),
            state => state?,
        };
        let is_elsewhere = ["inmigrate", "postmigrate", "finish-migrate"].contains(&&*state);
        Ok(is_elsewhere || self.migration()?.status.is_under_way())
    }

    /// For how long a guest may stand still, in milliseconds.
    pub fn downtime_limit(&mut self) -> Result<u64, QmpError> {
        let parameters: Parameters =
            self.ask("query-migrate-parameters", json!({}), "a migration's parameters")?;
        Ok(parameters.downtime_limit)
    }

    /// Sets parameters of a migration, also of one that is under way.
    pub fn tell_migration(&mut self, parameters: Value) -> Result<(), QmpError> {
        self.execute("migrate-set-parameters", parameters).map(drop)
    }

    /// Turns capabilities on or off, of a migration that has not begun.
    pub fn set_capabilities(&mut self, names: &[&str], is_on: bool) -> Result<(), QmpError> {
        let one = |name: &&str| json!({ "capability": name, "state": is_on });
        let all: Vec<Value> = names.iter().map(one).collect();
        self.execute("migrate-set-capabilities", json!({ "capabilities": all })).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_nobody_here_asks_for_is_one_that_is_under_way() {
        let parse = |text: &str| serde_json::from_value::<MigrationStatus>(json!(text)).unwrap();
        assert_eq!(parse("pre-switchover"), MigrationStatus::PreSwitchover);
        assert_eq!(parse("postcopy-paused"), MigrationStatus::Other);
        assert!(parse("colo").is_under_way() && parse("device").is_under_way());
        assert!(!parse("failed").is_under_way() && !parse("none").is_under_way());
    }
}
