//! How much room a file system has, so that work of ours ends before others lack it (statvfs(3)).

use std::{io, path::Path};

use nix::sys::statvfs::statvfs;

/// Bytes that who has no privilege can still write to the file system of this folder.
pub fn free(folder: &Path) -> io::Result<u64> {
    let about = statvfs(folder)?;
    Ok(bytes(about.blocks_available(), about.fragment_size()))
}

/// How large the file system of this folder is, in bytes.
pub fn size(folder: &Path) -> io::Result<u64> {
    let about = statvfs(folder)?;
    Ok(bytes(about.blocks(), about.fragment_size()))
}

/// What is left to others on this folder's file system unless somebody says otherwise: a tenth of
/// it, and no more than 2 GiB.
pub fn usual_reserve(folder: &Path) -> io::Result<u64> {
    let about = statvfs(folder)?;
    Ok((bytes(about.blocks(), about.fragment_size()) / 10).min(2 << 30))
}

/// Their types differ by architecture.
fn bytes(blocks: impl Into<u64>, size: impl Into<u64>) -> u64 {
    blocks.into().saturating_mul(size.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_room_and_one_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let free_bytes = free(folder.path()).unwrap();
        assert!(free_bytes > 0 && size(folder.path()).unwrap() >= free_bytes);
        let reserve = usual_reserve(folder.path()).unwrap();
        assert!((1..=2 << 30).contains(&reserve));
        let gone = free(&folder.path().join("gone")).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    }
}
