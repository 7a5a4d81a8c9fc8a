//! QEMU's block server for flushers: started once for a guest, found again by whoever comes later, and
//! stopped when nobody uses it.
//!
//! QEMU has one server, and tells nobody where it listens. So an empty node says that it was started
//! for flushers, and by a random number which socket is its: `flush_NUMBER`, at `DIR/NUMBER.flush`. A
//! server that somebody else has started is never stopped here, nor used.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{Volume, export, serve};
use crate::{
    environment::{Environment, NoRandomness, random},
    local_socket::connect_within,
    qmp::{Qmp, QmpError},
};

/// What the node's name begins with. No volume's id has a `_`.
const MARK: &str = "flush_";
/// What a socket is called.
const SOCKET: &str = "flush";
/// How long the server may take to accept a connection that nothing is said on.
const CONNECTING: Duration = Duration::from_secs(2);
/// How long an export may take to go: a flush that is under way.
const EXPORT: Duration = Duration::from_secs(30);

/// Why there is no server for flushers.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// QEMU refused, or is gone.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// Somebody else has it.
    #[error("QEMU's block server is another's now, such as a backup's: {said}")]
    Taken {
        /// QEMU's words, or ours.
        said: String,
    },
    /// An export does not go.
    #[error("QEMU does not end the export {0} within {EXPORT:?}")]
    Stays(String),
    /// No number can be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// The socket of the server that was started for flushers, where this QEMU has one.
pub fn socket(qmp: &mut Qmp, directory: &Path) -> Result<Option<PathBuf>, QmpError> {
    let nodes = qmp.nodes()?;
    let numbers = nodes.iter().filter_map(|node| node.name.strip_prefix(MARK));
    // What a guest has broken out of names no file elsewhere.
    let mut numbers = numbers.filter(|it| it.bytes().all(|byte| byte.is_ascii_hexdigit()));
    Ok(numbers.next().map(|number| directory.join(format!("{number}.{SOCKET}"))))
}

/// Has QEMU export a volume for its flusher, and starts the server if there is none; where it listens.
/// It may be repeated.
pub fn ensure(
    qmp: &mut Qmp,
    volume: &Volume,
    directory: &Path,
    environment: &dyn Environment,
) -> Result<PathBuf, ServerError> {
    let socket = match socket(qmp, directory)? {
        Some(socket) => again(qmp, &socket)?,
        None => start(qmp, directory, environment)?,
    };
    if !qmp.exports()?.contains(&volume.id().node(SOCKET)) {
        export(qmp, volume)?;
    }
    Ok(socket)
}

/// Whether this QEMU has the volume as a disk.
pub fn has(qmp: &mut Qmp, volume: &Volume) -> Result<bool, QmpError> {
    let device = format!("/machine/peripheral/{}/virtio-backend", volume.id().node("disk"));
    match qmp.drive(&device) {
        Ok(_) => Ok(true),
        Err(QmpError::Refused { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Takes a volume's export away, and the server with the last one.
pub fn end(qmp: &mut Qmp, volume: &Volume, directory: &Path) -> Result<(), ServerError> {
    let export = volume.id().node(SOCKET);
    let begin = Instant::now();
    let mut is_asked = false;
    while qmp.exports()?.contains(&export) {
        if !is_asked {
            // A connection of a process that was killed is cut off.
            qmp.execute("block-export-del", json!({ "id": export, "mode": "hard" }))?;
            is_asked = true;
        } else if begin.elapsed() > EXPORT {
            return Err(ServerError::Stays(export));
        }
        thread::sleep(Duration::from_millis(2));
    }
    // A point in time may be read there.
    let Some(socket) = socket(qmp, directory)?.filter(|_| is_asked) else { return Ok(()) };
    if !qmp.exports()?.is_empty() {
        return Ok(());
    }
    stop(qmp)?;
    qmp.execute("blockdev-del", json!({ "node-name": mark(&socket) }))?;
    let _ = fs::remove_file(socket);
    Ok(())
}

/// The server by a mark that is there: begun again where a process was killed before it was started, or
/// its socket is lost.
fn again(qmp: &mut Qmp, socket: &Path) -> Result<PathBuf, ServerError> {
    match serve(qmp, socket) {
        Ok(()) => return Ok(socket.into()),
        Err(QmpError::Refused { .. }) if is_reached(socket) => return Ok(socket.into()),
        Err(QmpError::Refused { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let exports = qmp.exports()?;
    if let Some(other) = exports.iter().find(|id| !id.ends_with(&format!(".{SOCKET}"))) {
        return Err(ServerError::Taken { said: format!("it serves {other}") });
    }
    stop(qmp)?;
    serve(qmp, socket)?;
    Ok(socket.into())
}

fn start(
    qmp: &mut Qmp,
    directory: &Path,
    environment: &dyn Environment,
) -> Result<PathBuf, ServerError> {
    sweep(directory);
    let number = u64::from_be_bytes(random(environment)?);
    let socket = directory.join(format!("{number:016x}.{SOCKET}"));
    let mark = mark(&socket);
    let node = json!({ "driver": "null-co", "node-name": mark, "size": 0 });
    qmp.execute("blockdev-add", node)?;
    match serve(qmp, &socket) {
        Ok(()) => Ok(socket),
        Err(QmpError::Refused { description, .. }) => {
            qmp.execute("blockdev-del", json!({ "node-name": mark }))?;
            Err(ServerError::Taken { said: description })
        }
        Err(error) => Err(error.into()),
    }
}

fn stop(qmp: &mut Qmp) -> Result<(), QmpError> {
    match qmp.execute("nbd-server-stop", json!({})) {
        // It does not run: a process was killed before it started it.
        Ok(_) | Err(QmpError::Refused { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn mark(socket: &Path) -> String {
    let number = socket.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    format!("{MARK}{number}")
}

fn is_reached(socket: &Path) -> bool {
    connect_within(socket, CONNECTING).is_ok()
}

/// Removes the sockets of QEMUs that have ended.
fn sweep(directory: &Path) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let sockets = entries.map(|entry| entry.path());
    for path in sockets.filter(|path| path.extension().is_some_and(|it| it == SOCKET)) {
        let is_over = connect_within(&path, CONNECTING)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        if is_over {
            let _ = fs::remove_file(path);
        }
    }
}
