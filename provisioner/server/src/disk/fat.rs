//! A FAT volume of files that are all known beforehand, written once and whole.
//!
//! ```text
//! boot sector │ FAT │ its copy │ root directory │ clusters: directories and files, each in one run
//! ```
//! FAT, since every system reads it: cloud-init and cloudbase-init take it or ISO 9660, BSDs and
//! appliances have it too. Long names (VFAT) hold the names as they are; each has a short one of
//! capital letters beside it. FAT12 or FAT16 by the number of clusters, as the format wants it.
//!
//! The same files, label and time give the same bytes. Nothing here reads a clock, a disk, or
//! anything of a guest; nothing can be changed in a volume or read back from it.
//!
//! Follows Microsoft's "FAT: General Overview of On-Disk Format" (version 1.03, December 2000).

mod directory;
mod geometry;
mod timestamp;
mod tree;

pub(crate) use self::timestamp::Timestamp;
use self::{
    directory::{Entries, LABEL_LENGTH},
    geometry::{Geometry, SECTOR},
    tree::{Content, ROOT, Tree},
};

/// Why there is no volume of these files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VolumeError {
    /// They are more than the largest volume of FAT16 holds.
    #[error("the files are too large for one volume")]
    TooLarge,
    /// A path has a part that is no name here.
    #[error("{path:?} has a part that can't be the name of a file")]
    Name {
        /// Which.
        path: String,
    },
    /// Two paths differ in nothing but the case of letters, or one lies below the other.
    #[error("{path:?} is there twice")]
    Twice {
        /// Which.
        path: String,
    },
    /// There are more entries in the root than it has room for.
    #[error("the root directory has more than {} entries", geometry::ROOT_ENTRIES)]
    RootFull,
}

/// What a volume is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Label([u8; LABEL_LENGTH]);

impl Label {
    /// The label, padded; what is longer than 11 bytes is cut. In small letters too, though the
    /// format has capitals: readers compare it as it is.
    pub(crate) const fn new(text: &str) -> Self {
        let (bytes, mut label, mut at) = (text.as_bytes(), [b' '; LABEL_LENGTH], 0);
        while at < bytes.len() && at < LABEL_LENGTH {
            label[at] = bytes[at];
            at += 1;
        }
        Self(label)
    }
}

/// What a volume says of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Volume {
    /// Its name.
    pub(crate) label: Label,
    /// By which a system knows it again.
    pub(crate) serial: u32,
    /// When all in it was made.
    pub(crate) time: Timestamp,
}

impl Volume {
    /// The volume's bytes: the smallest that holds these files, by their paths.
    pub(crate) fn of(&self, files: &[(&str, &[u8])]) -> Result<Vec<u8>, VolumeError> {
        let tree = Tree::of(files)?;
        if tree.length(ROOT) > geometry::ROOT_BYTES {
            return Err(VolumeError::RootFull);
        }
        let lengths: Vec<usize> = tree.below_root().map(|at| tree.length(at)).collect();
        let geometry = Geometry::fitting(&lengths).ok_or(VolumeError::TooLarge)?;
        let mut image = vec![0; geometry.bytes()];
        image[..SECTOR].copy_from_slice(&geometry.boot_sector(self.label.0, self.serial));
        let starts = self.allocate(&tree, &geometry, &mut image);
        for at in 0..tree.len() {
            let offset = match (at, starts[at]) {
                (ROOT, _) => geometry.root_offset(),
                // An empty file has no cluster.
                (_, 0) => continue,
                (_, cluster) => geometry.cluster_offset(cluster),
            };
            match tree.content(at) {
                Content::File(bytes) => image[offset..offset + bytes.len()].copy_from_slice(bytes),
                Content::Directory { .. } => {
                    let entries = self.entries(&tree, at, &starts);
                    image[offset..offset + entries.len()].copy_from_slice(&entries);
                }
            }
        }
        Ok(image)
    }

    /// Gives every node its run of clusters, and writes the runs into both FATs. The first cluster
    /// of each node; 0 for the root and for empty files.
    fn allocate(&self, tree: &Tree<'_>, geometry: &Geometry, image: &mut [u8]) -> Vec<u16> {
        let mut starts = vec![0; tree.len()];
        let mut fat = geometry.empty_fat();
        let mut next = geometry::FIRST_CLUSTER;
        for at in tree.below_root() {
            let count = geometry.clusters_of(tree.length(at));
            if count == 0 {
                continue;
            }
            starts[at] = next;
            let end = next + count;
            for cluster in next..end - 1 {
                fat.link(cluster, cluster + 1);
            }
            fat.end(end - 1);
            next = end;
        }
        for offset in geometry.fat_offsets() {
            image[offset..offset + fat.bytes().len()].copy_from_slice(fat.bytes());
        }
        starts
    }

    /// A directory's bytes.
    fn entries(&self, tree: &Tree<'_>, at: usize, starts: &[u16]) -> Vec<u8> {
        let Content::Directory { parent, children } = tree.content(at) else { return Vec::new() };
        let mut entries = Entries::new(self.time);
        if at == ROOT {
            entries.label(self.label.0);
        } else {
            entries.dots(starts[at], starts[*parent]);
        }
        for child in children {
            // A volume holds less than 4 GiB.
            let length = match tree.content(*child) {
                Content::File(bytes) => Some(bytes.len() as u32),
                Content::Directory { .. } => None,
            };
            entries.add(tree.name(*child), starts[*child], length);
        }
        entries.finish()
    }
}

#[cfg(test)]
pub(crate) mod tests;
