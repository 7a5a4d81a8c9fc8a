//! Marks that a process leaves in QEMU while it holds a guest up, so that the next one finds what
//! a process that was killed had begun: empty nodes whose names say it.

use serde_json::json;

use crate::qmp::{Qmp, QmpError, block::Node};

/// What is under way. No volume's id has a `_`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// The guest's processors are stopped, by us.
    Stopped,
    /// Its file systems are frozen.
    Frozen,
    /// QEMU's block server was started for a backup.
    Serving,
}

impl Mark {
    fn node(self) -> &'static str {
        match self {
            Self::Stopped => "backup_stopped",
            Self::Frozen => "backup_frozen",
            Self::Serving => "backup_serving",
        }
    }

    /// Whether it is set.
    pub(super) fn is_in(self, nodes: &[Node]) -> bool {
        nodes.iter().any(|node| node.name == self.node())
    }

    /// Sets it.
    pub(super) fn set(self, qmp: &mut Qmp) -> Result<(), QmpError> {
        let node = json!({ "driver": "null-co", "node-name": self.node(), "size": 0 });
        qmp.execute("blockdev-add", node).map(drop)
    }

    /// Takes it away.
    pub(super) fn clear(self, qmp: &mut Qmp) -> Result<(), QmpError> {
        qmp.execute("blockdev-del", json!({ "node-name": self.node() })).map(drop)
    }
}
