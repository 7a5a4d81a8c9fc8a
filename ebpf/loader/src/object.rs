//! The built program.
//!
//! It is checked in beside this crate, so that an ordinary build needs no BPF tool chain;
//! `cargo xtask ebpf` builds it anew. Licensed to the kernel as GPL; its source is `ebpf/program`.

use std::{
    borrow::Cow,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// Names a file that is loaded in place of the embedded object, so that tests run what was just
/// built from source.
const REPLACEMENT: &str = "MEZAME_EBPF_OBJECT";

static EMBEDDED: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("CARGO_MANIFEST_DIR"), "/program.bpf.o"));

/// An object file could not be read.
#[derive(Debug, thiserror::Error)]
#[error("can't read the eBPF object {path}")]
pub struct ObjectError {
    /// Which file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// An object file, and its SHA-256.
pub(crate) struct Object {
    pub(crate) bytes: Cow<'static, [u8]>,
    pub(crate) digest: [u8; 32],
}

impl Object {
    /// The embedded object, or the one that the environment names.
    pub(crate) fn find() -> Result<Self, ObjectError> {
        Self::of(std::env::var_os(REPLACEMENT))
    }

    fn of(replacement: Option<OsString>) -> Result<Self, ObjectError> {
        match replacement {
            None => Ok(Self::new(Cow::Borrowed(EMBEDDED))),
            Some(path) => Self::read(Path::new(&path)),
        }
    }

    /// An object file.
    pub(crate) fn read(path: &Path) -> Result<Self, ObjectError> {
        match std::fs::read(path) {
            Ok(bytes) => Ok(Self::new(Cow::Owned(bytes))),
            Err(source) => Err(ObjectError { path: path.into(), source }),
        }
    }

    fn new(bytes: Cow<'static, [u8]>) -> Self {
        let digest = Sha256::digest(&bytes).into();
        Self { bytes, digest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replacement_that_can_not_be_read_is_an_error_and_not_ignored() {
        let error = Object::of(Some("/nowhere/program.o".into())).err().unwrap();
        assert!(error.to_string().contains("/nowhere/program.o"), "{error}");
    }

    #[test]
    fn the_embedded_object_is_an_elf_file_without_a_path_of_the_machine_it_was_built_on() {
        let object = Object::of(None).unwrap();
        assert_eq!(object.bytes[..4], *b"\x7fELF");
        let here = env!("CARGO_MANIFEST_DIR").as_bytes();
        for path in [here, b"/home/", b"/root/", b"/tmp/", b"/registry/src/"] {
            let found = object.bytes.windows(path.len()).any(|window| window == path);
            assert!(!found, "{}", String::from_utf8_lossy(path));
        }
    }
}
