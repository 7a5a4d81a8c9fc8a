//! VLANs on a port's card.
//!
//! A port with VLANs is what OpenStack calls a trunk with subports: one card, frames without a tag
//! for the port's own network, and a tag of IEEE 802.1Q for each further one.

use std::{fmt, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::id::NetworkId;

/// The number in a frame's tag, 1 to 4094 (IEEE 802.1Q: 0 is a tag without a VLAN, 4095 reserved).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct VlanId(u16);

/// The number is no VLAN's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("VLAN {0} is not between 1 and 4094")]
pub struct VlanIdError(pub u16);

impl VlanId {
    /// The greatest.
    pub const MAX: u16 = 4094;
}

impl TryFrom<u16> for VlanId {
    type Error = VlanIdError;
    fn try_from(number: u16) -> Result<Self, VlanIdError> {
        if (1..=Self::MAX).contains(&number) { Ok(Self(number)) } else { Err(VlanIdError(number)) }
    }
}

impl From<VlanId> for u16 {
    fn from(id: VlanId) -> u16 {
        id.0
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// A further network on a port's card, by the port's own MAC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vlan {
    /// The tag of its frames, unique in the port.
    pub id: VlanId,
    /// A network of the same project; not the port's own.
    pub network: NetworkId,
    /// The addresses that the guest is told are its own there; the first is the primary one.
    pub addresses: Vec<IpAddr>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vlans_number_has_12_bits_and_is_neither_the_first_nor_the_last() {
        for number in [0, 4095, u16::MAX] {
            assert!(VlanId::try_from(number).is_err(), "{number}");
            assert!(serde_json::from_value::<VlanId>(number.into()).is_err(), "{number}");
        }
        for number in [1, 4094] {
            assert_eq!(u16::from(VlanId::try_from(number).unwrap()), number);
        }
    }
}
