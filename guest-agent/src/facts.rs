//! What a plan must know of the guest that it is for.

use ipnetwork::IpNetwork;
use mezame_model::MacAddress;

use crate::licence::Licence;

/// Which kind of system a guest runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// Scripts name their interpreter by `#!`; passwords are kept as crypt(3) hashes.
    Unix,
    /// cmd.exe and PowerShell; a password can only be set as a text.
    Windows,
}

impl System {
    /// The account that may do everything and is always there.
    pub fn superuser(self) -> &'static str {
        match self {
            Self::Unix => "root",
            Self::Windows => "Administrator",
        }
    }

    /// Whether a text is the absolute path of a file there. On Windows: a drive's, without a
    /// stream (`C:\\a:b`) and without the letters that no name may have.
    pub fn is_file_path(self, text: &str) -> bool {
        match self {
            Self::Unix => text.starts_with('/') && !text.contains('\0') && !text.ends_with('/'),
            Self::Windows => {
                let Some((drive, rest)) = text.split_at_checked(2) else { return false };
                drive.starts_with(|first: char| first.is_ascii_alphabetic())
                    && drive.ends_with(':')
                    && rest.starts_with(['\\', '/'])
                    && !rest.ends_with(['\\', '/'])
                    && !rest.contains(|char: char| char < ' ' || "<>:\"|?*".contains(char))
            }
        }
    }
}

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
    /// What it is made of.
    pub kind: LinkKind,
    /// The number of the bond that it is a card of.
    pub bond: Option<u32>,
}

/// What a network device is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    /// A card, or anything else that stands for itself.
    Card,
    /// A network behind a tag (IEEE 802.1Q).
    Vlan {
        /// The number of the device that its frames go through.
        card: u32,
        /// The tag's.
        id: u16,
    },
    /// Several cards.
    Bond {
        /// Whether one is used at a time, by its own MAC.
        backup: bool,
    },
}

impl Link {
    /// Whether the service can be asked through it. It answers no frame with a tag; and what comes
    /// in by a card of a bond is the bond's.
    pub fn leads_out(&self) -> bool {
        self.bond.is_none() && !matches!(self.kind, LinkKind::Vlan { .. })
    }
}

/// The clock, in seconds since 1970-01-01T00:00:00Z.
pub fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// The guest as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// What it runs.
    pub system: System,
    /// Another value in each boot.
    pub boot_id: String,
    /// Without the loopback.
    pub links: Vec<Link>,
    /// Whom the document's own keys are for.
    pub default_user: String,
    /// Whether the document's addresses are applied, now and in the network service's files.
    pub configures_network: bool,
    /// Whether it trusts certificates that the agent has given it.
    pub has_certificates: bool,
    /// The time by the guest's own clock, in seconds since 1970-01-01T00:00:00Z.
    pub now: u64,
    /// How the system's licence is to be activated, if it is.
    pub licence: Option<Licence>,
}

impl Facts {
    /// The card with this MAC. A device on top of it has the same one.
    pub fn card(&self, mac: MacAddress) -> Option<&Link> {
        self.links.iter().find(|link| link.mac == mac && link.kind == LinkKind::Card)
    }
}
