//! How much room a file system has, so that work of ours ends before others lack it (statvfs(3)).

use std::{io, path::Path};

use nix::sys::statvfs::statvfs;

/// Bytes that who has no privilege can still write to the file system of this folder.
pub fn free(folder: &Path) -> io::Result<u64> {
    let about = statvfs(folder)?;
    #[allow(clippy::useless_conversion, reason = "their types differ by architecture")]
    let (blocks, size) = (u64::from(about.blocks_available()), u64::from(about.fragment_size()));
    Ok(blocks.saturating_mul(size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_room_and_one_that_is_not_there_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(free(folder.path()).unwrap() > 0);
        let gone = free(&folder.path().join("gone")).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    }
}
