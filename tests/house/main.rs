//! The rules of the house that no compiler checks. No privileges needed.

#![allow(clippy::unwrap_used, reason = "everything here is a test")]

mod imports;
mod licences;
mod paths;
mod scripts;
mod sources;

use std::path::{Path, PathBuf};

/// The workspace's directory.
fn workspace() -> PathBuf {
    // Of the run and not of the compilation, which may have been for another checkout.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
    Path::new(&here).join("..").canonicalize().unwrap()
}

/// What cargo knows of the workspace and of all that it depends on.
fn metadata() -> cargo_metadata::Metadata {
    cargo_metadata::MetadataCommand::new()
        .manifest_path(workspace().join("Cargo.toml"))
        .other_options(["--locked".to_owned()])
        .exec()
        .unwrap()
}

/// All Rust files below a directory, built ones excepted, sorted.
fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                waiting.push(path);
            } else if name.ends_with(".rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(!files.is_empty(), "no Rust file in {}", directory.display());
    files
}

/// A file's code: no comments, and no module that only tests compile.
fn code_of(file: &Path) -> String {
    paths::code(&std::fs::read_to_string(file).unwrap())
}
