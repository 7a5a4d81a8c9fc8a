//! The maps. Their contents are described beside their types, in the common crate.
//!
//! Hash maps take their memory as entries come (`BPF_F_NO_PREALLOC`). Only user space inserts, so
//! nothing is allocated while a frame is handled.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    btf_maps::{Array, HashMap, LpmTrie, PerCpuArray, RingBuf},
    macros::btf_map,
};
use mezame_ebpf_common::{
    AllowedKey, AllowedKey6, DROPS_BYTES, DropRecord, Endpoint, Endpoint6, Holder, MAX_PORTS,
    MAX_RANGES, MAX_SERVICES, Port, PortKey, PortState, Settings, Totals,
};

const AS_NEEDED: usize = BPF_F_NO_PREALLOC as usize;

#[btf_map]
pub static PORTS: HashMap<PortKey, Port, MAX_PORTS, AS_NEEDED> = HashMap::new();

#[btf_map]
pub static STATES: HashMap<PortKey, PortState, MAX_PORTS, AS_NEEDED> = HashMap::new();

#[btf_map]
pub static HOLDERS: HashMap<u32, Holder, MAX_PORTS, AS_NEEDED> = HashMap::new();

#[btf_map]
pub static RANGES: LpmTrie<AllowedKey, u32, MAX_RANGES, AS_NEEDED> = LpmTrie::new();

#[btf_map]
pub static RANGES6: LpmTrie<AllowedKey6, u32, MAX_RANGES, AS_NEEDED> = LpmTrie::new();

#[btf_map]
pub static ADDRESSES: HashMap<u32, u32, MAX_SERVICES, AS_NEEDED> = HashMap::new();

#[btf_map]
pub static SERVICES: HashMap<Endpoint, Endpoint, MAX_SERVICES, AS_NEEDED> = HashMap::new();

#[btf_map]
pub static TARGETS: HashMap<Endpoint, Endpoint, MAX_SERVICES, AS_NEEDED> = HashMap::new();

#[btf_map]
pub static ADDRESSES6: HashMap<[u32; 4], u32, MAX_SERVICES, AS_NEEDED> = HashMap::new();

#[btf_map]
pub static SERVICES6: HashMap<Endpoint6, Endpoint6, MAX_SERVICES, AS_NEEDED> = HashMap::new();

#[btf_map]
pub static TARGETS6: HashMap<Endpoint6, Endpoint6, MAX_SERVICES, AS_NEEDED> = HashMap::new();

#[btf_map]
pub static SETTINGS: Array<Settings, 1> = Array::new();

#[btf_map]
pub static TOTALS: PerCpuArray<Totals, 1> = PerCpuArray::new();

#[btf_map]
pub static DROPS: RingBuf<DropRecord, DROPS_BYTES> = RingBuf::new();
