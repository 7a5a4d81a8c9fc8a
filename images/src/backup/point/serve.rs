//! Serving a point in time that is there: QEMU's block server, what protects it, and the exports.
//!
//! It serves nobody over a network without TLS, unless that was asked for by its name.
//!
//! After <https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html> (`nbd-server-start`,
//! `BlockExportOptionsNbd`).

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{PointError, admission};
use crate::{
    backup::{disk::Disk, mark::Mark, name::BitmapName, name::PointId, plan::Decision},
    nbd::NbdAddress,
    qmp::{Qmp, QmpError},
};

/// Who serves a point in time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Server {
    /// QEMU's block server, which runs for another use as well and stays; it listens there, on a
    /// UNIX socket or loopback. Who pulls there can use all that it serves: only for one that may
    /// read the whole guest.
    Running(NbdAddress),
    /// The same, started for this and stopped at its end, on a UNIX socket or loopback. QEMU has but
    /// one.
    Start(NbdAddress),
    /// The same over a network, by TLS 1.3: the server is known by a certificate that was made for
    /// this point in time, and so is whoever pulls. His is in the offer, which is a secret therefore.
    StartTls {
        /// Where it listens, and is reached by whoever pulls.
        address: SocketAddr,
        /// A directory in which QEMU's keys are for as long as it takes to read them; best one that
        /// is in memory. QEMU has to run as our own user, or as root.
        keys: PathBuf,
    },
    /// The same over a network without any protection: whoever reaches the port reads the disks, and
    /// whoever is on the way can change what is read.
    StartClear(SocketAddr),
}

impl Server {
    /// Where it is.
    pub(super) fn address(&self) -> NbdAddress {
        match self {
            Self::Running(address) | Self::Start(address) => address.clone(),
            Self::StartTls { address, .. } | Self::StartClear(address) => NbdAddress::Tcp(*address),
        }
    }

    /// That it is no other's to read, or by TLS, or that this was asked for.
    pub(super) fn check(&self) -> Result<(), PointError> {
        match self {
            Self::Running(address) | Self::Start(address) => {
                address.exposed().map_or(Ok(()), |address| Err(PointError::Exposed(address)))
            }
            Self::StartTls { .. } | Self::StartClear(_) => Ok(()),
        }
    }

    /// Where TLS' keys are, if it is spoken.
    pub(super) fn keys(&self) -> Option<&Path> {
        match self {
            Self::StartTls { keys, .. } => Some(keys),
            _ => None,
        }
    }
}

/// Starts the block server, if it is to be.
pub(super) fn start(qmp: &mut Qmp, server: &Server) -> Result<(), PointError> {
    if matches!(server, Server::Running(_)) {
        return Ok(());
    }
    let mut words = json!({ "addr": listening(&server.address()) });
    if server.keys().is_some() {
        let (credentials, guests) = admission::words();
        words["tls-creds"] = credentials.into();
        words["tls-authz"] = guests.into();
    }
    Mark::Serving.set(qmp)?;
    let started = qmp.execute("nbd-server-start", words);
    if let Err(refused @ QmpError::Refused { .. }) = started {
        // It may be another's, which is not to be stopped then.
        Mark::Serving.clear(qmp)?;
        return Err(refused.into());
    }
    Ok(started.map(drop)?)
}

fn listening(address: &NbdAddress) -> Value {
    match address {
        NbdAddress::Unix(path) => json!({ "type": "unix", "data": { "path": path } }),
        NbdAddress::Tcp(address) => json!({
            "type": "inet",
            "data": { "host": address.ip().to_string(), "port": address.port().to_string() },
        }),
    }
}

/// Serves one disk's point in time.
pub(super) fn export(
    qmp: &mut Qmp,
    disk: &Disk,
    decision: &Decision,
    id: PointId,
) -> Result<(), QmpError> {
    let point = disk.point();
    let access = json!({ "driver": "snapshot-access", "node-name": point, "file": disk.before() });
    qmp.execute("blockdev-add", access)?;
    let bitmap = |name: BitmapName| json!({ "node": disk.node(), "name": name.to_string() });
    let bitmaps: Vec<_> = decision.changes().map(bitmap).into_iter().collect();
    let export = json!({
        "type": "nbd", "id": point, "node-name": point, "name": disk.export(id),
        "writable": false, "bitmaps": bitmaps,
    });
    qmp.execute("block-export-add", export).map(drop)
}
