//! Tenants' networks and the ports in them.
//!
//! Two networks may have the same addresses and two ports the same MAC: only a port's id tells
//! them apart.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::{
    bond::BondName,
    dhcp::{Boot, Dhcp, Forward, Route},
    id::{DeviceName, InstanceId, NetworkId, NetworkName, PortId, PortName, ProjectName},
    service_address,
    vlan::Vlan,
};

/// A VXLAN network identifier, 1 to 16,777,215 (RFC 7348, section 5: 24 bits).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Vni(u32);

/// The number is no VNI.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("VNI {0} is not between 1 and 16777215")]
pub struct VniError(pub u32);

impl TryFrom<u32> for Vni {
    type Error = VniError;
    fn try_from(number: u32) -> Result<Self, VniError> {
        if (1..=0x00ff_ffff).contains(&number) { Ok(Self(number)) } else { Err(VniError(number)) }
    }
}

impl From<Vni> for u32 {
    fn from(vni: Vni) -> u32 {
        vni.0
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// A unicast Ethernet address, written `52:54:00:12:34:56`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress(pub [u8; 6]);

/// The text is no unicast MAC address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MacError {
    /// Not six two-digit hexadecimal groups.
    #[error("{0:?} is not six two-digit hexadecimal groups joined by ':'")]
    Form(String),
    /// A group address or all zeroes can't be a port's own.
    #[error("{0:?} is a multicast, broadcast or zero address; a port needs a unicast one")]
    NotUnicast(String),
}

impl FromStr for MacAddress {
    type Err = MacError;
    fn from_str(text: &str) -> Result<Self, MacError> {
        let form = || MacError::Form(text.chars().take(40).collect());
        let mut bytes = [0; 6];
        let mut groups = text.split([':', '-']);
        for byte in &mut bytes {
            let group = groups.next().ok_or_else(form)?;
            if group.len() != 2 || !group.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(form());
            }
            *byte = u8::from_str_radix(group, 16).map_err(|_| form())?;
        }
        if groups.next().is_some() {
            return Err(form());
        }
        if bytes[0] & 1 == 1 || bytes == [0; 6] {
            return Err(MacError::NotUnicast(text.into()));
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for MacAddress {
    type Error = MacError;
    fn try_from(text: String) -> Result<Self, MacError> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> String {
        mac.to_string()
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(out, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl fmt::Debug for MacAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// One range of addresses in a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// The range; its host bits are zero.
    pub cidr: IpNetwork,
    /// The router, if the subnet has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// Further routes that its guests are told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
}

/// A tenant's layer-2 network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Made by the provisioner.
    pub id: NetworkId,
    /// The owner.
    pub project: ProjectName,
    /// Unique in the project.
    pub name: NetworkName,
    /// The VXLAN segment.
    pub vni: Vni,
    /// In bytes, 576 to 9216.
    pub mtu: u16,
    /// The address ranges.
    pub subnets: Vec<Subnet>,
    /// Resolvers that guests are told, most wanted first.
    #[serde(default)]
    pub dns: Vec<IpAddr>,
    /// The domain that guests' names are in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub domain: Option<Box<str>>,
    /// Time servers that guests are told, most wanted first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ntp: Vec<IpAddr>,
    /// How guests get their addresses.
    #[serde(default)]
    pub dhcp: Dhcp,
    /// Where the link-local services send on what they don't answer themselves.
    #[serde(default, skip_serializing_if = "Forward::is_empty")]
    pub forward: Forward,
}

impl Network {
    /// The subnet that an address of this network lies in.
    pub fn subnet_of(&self, address: IpAddr) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.cidr.contains(address))
    }
}

/// How many frames to the link-local services a port may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// Frames a second, sustained; at least 1.
    pub frames_per_second: u32,
    /// Frames at once; at least 1.
    pub burst: u32,
}

impl Default for RateLimit {
    /// Room for a guest that fetches a mebibyte of user-data in one go, many times over what a
    /// boot needs, and too little to occupy a CPU.
    fn default() -> Self {
        Self { frames_per_second: 20_000, burst: 20_000 }
    }
}

/// A guest's attachment to a network: the identity that every request is answered by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Made by the provisioner.
    pub id: PortId,
    /// The owner.
    pub project: ProjectName,
    /// Unique in the project.
    pub name: PortName,
    /// The network that it is in.
    pub network: NetworkId,
    /// The only source MAC that its frames may have.
    pub mac: MacAddress,
    /// The addresses that the guest is told are its own; the first is the primary one.
    pub addresses: Vec<IpAddr>,
    /// Further source addresses that it may use: floating ones, routed ranges.
    #[serde(default)]
    pub allowed: Vec<IpNetwork>,
    /// Further networks on the same card, each behind a tag.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub vlans: Box<[Vlan]>,
    /// The bond that it is a card of: with its instance's other ports that name the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bond: Option<BondName>,
    /// The tap on the hypervisor.
    pub device: DeviceName,
    /// Whether the guest may answer DHCP requests of others (a router appliance).
    #[serde(default)]
    pub dhcp_server: bool,
    /// The limit at the tap.
    #[serde(default)]
    pub rate_limit: RateLimit,
    /// What the guest boots from the network, if it does. Boxed, since few ports have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Box<Boot>>,
    /// The instance that it belongs to, once one claims it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<InstanceId>,
}

