//! The kernel's data path as this service wants it: the service table of `entrances`, pins where
//! the settings say. Here so that others, such as a removal or a test, open the very same. Nothing
//! is attached to any guest's device here.

use mezame_ebpf_loader::Uplink;

use super::ServiceError;
use crate::{entrances, settings::Settings};

/// Opens the data path of the settings, with or without IPv6: the kernel's.
pub fn open_data_path(
    settings: &Settings,
    uplink: &Uplink,
    ipv6: bool,
) -> Result<mezame_ebpf_loader::DataPath, ServiceError> {
    let services = entrances::services(settings.port, ipv6);
    let root = mezame_ebpf_loader::PinRoot::new(&settings.pins);
    mezame_ebpf_loader::DataPath::open(&root, uplink, &services).map_err(ServiceError::DataPath)
}

/// Says why the service can't run here, if it can't.
pub fn probe() -> Result<(), mezame_ebpf_loader::Unsupported> {
    mezame_ebpf_loader::probe()
}
