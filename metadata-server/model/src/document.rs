//! The document that our own agent asks for: everything it applies, in one JSON object.
//!
//! `GET /mezame/v1/document`. Secrets that are read once are named here and fetched apart, so
//! that the document can be cached and compared by its ETag.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::{
    BondMode, BondName, Certificate, Generation, InstanceId, InstanceName, MacAddress,
    RemoteDesktop, Route, SecretName, Tags, User, UserData, VlanId, WindowsKey, Winrm,
};

/// What the guest is to become.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// The form's version; an agent refuses one that it does not know. Now 1.
    pub version: u32,
    /// The snapshot that it was made from.
    pub generation: Generation,
    /// Another id than at the last boot: a first boot.
    pub instance_id: InstanceId,
    /// The instance's name.
    pub name: InstanceName,
    /// Fully qualified where the network has a domain.
    pub hostname: String,
    /// Keys of the default user (root, where the agent's settings name no other).
    #[serde(default)]
    pub ssh_keys: Vec<Box<str>>,
    /// Further accounts.
    #[serde(default)]
    pub users: Vec<User>,
    /// In the order in which they are to be configured.
    #[serde(default)]
    pub interfaces: Vec<Interface>,
    /// The tenant's labels.
    #[serde(default)]
    pub tags: Tags,
    /// From the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<UserData>,
    /// From the provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor_data: Option<UserData>,
    /// Names of the secrets that wait to be read.
    #[serde(default)]
    pub secrets: Vec<SecretName>,
    /// Certificates to trust besides the system's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_certificates: Vec<Certificate>,
    /// Who gets in by Remote Desktop; None: as the image has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_desktop: Option<RemoteDesktop>,
    /// Who gets in by WinRM; None: as the image has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub winrm: Option<Winrm>,
    /// Asks for passwords as Google's tools make them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows_keys: Vec<WindowsKey>,
    /// Whether a made password is to be encrypted as OpenStack's clients do, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nova_password: bool,
}

impl Document {
    /// The version that this code writes and reads.
    pub const VERSION: u32 = 1;
}

/// One network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Tells the guest which of its devices is meant.
    pub mac: MacAddress,
    /// In bytes.
    pub mtu: u16,
    /// Addresses with the prefix length of their subnet; the first is the primary one.
    pub addresses: Vec<IpNetwork>,
    /// Default routers, at most one of each family, and only on the first interface.
    #[serde(default)]
    pub gateways: Vec<IpAddr>,
    /// Resolvers.
    #[serde(default)]
    pub dns: Vec<IpAddr>,
    /// The search domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<Box<str>>,
    /// Further routes; a router is on the link or behind one of the addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Further networks on the same card, each behind a tag. None where the interface is a bond.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vlans: Vec<VlanInterface>,
    /// The cards that the interface is made of, where it is no single one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bond: Option<Bond>,
}

impl Interface {
    /// The cards that it is made of; more than one only of a bond.
    pub fn cards(&self) -> &[MacAddress] {
        match &self.bond {
            Some(bond) => &bond.members,
            None => std::slice::from_ref(&self.mac),
        }
    }
}

/// A network behind a tag (IEEE 802.1Q) on an interface's card. It has the card's MAC and no
/// default router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VlanInterface {
    /// The tag's number.
    pub id: VlanId,
    /// In bytes, without the tag's four; not above the card's own.
    pub mtu: u16,
    /// As an interface's.
    pub addresses: Vec<IpNetwork>,
    /// Resolvers.
    #[serde(default)]
    pub dns: Vec<IpAddr>,
    /// The search domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<Box<str>>,
    /// Further routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
}

/// Several cards of one network, which a guest makes one device of. An agent that knows no bonds
/// configures the first of them, by the interface's MAC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bond {
    /// The device's name in the guest.
    pub name: BondName,
    /// How the cards share the work.
    pub mode: BondMode,
    /// The cards' MACs; the first is the interface's.
    pub members: Vec<MacAddress>,
}
