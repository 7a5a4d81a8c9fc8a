//! The kernel's data path as this service wants it: one entry in the service table, pins where the
//! settings say. Here so that others, such as a removal or a test, open the very same. Nothing is
//! attached to any guest's device here.

use std::net::SocketAddrV4;

use mezame_ebpf_loader::{Protocol, Service, Uplink};

use super::{SERVICE, ServiceError};
use crate::settings::Settings;

/// Opens the data path of the settings: the kernel's.
pub fn open_data_path(
    settings: &Settings,
    uplink: &Uplink,
) -> Result<mezame_ebpf_loader::DataPath, ServiceError> {
    let entry = Service {
        address: SERVICE,
        protocol: Protocol::Tcp,
        port: 80,
        target: SocketAddrV4::new(SERVICE, settings.port),
    };
    let root = mezame_ebpf_loader::PinRoot::new(&settings.pins);
    mezame_ebpf_loader::DataPath::open(&root, uplink, &[entry]).map_err(ServiceError::DataPath)
}

/// Says why the service can't run here, if it can't.
pub fn probe() -> Result<(), mezame_ebpf_loader::Unsupported> {
    mezame_ebpf_loader::probe()
}
