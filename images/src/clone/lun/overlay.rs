//! The overlay on a LUN: whether it fits, made and marked as the one it is, and made blank again, by
//! QEMU's storage daemon. What is neither zeroes nor that very overlay is never written over.

use std::{
    os::unix::ffi::OsStrExt,
    thread,
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    backup::plan::granularity,
    clone::{
        CloneError,
        template::{CLUSTER, OPTIONS, named_as_backing, run},
    },
    iscsi::{Lun, LunAccess, LunError, Mode, OpenLun},
    program::qemu_img,
    qcow2::overlay::{Overlay, marked},
    qmp::{Qmp, QmpError},
    storage_daemon::EXPORT,
    volume::Backing,
};

/// How long QEMU may take to write the tables: some 20 MB for each TiB.
const MAKING: Duration = Duration::from_secs(600);

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Measured {
    fully_allocated: u64,
}

/// An overlay, by what its head says of it.
#[derive(Debug)]
pub(super) struct Expected<'a> {
    /// Which one it is.
    pub(super) mark: &'a str,
    /// What it stands on.
    pub(super) backing: &'a Backing,
    /// The volume's length in bytes.
    pub(super) size: u64,
    /// Whether it was made whole. One that was not may lack its mark, its backing file and its length.
    pub(super) is_made: bool,
}

impl Expected<'_> {
    /// Whether a LUN that begins so has it, and no other one: not one of another master's, nor of
    /// another directory with the same LUN as its master.
    fn is_in(&self, head: &[u8]) -> Result<bool, CloneError> {
        let Some(found) = Overlay::parse(head) else { return Ok(false) };
        if let Some(mark) = found.mark {
            return Ok(mark == self.mark.as_bytes());
        }
        let backing = named_as_backing(&self.backing.place)?;
        let is_begun = match found.backing {
            Some(named) => named == backing.as_os_str().as_bytes() && found.size == self.size,
            None => found.size == 0 || found.size == self.size,
        };
        let is_of_our_form =
            found.has_subclusters && 1u64.checked_shl(found.cluster_bits) == Some(CLUSTER);
        Ok(!self.is_made && is_of_our_form && is_begun)
    }
}

/// That a LUN has this overlay.
pub(super) fn check(
    lun: &Lun,
    access: &LunAccess,
    expected: &Expected<'_>,
) -> Result<(), CloneError> {
    let (_, head) = access.open(lun, Mode::Read)?.head(lun)?;
    if expected.is_in(&head)? {
        return Ok(());
    }
    Err(CloneError::Replaced { path: lun.to_string().into() })
}

/// That an overlay of this many bytes of volume has room on a LUN when all of it is written, as
/// QEMU measures it, and its backups' bitmaps with it; and that the LUN is blank, or has what is ours
/// to write over.
pub(super) fn check_room(
    lun: &Lun,
    access: &LunAccess,
    size: u64,
    ours: Option<&Expected<'_>>,
) -> Result<(), CloneError> {
    let mut measure = qemu_img("measure");
    measure.args(["--output=json", "-O", "qcow2", "-o", OPTIONS, "--size"]).arg(size.to_string());
    let measured = serde_json::from_slice::<Measured>(&run(measure)?);
    let measured = measured
        .map_err(|source| CloneError::Record { path: "qemu-img measure".into(), source })?;
    let needed = measured.fully_allocated.saturating_add(room_for_bitmaps(size));
    let (length, head) = access.open(lun, Mode::Read)?.head(lun)?;
    if length < needed {
        return Err(LunError::TooSmall { lun: Box::new(lun.clone()), length, needed }.into());
    }
    let is_blank = head.iter().all(|byte| *byte == 0);
    if is_blank || ours.map_or(Ok(false), |ours| ours.is_in(&head))? {
        return Ok(());
    }
    Err(LunError::NotBlank(Box::new(lun.clone())).into())
}

