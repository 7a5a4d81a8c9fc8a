//! What a plan must know of the guest that it is for.

use ipnetwork::IpNetwork;
use mezame_model::MacAddress;

/// A network device that can carry Ethernet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Such as `eth0`.
    pub name: String,
    /// The kernel's number for it.
    pub index: u32,
    /// Its address.
    pub mac: MacAddress,
    /// Set up by an administrator.
    pub up: bool,
    /// With their prefix lengths.
    pub addresses: Vec<IpNetwork>,
}

/// The guest as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Another value in each boot.
    pub boot_id: String,
    /// Without the loopback.
    pub links: Vec<Link>,
    /// Whom the document's own keys are for.
    pub default_user: String,
    /// Whether the document's addresses are applied, now and in the network service's files.
    pub configures_network: bool,
}
