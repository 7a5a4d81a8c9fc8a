//! The tries of allowed ranges, one for each family.
//!
//! A port's first entry is 0.0.0.0/32 or ::/128, which allows nothing. A trie is walked leaves
//! first and from the left, so that the others of the port follow it, and are found without
//! looking at any other port's.

use std::{fmt::Debug, os::fd::OwnedFd, path::Path};

use aya::maps::{LpmTrie, Map, MapData, MapError, lpm_trie::Key};
use mezame_ebpf_common::{ALLOWED_KEY_SLOT_BITS, AllowedKey, AllowedKey6, Plain};

use crate::{
    maps::{MapFault, Raw, fault, is_missing, pinned},
    syscall,
};

/// An address as the maps hold it.
pub(crate) trait Address: Copy + Ord + Debug {
    /// A key of its trie.
    type Key: Plain;
    /// The trie's name in the program.
    const MAP: &'static str;
    /// The bits of an address.
    const BITS: u8;
    /// The address of a port's first entry.
    const UNSPECIFIED: Self;

    /// The key of a port's range, the slot big-endian.
    fn key(slot: u32, address: Self) -> Self::Key;

    /// What a key is made of.
    fn parts(key: Self::Key) -> (u32, Self);
}

impl Address for u32 {
    type Key = AllowedKey;
    const MAP: &'static str = "RANGES";
    const BITS: u8 = 32;
    const UNSPECIFIED: Self = 0;

    fn key(slot: u32, address: Self) -> AllowedKey {
        AllowedKey { slot, address }
    }

    fn parts(key: AllowedKey) -> (u32, Self) {
        (key.slot, key.address)
    }
}

impl Address for [u32; 4] {
    type Key = AllowedKey6;
    const MAP: &'static str = "RANGES6";
    const BITS: u8 = 128;
    const UNSPECIFIED: Self = [0; 4];

    fn key(slot: u32, address: Self) -> AllowedKey6 {
        AllowedKey6 { slot, address }
    }

    fn parts(key: AllowedKey6) -> (u32, Self) {
        (key.slot, key.address)
    }
}

/// A range in a trie: the prefix's length and the first address, wire order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Range<A> {
    pub(crate) length: u8,
    pub(crate) address: A,
}

impl<A: Address> Range<A> {
    const FIRST: Self = Self { length: A::BITS, address: A::UNSPECIFIED };

    fn key(self, slot: u32) -> Key<Raw<A::Key>> {
        let length = ALLOWED_KEY_SLOT_BITS + u32::from(self.length);
        Key::new(length, Raw(A::key(slot.to_be(), self.address)))
    }
}

/// `struct bpf_lpm_trie_key` with its data.
#[derive(Clone, Copy)]
#[repr(C)]
struct TrieKey<K> {
    length: u32,
    data: K,
}

/// The trie of one family.
pub(crate) struct Ranges<A: Address> {
    trie: LpmTrie<MapData, Raw<A::Key>, Raw<u32>>,
    fd: OwnedFd,
}

impl<A: Address> Ranges<A> {
    /// Opens the one that is pinned in a directory.
    pub(crate) fn open(directory: &Path) -> Result<Self, MapFault> {
        let trie = pinned(directory, A::MAP, Map::LpmTrie)?;
        Ok(Self {
            trie: trie.try_into().map_err(fault(A::MAP, "opened"))?,
            fd: syscall::open_pin(&directory.join(A::MAP))
                .map_err(|error| fault(A::MAP, "opened")(MapError::IoError(error)))?,
        })
    }

    /// All ranges of a port. Takes time only by their number.
    pub(crate) fn of(&self, slot: u32) -> Result<Vec<Range<A>>, MapFault> {
        let mut found = Vec::new();
        let first = Range::<A>::FIRST;
        // Without a first entry the walk would begin with another port's.
        match self.trie.get(&first.key(slot), 0) {
            Ok(Raw(0)) => {}
            Ok(_) | Err(MapError::KeyNotFound) => return Ok(found),
            Err(error) => return Err(fault(A::MAP, "read")(error)),
        }
        let mut key = TrieKey {
            length: ALLOWED_KEY_SLOT_BITS + u32::from(A::BITS),
            data: A::key(slot.to_be(), first.address),
        };
        loop {
            // SAFETY: the key is laid out as the trie's keys are.
            let next = unsafe { syscall::next_key(&self.fd, &key) }
                .map_err(|error| fault(A::MAP, "read")(MapError::IoError(error)))?;
            let Some(next) = next else { return Ok(found) };
            let (of, address) = A::parts(next.data);
            if of != slot.to_be() {
                return Ok(found);
            }
            let length = next.length.saturating_sub(ALLOWED_KEY_SLOT_BITS);
            found.push(Range { length: length as u8, address });
            key = next;
        }
    }

    /// Makes the ranges of a port the wanted ones.
    pub(crate) fn set(&mut self, slot: u32, wanted: &[Range<A>]) -> Result<(), MapFault> {
        let old = self.of(slot)?;
        let write = fault(A::MAP, "written");
        if wanted.is_empty() {
            return self.clear(slot);
        }
        self.trie.insert(&Range::<A>::FIRST.key(slot), Raw(0), 0).map_err(write)?;
        for range in wanted.iter().filter(|range| !old.contains(range)) {
            self.trie.insert(&range.key(slot), Raw(1), 0).map_err(write)?;
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
        self.remove(slot, Range::FIRST)
    }

    /// How many entries all ports have.
    pub(crate) fn count(&self) -> Result<usize, MapFault> {
        let mut count = 0;
        for key in self.trie.keys() {
            key.map_err(fault(A::MAP, "read"))?;
            count += 1;
        }
        Ok(count)
    }

    fn remove(&mut self, slot: u32, range: Range<A>) -> Result<(), MapFault> {
        match self.trie.remove(&range.key(slot)) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(fault(A::MAP, "written")(error)),
        }
    }
}
