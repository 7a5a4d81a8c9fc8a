//! The pinned maps, with their types.

use std::path::Path;

use aya::{
    Pod,
    maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray},
};
use mezame_ebpf_common::{
    Endpoint, Endpoint6, Holder, Plain, Port, PortKey, PortState, Settings, Totals,
};

use crate::ranges::Ranges;

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
    pub(crate) ranges: Ranges<u32>,
    pub(crate) ranges6: Ranges<[u32; 4]>,
    pub(crate) addresses: Table<u32, u32>,
    pub(crate) services: Table<Endpoint, Endpoint>,
    pub(crate) targets: Table<Endpoint, Endpoint>,
    pub(crate) addresses6: Table<[u32; 4], u32>,
    pub(crate) services6: Table<Endpoint6, Endpoint6>,
    pub(crate) targets6: Table<Endpoint6, Endpoint6>,
    pub(crate) settings: Single,
    totals: PerCpuArray<MapData, Raw<Totals>>,
}

impl Maps {
    /// The names in the program.
    pub(crate) const NAMES: [&'static str; 14] = [
        "PORTS",
        "STATES",
        "HOLDERS",
        "RANGES",
        "RANGES6",
        "ADDRESSES",
        "SERVICES",
        "TARGETS",
        "ADDRESSES6",
        "SERVICES6",
        "TARGETS6",
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
        Ok(Self {
            ports: Table::open(directory, "PORTS")?,
            states: Table::open(directory, "STATES")?,
            holders: Table::open(directory, "HOLDERS")?,
            ranges: Ranges::open(directory)?,
            ranges6: Ranges::open(directory)?,
            addresses: Table::open(directory, "ADDRESSES")?,
            services: Table::open(directory, "SERVICES")?,
            targets: Table::open(directory, "TARGETS")?,
            addresses6: Table::open(directory, "ADDRESSES6")?,
            services6: Table::open(directory, "SERVICES6")?,
            targets6: Table::open(directory, "TARGETS6")?,
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

/// Whether there is no such entry.
pub(crate) fn is_missing(error: &MapError) -> bool {
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
