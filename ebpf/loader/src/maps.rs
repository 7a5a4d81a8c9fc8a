//! The pinned maps, with their types.

use std::{os::fd::OwnedFd, path::Path};

use aya::{
    Pod,
    maps::{Array, HashMap, LpmTrie, Map, MapData, MapError, PerCpuArray, lpm_trie::Key},
};
use mezame_ebpf_common::{
    ALLOWED_KEY_SLOT_BITS, AllowedKey, Endpoint, Holder, Plain, Port, PortKey, PortState, Settings,
    Totals,
};

use crate::syscall;

/// Lets aya carry a shared type.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Raw<T: Plain>(pub(crate) T);

// SAFETY: `Plain` promises what `Pod` asks for, and the wrapper is transparent.
unsafe impl<T: Plain> Pod for Raw<T> {}

/// A map failed.
#[derive(Debug, thiserror::Error)]
#[error("the map {map} can't be {action}")]
pub struct MapFault {
    /// Its name in the program.
    pub map: &'static str,
    /// What was attempted: opened, read or written.
    pub action: &'static str,
    /// What the kernel said.
    #[source]
    pub source: MapError,
}

type Hash<K, V> = HashMap<MapData, Raw<K>, Raw<V>>;

/// All maps but the ring buffer.
pub(crate) struct Maps {
    pub(crate) ports: Table<PortKey, Port>,
    pub(crate) states: Table<PortKey, PortState>,
    pub(crate) holders: Table<u32, Holder>,
    pub(crate) ranges: Ranges,
    pub(crate) addresses: Table<u32, u32>,
    pub(crate) services: Table<Endpoint, Endpoint>,
    pub(crate) targets: Table<Endpoint, Endpoint>,
    pub(crate) settings: Single,
    totals: PerCpuArray<MapData, Raw<Totals>>,
}

impl Maps {
    /// The names in the program.
    pub(crate) const NAMES: [&'static str; 10] = [
        "PORTS",
        "STATES",
        "HOLDERS",
        "RANGES",
        "ADDRESSES",
        "SERVICES",
        "TARGETS",
        "SETTINGS",
        "TOTALS",
        Self::DROPS,
    ];
    /// The ring buffer's.
    pub(crate) const DROPS: &'static str = "DROPS";

    /// Opens the maps that are pinned in a directory.
    pub(crate) fn open(directory: &Path) -> Result<Self, MapFault> {
        let array = pinned(directory, "SETTINGS", Map::Array)?;
        let totals = pinned(directory, "TOTALS", Map::PerCpuArray)?;
        let ranges = pinned(directory, "RANGES", Map::LpmTrie)?;
        Ok(Self {
            ports: Table::open(directory, "PORTS")?,
            states: Table::open(directory, "STATES")?,
            holders: Table::open(directory, "HOLDERS")?,
            ranges: Ranges {
                trie: ranges.try_into().map_err(fault("RANGES", "opened"))?,
                fd: syscall::open_pin(&directory.join("RANGES"))
                    .map_err(|error| fault("RANGES", "opened")(MapError::IoError(error)))?,
            },
            addresses: Table::open(directory, "ADDRESSES")?,
            services: Table::open(directory, "SERVICES")?,
            targets: Table::open(directory, "TARGETS")?,
            settings: Single(array.try_into().map_err(fault("SETTINGS", "opened"))?),
            totals: totals.try_into().map_err(fault("TOTALS", "opened"))?,
        })
    }

    /// The totals of each CPU.
    pub(crate) fn totals(&self) -> Result<Vec<Totals>, MapFault> {
        let values = self.totals.get(&0, 0).map_err(fault("TOTALS", "read"))?;
        Ok(values.iter().map(|raw| raw.0).collect())
    }
}

/// Opens a pinned map.
pub(crate) fn pinned(
    directory: &Path,
    name: &'static str,
    kind: fn(MapData) -> Map,
) -> Result<Map, MapFault> {
    MapData::from_pin(directory.join(name)).map(kind).map_err(fault(name, "opened"))
}

pub(crate) fn fault(
    map: &'static str,
    action: &'static str,
) -> impl FnOnce(MapError) -> MapFault + Copy {
    move |source| MapFault { map, action, source }
}

/// A hash map.
pub(crate) struct Table<K: Plain, V: Plain> {
    name: &'static str,
    map: Hash<K, V>,
}

impl<K: Plain, V: Plain> Table<K, V> {
    fn open(directory: &Path, name: &'static str) -> Result<Self, MapFault> {
        let map = pinned(directory, name, Map::HashMap)?;
        Ok(Self { name, map: map.try_into().map_err(fault(name, "opened"))? })
    }

    pub(crate) fn get(&self, key: K) -> Result<Option<V>, MapFault> {
        match self.map.get(&Raw(key), 0) {
            Ok(value) => Ok(Some(value.0)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(fault(self.name, "read")(error)),
        }
    }

    pub(crate) fn set(&mut self, key: K, value: V) -> Result<(), MapFault> {
        self.map.insert(Raw(key), Raw(value), 0).map_err(fault(self.name, "written"))
    }

    pub(crate) fn remove(&mut self, key: K) -> Result<(), MapFault> {
        match self.map.remove(&Raw(key)) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(fault(self.name, "written")(error)),
        }
    }

