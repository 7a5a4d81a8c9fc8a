//! What is handed out in order.

use std::io;

use super::*;

fn streamed(archive: &Archive, id: ImageId, from: u64) -> Vec<u8> {
    let image = archive.view(id, Viewer::Operator, &no_keys).unwrap();
    let mut bytes = Vec::new();
    let length = archive.stream(&image, from, &mut bytes, &Unwatched).unwrap();
    assert_eq!(length, bytes.len() as u64);
    bytes
}

#[test]
fn a_stream_is_the_disk_from_any_place_on() {
    let (_, archive) = fresh();
    // Zeros first, between and last; a chunk twice; more than is looked for at once; a short end.
    let letters: Vec<u8> = (0..40).map(|n| [0, 1, 2, 0, 0, 3, 1][n % 7]).collect();
    let mut disk = Disk::of(&letters);
    disk.bytes.truncate(disk.bytes.len() - 1000);
    let id = import(&archive, &disk).image.id;
    let (chunk, size) = (CHUNK as u64, disk.bytes.len() as u64);
    for from in [0, 1, chunk - 1, chunk, 5 * chunk + 77, 16 * chunk, size - 1, size, size + 1] {
        let wanted = disk.bytes.get(from as usize..).unwrap_or_default();
        assert!(streamed(&archive, id, from) == wanted, "from {from}");
    }
}

#[test]
fn an_end_of_zeros_that_fills_no_chunk_is_as_long_as_the_disk() {
    let (_, archive) = fresh();
    let disk = Disk::new(vec![0; CHUNK + 5]);
    let id = import(&archive, &disk).image.id;
    assert_eq!(streamed(&archive, id, 0).len(), CHUNK + 5);
    assert_eq!(streamed(&archive, id, CHUNK as u64 + 2), [0, 0, 0]);
}

#[test]
fn a_sink_that_fails_is_told_with_its_place() {
    struct Full(usize);
    impl io::Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 < bytes.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0 -= bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (_, archive) = fresh();
    let id = import(&archive, &Disk::of(&[1, 0, 2])).image.id;
    let image = archive.view(id, Viewer::Operator, &no_keys).unwrap();
    let failed = archive.stream(&image, 0, &mut Full(2 * CHUNK), &Unwatched);
    let place = 2 * CHUNK as u64;
    assert!(matches!(failed, Err(ArchiveError::Target { offset, .. }) if offset == place));
}

#[test]
fn what_is_stored_is_counted() {
    let (_, archive) = fresh();
    assert_eq!(archive.stored().unwrap(), Stored::default());
    import(&archive, &Disk::of(&[1, 2]));
    let stored = archive.stored().unwrap();
    assert_eq!((stored.records, stored.packs, stored.sessions), (1, 1, 0));
    assert!(stored.bytes > 1000);
}
