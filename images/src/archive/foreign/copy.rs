//! A file that somebody brought, as it was when it was digested: a copy without a name, that nobody
//! else can change.
//!
//! What the file's owner writes to it later neither comes into the image that the digest is told
//! of, nor past the look at its head. The copy is sparse.

use std::{fs::File, io, os::unix::fs::FileExt};

use ring::digest::{Context, SHA256};

use super::{FileImport, ForeignError, check_room, in_scratch};
use crate::{
    archive::{ArchiveError, Phase, Progress, Watch, chunk::is_zeros, id::hex},
    nameless::nameless,
};

/// Bytes that are read at once; such a part is a hole of the copy where it is zeros.
const PART: usize = 64 * 1024;
/// After so many of its bytes it is looked whether there is room for more.
const LOOK: u64 = 16 << 20;

/// A copy that has the digest and the signature that it should.
pub(super) struct Copied {
    pub(super) file: File,
    pub(super) sha256: String,
    /// Who signed it, where a signature was given.
    pub(super) signer: Option<String>,
}

/// Copies a file that had `size` bytes when it was opened.
pub(super) fn copy(
    file: &File,
    size: u64,
    import: &FileImport<'_>,
    watch: &dyn Watch,
) -> Result<Copied, ForeignError> {
    let of_file = |source| ForeignError::Io { path: import.path.into(), source };
    let of_copy = |source| in_scratch(import, source);
    let copy = nameless(import.scratch).map_err(of_copy)?;
    let mut sha256 = Context::new(&SHA256);
    let mut signed =
        import.signature.map(|(signature, _)| Context::new(signature.hash().algorithm()));
    let mut buffer = vec![0; PART];
    let mut at = 0u64;
    watch.enter(Phase::Checking);
    loop {
        if watch.is_cancelled() {
            return Err(ArchiveError::Cancelled.into());
        }
        if at.is_multiple_of(LOOK) {
            check_room(import)?;
        }
        let part = read_part(file, &mut buffer, at).map_err(of_file)?;
        if part.is_empty() {
            break;
        }
        // Somebody who appends to it all the time would fill the disk.
        if at + part.len() as u64 > size {
            return Err(ForeignError::Changed { path: import.path.into() });
        }
        sha256.update(part);
        signed.iter_mut().for_each(|context| context.update(part));
        if !is_zeros(part) {
            copy.write_all_at(part, at).map_err(of_copy)?;
        }
        at += part.len() as u64;
        watch.tell(Progress { done: at, total: size, written: 0 });
    }
    copy.set_len(at).map_err(of_copy)?;
    let found = sha256.finish();
    check_digest(found.as_ref(), import)?;
    let signer = check_signature(signed, import)?;
    Ok(Copied { file: copy, sha256: hex(found.as_ref()), signer })
}

/// Fills the buffer as far as the file goes.
pub(super) fn read_part<'a>(file: &File, buffer: &'a mut [u8], at: u64) -> io::Result<&'a [u8]> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(&buffer[..filled])
}

fn check_digest(found: &[u8], import: &FileImport<'_>) -> Result<(), ForeignError> {
    match &import.sha256 {
        Some(wanted) if found != wanted => Err(ForeignError::Digest {
            path: import.path.into(),
            found: hex(found),
            wanted: hex(wanted),
        }),
        _ => Ok(()),
    }
}

fn check_signature(
    signed: Option<Context>,
    import: &FileImport<'_>,
) -> Result<Option<String>, ForeignError> {
    let (Some((signature, trusted)), Some(signed)) = (import.signature, signed) else {
        return Ok(None);
    };
    let verified = signature.verify(trusted, signed.finish().as_ref());
    let name =
        verified.map_err(|source| ForeignError::Signature { path: import.path.into(), source })?;
    Ok(Some(name.to_string()))
}
