//! Tests of the archive as a whole, on a store in memory.

mod damage;
mod encrypted;
mod folders;
mod interleaved;
mod lost;
mod seen;
mod sessions;
mod streams;
mod troubled;
mod unreachable;
mod whole;

use std::sync::Mutex;

use self::troubled::Troubled;
use super::{
    domain::Domain,
    source::{Content, Extent, Source},
    store::memory::Memory,
    target::Target,
    *,
};
use crate::{
    archive::chunk::CHUNK,
    environment::{Environment, fixed::FixedEnvironment},
};

/// A disk in memory. Where `extents` are given it fails to read what they let out.
pub(super) struct Disk {
    pub(super) bytes: Vec<u8>,
    pub(super) extents: Vec<Extent>,
}

impl Disk {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, extents: Vec::new() }
    }

    /// A disk whose chunks are each filled by what their letter stands for; 0 stands for zeros.
    pub(super) fn of(letters: &[u8]) -> Self {
        let chunk = |letter: &u8| {
            let mut bytes = vec![0; CHUNK];
            if *letter != 0 {
                for (place, part) in bytes.chunks_mut(1024).enumerate() {
                    part[0] = *letter;
                    part[1..3].copy_from_slice(&(place as u16).to_le_bytes());
                }
            }
            bytes
        };
        Self::new(letters.iter().flat_map(chunk).collect())
    }
}

impl Source for Disk {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn extents(&self) -> std::io::Result<Vec<Extent>> {
        Ok(self.extents.clone())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        let range = offset as usize..offset as usize + buffer.len();
        buffer.copy_from_slice(&self.bytes[range]);
        Ok(())
    }
}

/// What an image is restored to.
#[derive(Default)]
pub(super) struct Restored {
    pub(super) bytes: Mutex<Vec<u8>>,
    pub(super) is_blank: bool,
}

impl Target for Restored {
    fn prepare(&self, size: u64) -> std::io::Result<()> {
        self.bytes.lock().unwrap().resize(size as usize, 0);
        Ok(())
    }

    fn is_blank(&self) -> bool {
        self.is_blank
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        let range = offset as usize..offset as usize + buffer.len();
        buffer.copy_from_slice(&self.bytes.lock().unwrap()[range]);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> std::io::Result<()> {
        let range = offset as usize..offset as usize + bytes.len();
        self.bytes.lock().unwrap()[range].copy_from_slice(bytes);
        Ok(())
    }

    fn write_zeros(&self, length: u64, offset: u64) -> std::io::Result<()> {
        self.write_at(&vec![0; length as usize], offset)
    }

    fn finish(&self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An archive in memory that waits for sessions.
pub(super) fn fresh() -> (Arc<Memory>, Archive) {
    let memory = Arc::new(Memory::new());
    let archive = archive(memory.clone(), 1, Duration::from_secs(900));
    (memory, archive)
}

pub(super) fn import(archive: &Archive, disk: &Disk) -> Imported {
    archive.import(&new(&project("web"), None), disk, &Unwatched).unwrap()
}

fn stored(memory: &Memory) -> u64 {
    memory.list(prefix::PACKS).unwrap().iter().map(|object| object.length).sum()
}

pub(super) fn project(name: &str) -> mezame_model::ProjectName {
    mezame_model::ProjectName::parse(name).unwrap()
}

/// An archive with one thread that ends sessions after this time; made where there is none.
pub(super) fn archive(store: Arc<dyn Store>, seed: u64, dead_after: Duration) -> Archive {
    let settings = Settings { threads: 1, beat: None, dead_after };
    let environment = Arc::new(FixedEnvironment::new(seed));
    match Archive::open(store.clone(), environment.clone(), settings) {
        Err(ArchiveError::NoArchive) => Archive::create(store, environment, settings).unwrap(),
        other => other.unwrap(),
    }
}

pub(super) fn new<'a>(
    project: &'a mezame_model::ProjectName,
    base: Option<&'a Visible>,
) -> NewImage<'a> {
    NewImage {
        project,
        kind: Kind::Backup,
        detail: Detail { name: "disk".into(), ..Detail::default() },
        key: None,
        base,
    }
}

pub(super) fn no_keys(_: &mezame_model::ProjectName) -> KeyOf {
    KeyOf::Open
}

pub(super) fn restore(archive: &Archive, id: ImageId) -> Result<Vec<u8>, ArchiveError> {
    let image = archive.view(id, Viewer::Operator, &no_keys)?;
    let target = Restored { is_blank: true, ..Restored::default() };
    archive.export(&image, &target, &Unwatched)?;
    Ok(target.bytes.into_inner().unwrap())
}

/// The names of all objects below a prefix but its marker's.
pub(super) fn names(store: &Memory, prefix: &str) -> Vec<String> {
    let listed = store.list(prefix).unwrap();
    let own = listed.iter().filter(|object| object.name != ObjectName::marker(prefix));
    own.map(|object| object.name.to_string()).collect()
}

/// That a part of a disk is of this content.
pub(super) fn extent(first: usize, count: usize, content: Content) -> Extent {
    let (offset, length) = ((first * CHUNK) as u64, (count * CHUNK) as u64);
    Extent { offset, length, content }
}

/// Text that no chance brings into a store.
pub(super) const SECRET: &[u8] = b"-----BEGIN OPENSSH PRIVATE KEY-----";

pub(super) fn secret_disk() -> Disk {
    let mut bytes = Disk::of(&[1, 2, 0, 3]).bytes;
    bytes[CHUNK + 5..CHUNK + 5 + SECRET.len()].copy_from_slice(SECRET);
    // And a chunk that can't be compressed.
    FixedEnvironment::new(3).fill(&mut bytes[..CHUNK]).unwrap();
    Disk::new(bytes)
}
