//! Attaches the data path to guests' taps, and reads what it counted.
//!
//! [`DataPath::open`] loads the program, or adopts what an earlier process pinned; the pinned
//! maps and links work on while no process is there. This crate knows nothing of instances or of
//! HTTP, watches no device and opens no socket: it does what it is told, for one interface index
//! at a time.
//!
//! Needs Linux 6.6 (tcx) and the rights of root in the network namespace that the taps are in.

mod counters;
mod data_path;
mod drops;
mod links;
mod maps;
mod object;
mod probe;
mod ranges;
mod root;
mod rules;
mod syscall;

pub use counters::PortCounters;
pub use data_path::{
    AttachError, DataPath, DetachError, LoadError, ReadError, RemoveError, ServiceError, Trial,
    TrialError,
};
pub use drops::{DropEvent, DropEvents};
pub use maps::MapFault;
pub use mezame_ebpf_common::{Identity, Identity6, PortSlot, SERVICE_MAC, Verdict};
pub use object::ObjectError;
pub use probe::{Unsupported, probe};
pub use root::{PinRoot, RootError};
pub use rules::{Answers, PortRules, Protocol, Rate, Service, Uplink};
