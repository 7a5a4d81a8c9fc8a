//! What is in an encrypted overlay's file at an offset, in the clear, whatever its table says of it.
//!
//! LUKS in qcow2 enciphers each sector by where it is in the file. So QEMU can read them all through
//! another qcow2 that is made for it in memory: its table gives each offset to the same offset of its
//! data file, which is the overlay, and its LUKS header is a copy of the overlay's. Nothing of it is
//! on a disk, it is opened for reading alone, and it is gone with the daemon that has it open.
//!
//! After <https://www.qemu.org/docs/master/interop/qcow2.html>: "External data file", "Full disk
//! encryption header".

use std::{
    fs::File,
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::Path,
    process::Command,
};

use serde_json::{Value, json};

use super::RecoveryError;
use crate::{
    encryption::{
        VolumeKeys,
        header::{HEAD, in_qcow2},
        secret::{inherit, key_name, memory_file},
    },
    nbd::Nbd,
    storage_daemon::{DaemonError, StorageDaemon},
    volume::Volume,
};

/// Clusters of 2 MiB, the largest that there are: 8 bytes of memory each.
const CLUSTER_BITS: u32 = 21;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// How many bytes of the file one L2 table is about: 512 GiB.
const SPAN: u64 = CLUSTER / 8 * CLUSTER;
/// The longest file that is viewed, which takes 256 MiB of memory.
const LONGEST: u64 = 64 << 40;
/// In tables' entries: nobody else has this cluster.
const COPIED: u64 = 1 << 63;

/// An overlay's file in the clear.
#[derive(Debug)]
pub(super) struct View {
    daemon: StorageDaemon,
    blocks: Nbd,
}

impl View {
    /// That of an overlay that a daemon of ours has open; none if it is not encrypted.
    pub(super) fn open(
        volume: &Volume,
        file: &File,
        keys: &VolumeKeys,
        run: &Path,
    ) -> Result<Option<Self>, RecoveryError> {
        let Some(number) = volume.key() else { return Ok(None) };
        let io = |source| RecoveryError::Io { path: volume.place().called(), source };
        let table = OwnedFd::from(make(file).map_err(io)?);
        let mut node = volume.header_node(number);
        let (name, path) = (volume.id().node("view"), format!("/dev/fd/{}", table.as_raw_fd()));
        let mut data = node["file"].take();
        data["node-name"] = volume.id().node("view-data").into();
        node = json!({
            "driver": "qcow2", "node-name": name, "read-only": true, "force-share": true,
            "encrypt": { "format": "luks", "key-secret": key_name(volume.id(), number) },
            "file": { "driver": "file", "filename": path },
            "data-file": data, "backing": Value::Null,
        });
        let mut command = Command::new("qemu-storage-daemon");
        let own = crate::encryption::secret::Secrets::of(volume.id(), number, keys)?;
        own.attach(&mut command).map_err(DaemonError::Secrets)?;
        inherit(&mut command, vec![table]);
        let daemon = StorageDaemon::start_by(command, &node, run)?;
        let blocks = daemon.open()?;
        Ok(Some(Self { daemon, blocks }))
    }

    /// Fills `into` with what is at an offset of the file; how many bytes that is.
    pub(super) fn read(&mut self, offset: u64, into: &mut [u8]) -> Result<u64, RecoveryError> {
        self.blocks.read(offset, into)?;
        Ok(into.len() as u64)
    }

    pub(super) fn end(self) -> Result<(), RecoveryError> {
        drop(self.blocks);
        Ok(self.daemon.end()?)
    }
}

/// The other qcow2, in memory.
fn make(overlay: &File) -> io::Result<File> {
    let mut head = vec![0; HEAD];
    overlay.read_exact_at(&mut head, 0)?;
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let place = in_qcow2(&head).map_err(|fault| invalid(&fault.to_string()))?;
    let place = place.ok_or_else(|| invalid("it is not encrypted"))?;
    let length = overlay.metadata()?.len();
    if length > LONGEST {
        return Err(invalid("it is longer than 64 TiB"));
    }
    let mut luks = vec![0; usize::try_from(place.end - place.start).unwrap_or(usize::MAX)];
    overlay.read_exact_at(&mut luks, place.start)?;
    let view = memory_file("view")?;
    for (at, bytes) in pieces(&luks, length) {
        view.write_all_at(&bytes, at)?;
    }
    Ok(view)
}

/// Its parts, and where they are: the head, the L1 table, the LUKS header, and one L2 table after the
/// other. A refcount table is named and empty: nothing is allocated in what is only read.
fn pieces(luks: &[u8], length: u64) -> impl Iterator<Item = (u64, Vec<u8>)> {
    let tables = length.div_ceil(SPAN);
    let first = 3 * CLUSTER + (luks.len() as u64).next_multiple_of(CLUSTER);
    let head = head(luks.len() as u64, length, tables);
    let l1 = (0..tables).flat_map(move |at| ((first + at * CLUSTER) | COPIED).to_be_bytes());
    let before = [(0, head), (CLUSTER, l1.collect()), (3 * CLUSTER, luks.to_vec())];
    let l2 = move |table: u64| {
        let clusters = (table * SPAN..((table + 1) * SPAN).min(length)).step_by(CLUSTER as usize);
        (first + table * CLUSTER, clusters.flat_map(|at| (at | COPIED).to_be_bytes()).collect())
    };
    // To the end of the last table, which is read whole.
    let end = (first + tables * CLUSTER - 1, vec![0]);
    let is_full = length.is_multiple_of(SPAN);
    before.into_iter().chain((0..tables).map(l2)).chain((!is_full).then_some(end))
}

/// The first cluster: a header of 104 bytes, and the extension that names the LUKS header.
fn head(luks: u64, length: u64, tables: u64) -> Vec<u8> {
    /// An incompatible feature: the data is in another file.
    const DATA_FILE: u64 = 1 << 2;
    const LUKS: u32 = 2;
    let tables = u32::try_from(tables).unwrap_or(u32::MAX);
    let mut head = b"QFI\xfb\0\0\0\x03".to_vec();
    // No backing file.
    head.extend([0; 12]);
    head.extend(CLUSTER_BITS.to_be_bytes());
    head.extend(length.next_multiple_of(CLUSTER).to_be_bytes());
    head.extend([LUKS.to_be_bytes(), tables.to_be_bytes()].concat());
    head.extend([CLUSTER.to_be_bytes(), (2 * CLUSTER).to_be_bytes()].concat());
    head.extend([1_u32.to_be_bytes(), 0_u32.to_be_bytes()].concat());
    // No snapshots; no other features.
    head.extend([0; 8]);
    head.extend([DATA_FILE.to_be_bytes(), [0; 8], [0; 8]].concat());
    // Refcounts of 16 bits; the length of this header.
    head.extend([4_u32.to_be_bytes(), 104_u32.to_be_bytes()].concat());
    head.extend([0x0537_be77_u32.to_be_bytes(), 16_u32.to_be_bytes()].concat());
    head.extend([(3 * CLUSTER).to_be_bytes(), luks.to_be_bytes()].concat());
    // No further extension.
    head.extend([0; 8]);
    head
}
