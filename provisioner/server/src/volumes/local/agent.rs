//! Who freezes the guests of this host, and thaws them: their own agents.
//!
//! That a socket of `qemu-ga` is one of the guest whose volumes are read is asked of QEMU before that
//! socket is used or noted: another guest is neither frozen nor thawed. Which instance is the guest's,
//! QEMU does not know.

use std::path::{Path, PathBuf};

use mezame_images::{
    backup::{
        freeze::{Freeze, metadata_server::MetadataServer, qemu_agent::QemuAgent},
        point::Point,
    },
    qmp::Qmp,
};
use serde_json::{Value, json};

use super::{ExecutorError, Local, Reason};
use crate::volumes::executor::{Agent, BackupOrder, FreezeOrder};

/// Where a metadata-server has its socket that was told nothing else.
const USUAL: &str = "/run/mezame/freeze.sock";

impl Local {
    /// Whom to ask.
    pub(super) fn freezer(&self, agent: &Agent) -> Box<dyn Freeze> {
        match agent {
            Agent::Instance(instance) => {
                let socket = self.settings.freeze_socket.as_deref().unwrap_or(Path::new(USUAL));
                Box::new(MetadataServer::at(socket, instance.clone()))
            }
            Agent::QemuGa(socket) => Box::new(QemuAgent::at(socket)),
        }
    }

    /// That the agent, where it is known by a socket, is one of the guest that is backed up.
    pub(super) fn check_agent(order: &BackupOrder, qmp: &Path) -> Result<(), ExecutorError> {
        let Some(Agent::QemuGa(socket)) = order.freeze.as_ref().map(|it| &it.agent) else {
            return Ok(());
        };
        // Whether the volumes are there, too, is looked at before anybody is frozen.
        if has_socket(&mut Self::monitor(qmp)?, socket)? {
            return Ok(());
        }
        let message = format!(
            "the QEMU behind {} has no serial port at {}, by this or another whole path",
            qmp.display(),
            socket.display()
        );
        Err(ExecutorError::new(Reason::NotFrozen, message))
    }
}

/// Whether one of a QEMU's character devices is this UNIX socket.
fn has_socket(qmp: &mut Qmp, socket: &Path) -> Result<bool, ExecutorError> {
    let devices = qmp.execute("query-chardev", json!({}))?;
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let wanted = real(socket);
    let mut sockets = devices.as_array().into_iter().flatten().filter_map(socket_of);
    Ok(sockets.any(|found| real(&found) == wanted))
}

/// The socket of a character device: `unix:PATH,server=on`, after `disconnected:` while nobody has
/// connected.
fn socket_of(device: &Value) -> Option<PathBuf> {
    let name = device["filename"].as_str()?;
    let name = name.strip_prefix("disconnected:").unwrap_or(name).strip_prefix("unix:")?;
    let path = name.rsplit_once(",server").map_or(name, |(path, _)| path);
    Some(path.into()).filter(|path: &PathBuf| path.is_absolute())
}

/// Why nothing is made of a point in time: its guest had to be frozen, and was not.
pub(super) fn not_frozen(point: &Point, freeze: Option<&FreezeOrder>) -> Option<ExecutorError> {
    freeze.filter(|it| it.is_required)?;
    let why = point.offers().first()?.consistency.why_crash()?;
    let message = format!("nothing was made, since the guest was not frozen: {why}");
    Some(ExecutorError::new(Reason::NotFrozen, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_found_in_what_qemu_says_of_it_connected_or_not() {
        let of = |filename: &str| socket_of(&json!({ "label": "qga", "filename": filename }));
        let path = Some(PathBuf::from("/run/a,b.qga"));
        assert_eq!(of("disconnected:unix:/run/a,b.qga,server=on"), path);
        assert_eq!(of("unix:/run/a,b.qga,server=on"), path);
        assert_eq!(of("unix:/run/a,b.qga"), path);
        for other in
            ["pty:/dev/pts/1", "disconnected:tcp:127.0.0.1:4444,server=on", "unix:qga", "vc"]
        {
            assert_eq!(of(other), None, "{other}");
        }
        assert_eq!(socket_of(&json!({ "label": "qga" })), None);
    }
}
