//! Tests of the snapshot file: what is damaged is refused, what is whole comes back.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::fixture;

struct Place {
    directory: tempfile::TempDir,
    key: LedgerKey,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = LedgerKey::open(&directory.path().join("key")).unwrap();
        Self { directory, key }
    }

    fn file(&self) -> std::path::PathBuf {
        self.directory.path().join("snapshot.ledger")
    }
}

#[test]
fn a_snapshot_comes_back_as_it_was() {
    let place = Place::new();
    let mut snapshot = fixture::world();
    snapshot.generation = Generation(41);
    write(&place.file(), &place.key, &snapshot).unwrap();
    assert_eq!(read(&place.file(), &place.key).unwrap().unwrap(), snapshot);
}

#[test]
fn a_snapshot_of_many_chunks_comes_back_as_it_was() {
    let place = Place::new();
    let snapshot = fixture::snapshot(3, 0..3000);
    write(&place.file(), &place.key, &snapshot).unwrap();
    assert!(fs::metadata(place.file()).unwrap().len() > 2 * CHUNK as u64);
    assert_eq!(read(&place.file(), &place.key).unwrap().unwrap(), snapshot);
}

#[test]
fn no_file_is_no_snapshot() {
    let place = Place::new();
    assert!(read(&place.file(), &place.key).unwrap().is_none());
}

#[test]
fn the_file_shows_nothing_of_what_it_holds_and_only_its_owner_reads_it() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new();
    let mut snapshot = fixture::snapshot(1, [1]);
    Arc::make_mut(&mut snapshot.instances[0]).hostname = "findme-in-plain-text".into();
    write(&place.file(), &place.key, &snapshot).unwrap();
    let bytes = fs::read(place.file()).unwrap();
    assert!(!bytes.windows(6).any(|part| part == b"findme"));
    assert_eq!(fs::metadata(place.file()).unwrap().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(place.directory.path().join("key")).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn another_key_does_not_open_it() {
    let place = Place::new();
    write(&place.file(), &place.key, &fixture::snapshot(1, [1])).unwrap();
    let other = LedgerKey::open(&place.directory.path().join("other")).unwrap();
    assert!(matches!(read(&place.file(), &other), Err(LedgerError::Damaged { .. })));
}

#[test]
fn a_key_that_others_may_read_is_refused_with_the_mend() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let path = place.directory.path().join("key");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = LedgerKey::open(&path).unwrap_err().to_string();
    assert!(error.contains("chmod 600"), "{error}");
}

#[test]
fn a_key_of_another_length_is_refused() {
    let place = Place::new();
    let path = place.directory.path().join("key");
    fs::write(&path, b"short").unwrap();
    assert!(matches!(LedgerKey::open(&path), Err(LedgerError::Key { .. })));
}

#[test]
fn chunks_that_change_places_are_refused() {
    let place = Place::new();
    write(&place.file(), &place.key, &fixture::snapshot(1, 0..3)).unwrap();
    let bytes = fs::read(place.file()).unwrap();
    let mut chunks = Vec::new();
    let mut rest = &bytes[40..];
    while !rest.is_empty() {
        let head = u32::from_be_bytes(rest[..4].try_into().unwrap()) & 0x7fff_ffff;
        let (chunk, tail) = rest.split_at(4 + head as usize);
        chunks.push(chunk);
        rest = tail;
    }
    let swapped = [&bytes[..40], chunks[0], chunks[2], chunks[1]].concat();
    let swapped = [swapped, chunks[3..].concat()].concat();
    assert_eq!(swapped.len(), bytes.len());
    fs::write(place.file(), swapped).unwrap();
    assert!(matches!(read(&place.file(), &place.key), Err(LedgerError::Damaged { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// A torn or flipped file is refused, whatever was done to it.
    #[test]
    fn a_damaged_file_is_refused(at in 0usize..100_000, flip in 1u8..=255, cut: bool) {
        let place = Place::new();
        write(&place.file(), &place.key, &fixture::snapshot(1, 0..2)).unwrap();
        let mut bytes = fs::read(place.file()).unwrap();
        let at = at % bytes.len();
        if cut {
            bytes.truncate(at);
        } else {
            bytes[at] ^= flip;
        }
        fs::write(place.file(), bytes).unwrap();
        let refused = matches!(
            read(&place.file(), &place.key),
            Err(LedgerError::Damaged { .. } | LedgerError::Version { .. })
        );
        prop_assert!(refused, "opened although byte {at} was changed or the rest cut off");
    }
}
