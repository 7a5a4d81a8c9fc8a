//! The kernel's data path as this service wants it: its entries in the service table, pins where
//! the settings say. Here so that others, such as a removal or a test, open the very same. Nothing is
//! attached to any guest's device here.

use std::net::SocketAddrV4;

use mezame_ebpf_loader::{Protocol, Service, Uplink};

use super::{SERVICE, ServiceError};
use crate::settings::Settings;

/// Where CloudStack's virtual router hands out one-time passwords. Nobody listens there, and the
/// namespace's kernel says so: cloud-init's CloudStack source asks whatever the instance is told,
/// and would wait for three times 20 seconds at each boot if its frames were dropped.
const PASSWORDS: u16 = 8080;

/// Opens the data path of the settings: the kernel's.
pub fn open_data_path(
    settings: &Settings,
    uplink: &Uplink,
) -> Result<mezame_ebpf_loader::DataPath, ServiceError> {
    let entry = |port, target| Service {
        address: SERVICE,
        protocol: Protocol::Tcp,
        port,
        target: SocketAddrV4::new(SERVICE, target),
    };
    let mut entries = vec![entry(80, settings.port)];
    if settings.port != PASSWORDS {
        entries.push(entry(PASSWORDS, PASSWORDS));
    }
    let root = mezame_ebpf_loader::PinRoot::new(&settings.pins);
    mezame_ebpf_loader::DataPath::open(&root, uplink, &entries).map_err(ServiceError::DataPath)
}

/// Says why the service can't run here, if it can't.
pub fn probe() -> Result<(), mezame_ebpf_loader::Unsupported> {
    mezame_ebpf_loader::probe()
}
