//! The nouns of Mezame and the wire types that its programs exchange.
//!
//! Plain values with serde and nothing else: no I/O, no clock, no randomness, no tokio.
//! A value that exists is valid: each newtype is made by a parser that refuses what is not.

pub mod api;
pub mod bond;
pub mod certificate;
pub mod date;
pub mod der;
pub mod dhcp;
pub mod dialect;
pub mod document;
pub mod feed;
pub mod freeze;
pub mod generation;
pub mod guest;
pub mod guest_attributes;
pub mod id;
pub mod instance;
pub mod link_local;
pub mod network;
pub mod remote_access;
pub mod report;
pub mod secret;
pub mod service_address;
pub mod smbios;
pub mod snapshot;
pub mod tags;
pub mod user_data;
pub mod vlan;
pub mod volume_key;
pub mod windows_key;

pub use bond::{BondMode, BondName};
pub use certificate::{Certificate, CertificateError};
pub use dhcp::{Boot, Dhcp, Forward, Ipv6Mode, Route};
pub use dialect::Dialect;
pub use document::Document;
pub use feed::{BoxFuture, Feed, FeedError};
pub use generation::Generation;
pub use guest::{Guest, GuestPort};
pub use guest_attributes::{GuestAttribute, GuestAttributeError, GuestAttributes};
pub use id::{
    DeviceName, IdError, InstanceId, InstanceName, NetworkId, NetworkName, PortId, PortName,
    ProjectName, SecretName, UserName, VolumeName,
};
pub use instance::{HopLimit, Instance, Password, TokenPolicy, User};
pub use link_local::LinkLocal;
pub use network::{MacAddress, Network, Port, RateLimit, Subnet, Vni};
pub use remote_access::{RemoteDesktop, Winrm};
pub use report::{Acknowledgement, GuestEvent, Report};
pub use secret::{SecretBytes, SecretDigest, SecretString};
pub use smbios::Smbios;
pub use snapshot::Snapshot;
pub use tags::Tags;
pub use user_data::UserData;
pub use vlan::{Vlan, VlanId};
pub use volume_key::{BootDigest, KeyOutcome, KeyRequest, VolumeKey, Withheld};
pub use windows_key::WindowsKey;