    pub(crate) fn keys(&self) -> Result<Vec<K>, MapFault> {
        let keys = self.map.keys().map(|key| key.map(|key| key.0)).collect::<Result<_, _>>();
        keys.map_err(fault(self.name, "read"))
    }
}

fn is_missing(error: &MapError) -> bool {
    match error {
        MapError::SyscallError(call) => call.io_error.raw_os_error() == Some(libc::ENOENT),
        _ => false,
    }
}

/// The settings' array of one.
pub(crate) struct Single(Array<MapData, Raw<Settings>>);

impl Single {
    pub(crate) fn get(&self) -> Result<Settings, MapFault> {
        self.0.get(&0, 0).map(|raw| raw.0).map_err(fault("SETTINGS", "read"))
    }

    pub(crate) fn set(&mut self, settings: Settings) -> Result<(), MapFault> {
        self.0.set(0, Raw(settings), 0).map_err(fault("SETTINGS", "written"))
    }
}

/// The trie of allowed ranges.
///
/// A port's first entry is 0.0.0.0/32, which allows nothing. The trie is walked leaves first and
/// from the left, so that the others of the port follow it, and are found without looking at any
/// other port's.
pub(crate) struct Ranges {
    trie: LpmTrie<MapData, Raw<AllowedKey>, Raw<u32>>,
    fd: OwnedFd,
}

/// A range in the trie: the prefix's length and the first address, wire order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Range {
    pub(crate) length: u8,
    pub(crate) address: u32,
}

const FIRST: Range = Range { length: 32, address: 0 };

/// `struct bpf_lpm_trie_key` with its data.
#[derive(Clone, Copy)]
#[repr(C)]
struct TrieKey {
    length: u32,
    data: AllowedKey,
}

impl Ranges {
    fn key(slot: u32, range: Range) -> Key<Raw<AllowedKey>> {
        let data = AllowedKey { slot: slot.to_be(), address: range.address };
        Key::new(ALLOWED_KEY_SLOT_BITS + u32::from(range.length), Raw(data))
    }

    /// All ranges of a port. Takes time only by their number.
    pub(crate) fn of(&self, slot: u32) -> Result<Vec<Range>, MapFault> {
        let mut found = Vec::new();
        let data = AllowedKey { slot: slot.to_be(), address: FIRST.address };
        let mut key = TrieKey { length: ALLOWED_KEY_SLOT_BITS + 32, data };
        // Without a first entry the walk would begin with another port's.
        match self.trie.get(&Self::key(slot, FIRST), 0) {
            Ok(Raw(0)) => {}
            Ok(_) | Err(MapError::KeyNotFound) => return Ok(found),
            Err(error) => return Err(fault("RANGES", "read")(error)),
        }
        loop {
            // SAFETY: the key is laid out as the trie's keys are.
            let next = unsafe { syscall::next_key(&self.fd, &key) }
                .map_err(|error| fault("RANGES", "read")(MapError::IoError(error)))?;
            match next {
                Some(next) if next.data.slot == data.slot => key = next,
                _ => return Ok(found),
            }
            let length = key.length.saturating_sub(ALLOWED_KEY_SLOT_BITS);
            found.push(Range { length: length as u8, address: key.data.address });
        }
    }

    /// Makes the ranges of a port the wanted ones.
    pub(crate) fn set(&mut self, slot: u32, wanted: &[Range]) -> Result<(), MapFault> {
        let old = self.of(slot)?;
        let write = fault("RANGES", "written");
        if wanted.is_empty() {
            return self.clear(slot);
        }
        self.trie.insert(&Self::key(slot, FIRST), Raw(0), 0).map_err(write)?;
        for range in wanted.iter().filter(|range| !old.contains(range)) {
            self.trie.insert(&Self::key(slot, *range), Raw(1), 0).map_err(write)?;
        }
        for range in old.iter().filter(|range| !wanted.contains(range)) {
            self.remove(slot, *range)?;
        }
        Ok(())
    }

    /// Removes all ranges of a port; the first entry last, so that what is interrupted can be
    /// done again.
    pub(crate) fn clear(&mut self, slot: u32) -> Result<(), MapFault> {
        for range in self.of(slot)? {
            self.remove(slot, range)?;
        }
        self.remove(slot, FIRST)
    }

    /// How many entries all ports have.
    pub(crate) fn count(&self) -> Result<usize, MapFault> {
        let mut count = 0;
        for key in self.trie.keys() {
            key.map_err(fault("RANGES", "read"))?;
            count += 1;
        }
        Ok(count)
    }

    fn remove(&mut self, slot: u32, range: Range) -> Result<(), MapFault> {
        match self.trie.remove(&Self::key(slot, range)) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(fault("RANGES", "written")(error)),
        }
    }
}
