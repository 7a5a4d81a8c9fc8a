//! Commands about block nodes, their dirty bitmaps and exports, and the parts of the replies that
//! are of use here.
//!
//! Bitmaps are changed in transactions: all of the changes, on all nodes, or none.
//!
//! After <https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html>; all of it is in QEMU 7.2.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Qmp, QmpError};

/// A block node, as `query-named-block-nodes` shows it.
#[derive(Debug, Clone, Deserialize)]
pub struct Node {
    /// Its name.
    #[serde(rename = "node-name", default)]
    pub name: String,
    /// What it is.
    pub image: NodeImage,
    /// Whether it deciphers what it reads from those below it.
    #[serde(default)]
    pub encrypted: bool,
    /// Those that have a name, and those that QEMU keeps for itself.
    #[serde(rename = "dirty-bitmaps", default)]
    pub bitmaps: Vec<NodeBitmap>,
}

/// What a node shows to those above it.
#[derive(Debug, Clone, Deserialize)]
pub struct NodeImage {
    /// Its length in bytes.
    #[serde(rename = "virtual-size")]
    pub size: u64,
}

/// A dirty bitmap of a node.
#[derive(Debug, Clone, Deserialize)]
pub struct NodeBitmap {
    /// None of QEMU's own.
    pub name: Option<String>,
    /// Whether writes are noted in it.
    pub recording: bool,
    /// Whether an export or a job uses it.
    pub busy: bool,
    /// Whether it is stored in the image when that is closed.
    pub persistent: bool,
    /// Whether the image was not closed after it was in use, so that it may lack writes.
    #[serde(default)]
    pub inconsistent: bool,
    /// Bytes of the disk for each bit.
    pub granularity: u64,
    /// Bytes that it says were written.
    pub count: u64,
}

/// A change of a node's dirty bitmaps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BitmapChange {
    /// A new one, which records from then on.
    Add {
        /// Its name.
        name: String,
        /// Bytes of the disk for each bit: a power of two from 512 on.
        granularity: u32,
        /// Whether it is stored in the image, which must be a qcow2 of version 3.
        persistent: bool,
    },
    /// It is no more; of a persistent one not in the image either.
    Remove(String),
    /// It records from then on.
    Enable(String),
    /// It records no more.
    Disable(String),
    /// Adds what another one says.
    Merge {
        /// Which is added to.
        into: String,
        /// Which is added.
        from: String,
    },
}

impl BitmapChange {
    /// The element of a transaction.
    fn action(&self, node: &str) -> Value {
        let of = |kind: &str, name: &str| json!({ "type": kind, "data": { "node": node, "name": name } });
        match self {
            Self::Add { name, granularity, persistent } => json!({
                "type": "block-dirty-bitmap-add",
                "data": {
                    "node": node, "name": name, "granularity": granularity,
                    "persistent": persistent,
                },
            }),
            Self::Remove(name) => of("block-dirty-bitmap-remove", name),
            Self::Enable(name) => of("block-dirty-bitmap-enable", name),
            Self::Disable(name) => of("block-dirty-bitmap-disable", name),
            Self::Merge { into, from } => json!({
                "type": "block-dirty-bitmap-merge",
                "data": { "node": node, "target": into, "bitmaps": [from] },
            }),
        }
    }
}

#[derive(Deserialize)]
struct Export {
    id: String,
}

#[derive(Deserialize)]
struct Job {
    id: String,
    status: String,
}

#[derive(Deserialize)]
struct Status {
    running: bool,
}

impl Qmp {
    /// All nodes.
    pub fn nodes(&mut self) -> Result<Vec<Node>, QmpError> {
        self.ask("query-named-block-nodes", json!({ "flat": true }), "a list of nodes")
    }

    /// The ids of all exports.
    pub fn exports(&mut self) -> Result<Vec<String>, QmpError> {
        let exports: Vec<Export> =
            self.ask("query-block-exports", json!({}), "a list of exports")?;
        Ok(exports.into_iter().map(|export| export.id).collect())
    }

    /// The ids of all jobs that there are. One that has ended and was not dismissed is among them:
    /// whoever began it has not seen yet what it did.
    pub fn jobs(&mut self) -> Result<Vec<String>, QmpError> {
        let jobs: Vec<Job> = self.ask("query-jobs", json!({}), "a list of jobs")?;
        let is_there = |job: &Job| job.status != "null";
        Ok(jobs.into_iter().filter(is_there).map(|job| job.id).collect())
    }

    /// The node that a device has as its drive.
    pub fn drive(&mut self, device: &str) -> Result<String, QmpError> {
        self.ask("qom-get", json!({ "path": device, "property": "drive" }), "a node's name")
    }

    /// Whether the guest's processors run.
    pub fn is_running(&mut self) -> Result<bool, QmpError> {
        let status: Status = self.ask("query-status", json!({}), "a status")?;
        Ok(status.running)
    }

    /// Changes bitmaps of nodes: all of it, or nothing. For one change alone no transaction is needed, which
    /// would wait for all that is under way on any disk, and for a reader of an export that has stopped
    /// reading: with the guest, and for as long as that takes (`bdrv_drain_all` in QEMU's blockdev.c).
    pub fn change_bitmaps<'a>(
        &mut self,
        changes: impl IntoIterator<Item = (&'a str, &'a BitmapChange)>,
    ) -> Result<(), QmpError> {
        let mut actions: Vec<Value> =
            changes.into_iter().map(|(node, change)| change.action(node)).collect();
        match &mut actions[..] {
            [] => Ok(()),
            [only] => {
                let command = only["type"].as_str().unwrap_or_default().to_owned();
                self.execute(&command, only["data"].take()).map(drop)
            }
            _ => self.execute("transaction", json!({ "actions": actions })).map(drop),
        }
    }

    pub(super) fn ask<T: DeserializeOwned>(
        &mut self,
        command: &str,
        arguments: Value,
        expected: &'static str,
    ) -> Result<T, QmpError> {
        let reply = self.execute(command, arguments)?;
        serde_json::from_value(reply).map_err(|_| QmpError::Unexpected { expected })
    }
}
