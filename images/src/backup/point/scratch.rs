//! The file that what a guest overwrites is copied to, for as long as a point in time is open.
//!
//! It has a name until QEMU has opened it. What is copied is what the guest sees. So the file of an
//! encrypted disk is LUKS itself, with a key that is made for it, handed to QEMU sealed, and forgotten
//! by both once it is open: what is left on the device afterwards nobody can read. The filter can't be
//! below what enciphers the volume instead, since of a clone that is the qcow2 file, whose tables are
//! of one instant in QEMU's memory alone.
//!
//! After <https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html> (`BlockdevOptionsLUKS`).

use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{PointError, left};
use crate::{
    backup::{disk::Disk, name::PointId, plan::Survey},
    clone::durable,
    encryption::{
        VolumeKey,
        image::{self, Form},
        secret::{self, Secrets},
    },
    environment::Environment,
    qmp::Qmp,
};

/// What its name ends with.
const ENDING: &str = "scratch";

/// Makes a disk's file, and has QEMU open it.
pub(super) fn add(
    qmp: &mut Qmp,
    folder: &Path,
    disk: &Disk,
    point: PointId,
    survey: &Survey,
    environment: &dyn Environment,
) -> Result<(), PointError> {
    left::sweep(folder, disk, ENDING);
    let path = folder.join(left::name(disk, point, ENDING));
    let added = if survey.is_encrypted {
        add_sealed(qmp, &path, disk, survey.size, environment)
    } else {
        add_clear(qmp, &path, disk, survey.size)
    };
    // Gone already if it could not be made.
    let _ = fs::remove_file(&path);
    added
}

fn add_clear(qmp: &mut Qmp, path: &Path, disk: &Disk, size: u64) -> Result<(), PointError> {
    let failed = |source| PointError::Scratch { path: path.into(), source };
    durable::create_private(path).and_then(|file| file.set_len(size)).map_err(failed)?;
    Ok(qmp.execute("blockdev-add", node(path, disk)).map(drop)?)
}

fn add_sealed(
    qmp: &mut Qmp,
    path: &Path,
    disk: &Disk,
    size: u64,
    environment: &dyn Environment,
) -> Result<(), PointError> {
    let key = VolumeKey::make(environment)?;
    let name = disk.scratch_key();
    let secrets = Secrets::one(name.clone(), &key);
    // Each attempt makes it anew.
    let prepare = || durable::remove(path).and_then(|()| durable::create_private(path)).map(drop);
    image::make_by(path, size, &Form::Luks, (&name, &secrets), prepare)
        .map_err(|source| PointError::Sealing { volume: disk.id().clone(), source })?;
    secret::send(qmp, secrets, disk.id(), disk.keys(), environment)?;
    let mut sealed = node(path, disk);
    sealed["driver"] = "luks".into();
    sealed["key-secret"] = name.as_str().into();
    let added = qmp.execute("blockdev-add", sealed);
    // It is open, and nobody opens it again.
    let forgotten = qmp.remove_objects([name.as_str()]);
    added?;
    Ok(forgotten?)
}

/// It needn't outlive QEMU.
fn node(path: &Path, disk: &Disk) -> Value {
    let cache = json!({ "direct": false, "no-flush": true });
    json!({
        "driver": "raw",
        "node-name": disk.scratch(),
        "cache": cache,
        "file": { "driver": "file", "filename": path, "cache": cache },
    })
}