/// What the dirty bitmaps of backups take at most, in bytes: two of them, and as much again while they
/// are written anew; of each its bits, and a cluster for its table; and the list of them, twice.
fn room_for_bitmaps(size: u64) -> u64 {
    let bits = size.div_ceil(granularity(size).into());
    (4 * (bits.div_ceil(8 * CLUSTER) + 1) + 2) * CLUSTER
}

/// Makes the overlay, with its mark.
pub(super) fn make(
    lun: &Lun,
    access: &LunAccess,
    overlay: &Expected<'_>,
) -> Result<(), CloneError> {
    let Expected { mark, backing, size, .. } = *overlay;
    let failed = |source| LunError::Open { lun: Box::new(lun.clone()), source };
    let mut open = access.open(lun, Mode::Write)?;
    let options = json!({
        "driver": "qcow2", "file": open.node, "size": size, "version": "v3",
        "extended-l2": true, "cluster-size": CLUSTER, "preallocation": "metadata",
        "backing-file": named_as_backing(&backing.place)?.to_string_lossy(),
        "backing-fmt": backing.format.name(),
    });
    create(open.daemon.qmp(), options).map_err(|error| failed(error.into()))??;
    // The job has flushed what it wrote; the daemon's end says so once more.
    open.daemon.end().map_err(failed)?;
    let open = access.open(lun, Mode::Write)?;
    let (_, head) = open.head(lun)?;
    let begin = marked(&head, mark.as_bytes())
        .ok_or_else(|| CloneError::Replaced { path: lun.to_string().into() })?;
    Ok(write(lun, open, &begin)?)
}

/// Writes a LUN's first bytes, which are durable then.
fn write(lun: &Lun, open: OpenLun, begin: &[u8]) -> Result<(), LunError> {
    let failed = |source| LunError::Open { lun: Box::new(lun.clone()), source };
    let mut blocks = open.daemon.open().map_err(failed)?;
    blocks
        .write(0, begin)
        .and_then(|()| blocks.flush())
        .map_err(|source| LunError::Blocks { lun: Box::new(lun.clone()), source })?;
    drop(blocks);
    open.daemon.end().map_err(failed)
}

/// Runs the job, and gives QEMU's words if it fails. The LUN's export lets nobody resize the node that
/// it serves, which the job wants to, so it goes first.
fn create(qmp: &mut Qmp, options: Value) -> Result<Result<(), CloneError>, QmpError> {
    const JOB: &str = "create";
    let begin = Instant::now();
    // Whether it serves was tried by a connection of ours, of whose end QEMU may not have heard.
    qmp.execute("block-export-del", json!({ "id": EXPORT, "mode": "hard" }))?;
    while !qmp.exports()?.is_empty() {
        if begin.elapsed() > MAKING {
            return Err(QmpError::Deadline { awaited: "block-export-del".into(), bound: MAKING });
        }
        thread::sleep(Duration::from_millis(5));
    }
    qmp.execute("blockdev-create", json!({ "job-id": JOB, "options": options }))?;
    while begin.elapsed() < MAKING {
        let jobs = qmp.execute("query-jobs", json!({}))?;
        let job = jobs.as_array().and_then(|jobs| jobs.iter().find(|job| job["id"] == JOB));
        let Some(job) = job else { return Err(QmpError::Unexpected { expected: "the job" }) };
        if job["status"] == "concluded" {
            let said = job["error"].as_str().map(str::to_owned);
            return Ok(said.map_or(Ok(()), |said| Err(CloneError::Tool { said })));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Err(QmpError::Deadline { awaited: "blockdev-create".into(), bound: MAKING })
}

/// Makes a LUN's head zeroes, if this overlay is on it or it is blank already; whether that is so.
pub(super) fn blank(
    lun: &Lun,
    access: &LunAccess,
    overlay: &Expected<'_>,
) -> Result<bool, CloneError> {
    let open = access.open(lun, Mode::Write)?;
    let (_, head) = open.head(lun)?;
    let is_blank = head.iter().all(|byte| *byte == 0);
    if !is_blank && !overlay.is_in(&head)? {
        return Ok(false);
    }
    write(lun, open, &vec![0; head.len()])?;
    Ok(true)
}
