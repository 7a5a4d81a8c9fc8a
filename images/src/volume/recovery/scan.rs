//! Finding what an overlay has lost: its table beside its holes.

use std::{
    fs::File,
    ops::{ControlFlow, Range},
    os::unix::fs::FileExt,
    path::Path,
};

use super::{RecoveryError, holes::DataMap, tables};
use crate::volume::allocation::{Cluster, HEADER, Header};

/// Whether whoever looks wants to see more.
type Looked = Result<ControlFlow<()>, RecoveryError>;

/// A subcluster that the table gives to the master, with data in the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lost {
    /// Its first byte in the volume.
    pub(super) volume: u64,
    /// Its first byte in the file.
    pub(super) file: u64,
    /// In bytes; shorter than a subcluster only at the volume's end.
    pub(super) length: u64,
    /// Where in the file its data is, in order.
    pub(super) data: Vec<Range<u64>>,
}

/// Finds all that an overlay has lost, one L2 table after the other, so that no more than one is in
/// memory. `found` may end it.
pub(super) fn each_lost(
    file: &File,
    path: &Path,
    found: &mut dyn FnMut(Lost) -> Result<ControlFlow<()>, RecoveryError>,
) -> Result<(), RecoveryError> {
    each_table(file, path, &mut |header, clusters| of_table(file, path, header, clusters, found))
}

/// Reads the L2 tables of an overlay one after the other. `look` may end it.
fn each_table(
    file: &File,
    path: &Path,
    look: &mut dyn FnMut(&Header, Vec<Cluster>) -> Looked,
) -> Result<(), RecoveryError> {
    let io = |source| RecoveryError::Io { path: path.into(), source };
    let refused = |source| RecoveryError::Tables { path: path.into(), source };
    let header = header(file, path)?;
    let end = file.metadata().map_err(io)?.len();
    let (at, length) = header.l1();
    let l1 = table(file, at, length, end, path)?;
    let length = usize::try_from(header.cluster()).map_err(|_| tables(path))?;
    for (at, begin) in header.l2_tables(&l1).map_err(refused)? {
        let l2 = table(file, at, length, end, path)?;
        let clusters = header.clusters(&l2, begin).map_err(refused)?;
        if look(&header, clusters)?.is_break() {
            break;
        }
    }
    Ok(())
}

/// What an overlay's header says.
pub(super) fn header(file: &File, path: &Path) -> Result<Header, RecoveryError> {
    let mut head = [0; HEADER];
    file.read_exact_at(&mut head, 0)
        .map_err(|source| RecoveryError::Io { path: path.into(), source })?;
    Header::parse(&head).map_err(|source| RecoveryError::Tables { path: path.into(), source })
}

/// Whether every cluster of an overlay from this byte of the volume on has its place in the file.
pub(super) fn has_places(file: &File, path: &Path, begin: u64) -> Result<bool, RecoveryError> {
    let header = header(file, path)?;
    let first = begin / header.cluster();
    let mut placed = 0;
    each_table(file, path, &mut |header, clusters| {
        let is_meant = |it: &&Cluster| it.volume / header.cluster() >= first;
        placed += clusters.iter().filter(is_meant).count() as u64;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(placed == header.size().div_ceil(header.cluster()).saturating_sub(first))
}

/// Whether an overlay has lost anything.
pub(super) fn is_any_lost(file: &File, path: &Path) -> Result<bool, RecoveryError> {
    let mut is_any = false;
    each_lost(file, path, &mut |_| {
        is_any = true;
        Ok(ControlFlow::Break(()))
    })?;
    Ok(is_any)
}

/// What the clusters of one table have lost, in the order of the file.
fn of_table(
    file: &File,
    path: &Path,
    header: &Header,
    mut clusters: Vec<Cluster>,
    lost: &mut dyn FnMut(Lost) -> Result<ControlFlow<()>, RecoveryError>,
) -> Result<ControlFlow<()>, RecoveryError> {
    let io = |source| RecoveryError::Io { path: path.into(), source };
    clusters.retain(|cluster| cluster.open != 0);
    clusters.sort_unstable_by_key(|cluster| cluster.file);
    let Some(first) = clusters.first() else { return Ok(ControlFlow::Continue(())) };
    let mut map = DataMap::of(file).map_err(io)?;
    let mut data = map.next(first.file).map_err(io)?;
    for cluster in clusters {
        while let Some(range) = data.as_ref().filter(|range| range.end <= cluster.file) {
            // Straight to this cluster, and not through all the data before it.
            data = map.next(range.end.max(cluster.file)).map_err(io)?;
        }
        let mut found = Vec::new();
        while let Some(range) = &data
            && range.start < cluster.file + header.cluster()
        {
            found.push(range.clone());
            if range.end >= cluster.file + header.cluster() {
                break;
            }
            data = map.next(range.end).map_err(io)?;
        }
        for one in of_cluster(header, cluster, &found) {
            if lost(one)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// What a cluster has lost, where the file has data in these places.
fn of_cluster<'a>(
    header: &'a Header,
    cluster: Cluster,
    found: &'a [Range<u64>],
) -> impl Iterator<Item = Lost> + 'a {
    cluster.open_subclusters().filter_map(move |at| {
        let within = u64::from(at) * header.subcluster();
        let (volume, file) = (cluster.volume + within, cluster.file + within);
        let length = header.subcluster().min(header.size().checked_sub(volume)?);
        let data: Vec<_> = found
            .iter()
            .map(|range| range.start.max(file)..range.end.min(file + length))
            .filter(|range| range.start < range.end)
            .collect();
        (!data.is_empty()).then_some(Lost { volume, file, length, data })
    })
}

/// A table, which must be within the file.
fn table(
    file: &File,
    at: u64,
    length: usize,
    end: u64,
    path: &Path,
) -> Result<Vec<u8>, RecoveryError> {
    let last = u64::try_from(length).ok().and_then(|length| at.checked_add(length));
    if last.is_none_or(|last| last > end) {
        return Err(tables(path));
    }
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at)
        .map_err(|source| RecoveryError::Io { path: path.into(), source })?;
    Ok(bytes)
}