impl Port {
    /// The networks that it is in, its own first, each with the port's addresses there.
    pub fn attachments(&self) -> impl Iterator<Item = (&NetworkId, &[IpAddr])> {
        let vlans = self.vlans.iter().map(|vlan| (&vlan.network, &*vlan.addresses));
        std::iter::once((&self.network, &*self.addresses)).chain(vlans)
    }

    /// Where its guest reaches the metadata service: by IPv6 if its addresses are IPv6 alone, for
    /// then nothing gives it an IPv4 one.
    pub fn metadata_address(&self) -> IpAddr {
        if self.addresses.is_empty() || self.addresses.iter().any(IpAddr::is_ipv4) {
            service_address::METADATA.into()
        } else {
            service_address::METADATA6.into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_reaches_the_service_by_ipv6_where_nothing_gives_it_ipv4() {
        let by = |addresses: &[&str]| {
            let port = serde_json::json!({
                "id": "eni-0123456789abcdef0", "project": "p", "name": "n", "device": "tap0",
                "network": "net-0123456789abcdef0", "mac": "52:54:00:00:00:01",
                "addresses": addresses,
            });
            serde_json::from_value::<Port>(port).unwrap().metadata_address()
        };
        let v4 = IpAddr::V4(service_address::METADATA);
        assert_eq!(by(&["2001:db8::1"]), IpAddr::V6(service_address::METADATA6));
        assert_eq!(by(&["2001:db8::1", "10.0.0.1"]), v4);
        assert_eq!(by(&[]), v4);
    }

    #[test]
    fn a_mac_is_read_in_both_spellings_and_written_in_one() {
        for text in ["52:54:00:AB:cd:01", "52-54-00-ab-cd-01"] {
            assert_eq!(text.parse::<MacAddress>().unwrap().to_string(), "52:54:00:ab:cd:01");
        }
    }

    #[test]
    fn a_mac_that_no_port_can_have_is_refused() {
        for text in
            ["", "52:54:00:ab:cd", "52:54:00:ab:cd:01:02", "5254:00:ab:cd:01", "+2:54:00:ab:cd:01"]
        {
            assert!(matches!(text.parse::<MacAddress>(), Err(MacError::Form(_))), "{text}");
        }
        for text in ["01:00:5e:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"] {
            assert!(matches!(text.parse::<MacAddress>(), Err(MacError::NotUnicast(_))), "{text}");
        }
    }

    #[test]
    fn a_vni_has_24_bits_and_is_not_zero() {
        assert!(Vni::try_from(0).is_err());
        assert!(Vni::try_from(1).is_ok());
        assert!(Vni::try_from(0x00ff_ffff).is_ok());
        assert!(Vni::try_from(0x0100_0000).is_err());
    }
}
