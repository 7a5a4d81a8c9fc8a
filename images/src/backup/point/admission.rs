//! Who is let in where a point in time is served over a network: an authority made for it alone, whose
//! certificate QEMU's block server shows, and without one of whose certificates nobody is listened to.
//!
//! QEMU reads its half from files, once, when it is told of it. They are in a directory that is made
//! for that moment and removed before anything else is done; the authority's own key is written
//! nowhere. So when the point in time is closed, all that is left is what the puller was given, and it
//! opens nothing any more.
//!
//! After <https://www.qemu.org/docs/master/system/tls.html> and, for `authz-simple`,
//! <https://www.qemu.org/docs/master/system/authz.html>.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use serde_json::json;

use super::{PointError, left};
use crate::{
    backup::{disk::Disk, name::PointId, plan::Decision},
    nbd::{
        certificates::{Authority, ServerPair, Validity},
        tls::Credentials,
    },
    qmp::{Qmp, QmpError},
};

/// QEMU's objects: what the server is known by, and whom it lets in.
const CREDENTIALS: &str = "backup-tls";
const GUESTS: &str = "backup-tls-puller";
/// What a directory's name ends with.
const ENDING: &str = "tls";

/// Has QEMU know what it needs for TLS; what the puller needs for it.
pub(super) fn prepare(
    qmp: &mut Qmp,
    keys: &Path,
    disks: &[(Disk, Decision)],
    point: PointId,
    now_ms: u64,
) -> Result<Credentials, PointError> {
    let valid = Validity::around(now_ms)?;
    // Not a host's: whoever pulls may reach the server by another address than it has here.
    let authority = Authority::make(&format!("{point}.mezame.invalid"), valid)?;
    let (server, client) = (authority.server(valid)?, authority.client(valid)?);
    disks.iter().for_each(|(disk, _)| left::sweep(keys, disk, ENDING));
    // One of them gives it its name: a guest has one point in time at once.
    let of = disks
        .first()
        .map_or_else(|| point.to_string(), |(disk, _)| left::name(disk, point, ENDING));
    let path = keys.join(of);
    let added = write(&path, &authority, &server)
        .map_err(|source| PointError::Keys { path: path.clone(), source })
        .and_then(|()| Ok(add(qmp, &path)?));
    // QEMU has read them, or never will.
    let removed = fs::remove_dir_all(&path);
    added?;
    removed.map_err(|source| PointError::Keys { path, source })?;
    Ok(client)
}

/// The objects, to be named to the block server.
pub(super) fn words() -> (&'static str, &'static str) {
    (CREDENTIALS, GUESTS)
}

/// Has QEMU forget them, once nothing is served by them.
pub(super) fn forget(qmp: &mut Qmp) -> Result<(), QmpError> {
    qmp.remove_objects([CREDENTIALS, GUESTS])
}

/// Writes what QEMU reads, for our own user alone.
fn write(path: &Path, authority: &Authority, server: &ServerPair) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)?;
    let certificate = authority.certificate();
    // As QEMU calls them.
    for (name, content) in [
        ("ca-cert.pem", certificate.as_str()),
        ("server-cert.pem", server.certificate.as_str()),
        ("server-key.pem", server.key.as_str()),
    ] {
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(path.join(name));
        file?.write_all(content.as_bytes())?;
    }
    Ok(())
}

fn add(qmp: &mut Qmp, path: &Path) -> Result<(), QmpError> {
    let credentials = json!({
        "qom-type": "tls-creds-x509", "id": CREDENTIALS, "dir": path, "endpoint": "server",
        "verify-peer": true,
    });
    qmp.execute("object-add", credentials)?;
    // The server's own certificate is no puller's, though it is the same authority's.
    let guests = json!({
        "qom-type": "authz-simple", "id": GUESTS, "identity": Authority::client_identity(),
    });
    qmp.execute("object-add", guests).map(drop)
}
