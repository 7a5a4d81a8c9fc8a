//! Ports that are one card to their guest: cards of one network, of which it uses one at a time
//! (the kernel's Documentation/networking/bonding.rst).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{IdError, text_newtype};

/// How often a bond looks whether its cards have a carrier, in milliseconds.
pub const MIIMON_MS: u32 = 100;

text_newtype!(
/// A bond's name, which is its device's in the guest: no card is ever named so.
BondName, "bond name", "'bond' and up to 11 of a-z, 0-9 and '-'",
|t| t.len() <= 15 && t.strip_prefix("bond").is_some_and(|rest| {
    rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}));

/// How the cards of a bond share the work. One way only: with each card's MAC fixed at its tap, and
/// with nobody at the other end who speaks LACP (IEEE 802.1AX), no other can work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BondMode {
    /// One card at a time, by its own MAC (Linux: `fail_over_mac=active`).
    ActiveBackup,
}

impl fmt::Display for BondMode {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ActiveBackup => out.write_str("active-backup"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bonds_name_can_be_a_devices_and_is_no_cards() {
        for name in ["bond", "bond0", "bond-uplink-one"] {
            assert!(BondName::parse(name).is_ok(), "{name}");
        }
        for name in ["", "eth0", "bond0.1", "bond/0", "Bond0", "bond0123456789ab"] {
            assert!(BondName::parse(name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_bonds_mode_is_written_as_linux_names_it() {
        let mode = BondMode::ActiveBackup;
        assert_eq!(serde_json::to_value(mode).unwrap(), mode.to_string());
    }
}
