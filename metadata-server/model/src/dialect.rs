//! The dialects: families of paths and forms, each asked for by a kind of client.
//!
//! An instance names those that it is answered in. What each says is the protocol's business, not
//! this file's: here is only which there are, which an instance has by default, and which can't
//! stand beside each other.

use serde::{Deserialize, Serialize};

/// A family of paths and forms that a kind of client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Amazon's instance metadata service, both versions.
    Ec2,
    /// OpenStack nova's metadata service, with the EC2 tree that its clients crawl too.
    Openstack,
    /// Google Compute Engine's metadata server.
    Gce,
    /// Azure's instance metadata service.
    Azure,
    /// DigitalOcean's droplet metadata.
    Digitalocean,
    /// Hetzner Cloud's server metadata.
    Hetzner,
    /// Vultr's instance metadata.
    Vultr,
    /// Apache CloudStack's virtual router.
    Cloudstack,
    /// cloud-init's NoCloud seed over HTTP.
    Nocloud,
    /// Our agent's own document.
    Mezame,
}

impl Dialect {
    /// All of them, in the order in which they are listed.
    pub const ALL: [Self; 10] = [
        Self::Ec2,
        Self::Openstack,
        Self::Gce,
        Self::Azure,
        Self::Digitalocean,
        Self::Hetzner,
        Self::Vultr,
        Self::Cloudstack,
        Self::Nocloud,
        Self::Mezame,
    ];

    /// What an instance is answered in that names none: what our agent, and an image that is told
    /// nothing, can use. Not all, since a client that probes for its cloud by HTTP must find one.
    pub const DEFAULT: [Self; 3] = [Self::Ec2, Self::Nocloud, Self::Mezame];

    /// Pairs that claim the same paths with different contents. CloudStack has leaves below
    /// `latest/meta-data` that EC2 has under other names or in other forms, and OpenStack's
    /// clients want EC2's.
    pub const RIVALS: [(Self, Self); 2] =
        [(Self::Ec2, Self::Cloudstack), (Self::Openstack, Self::Cloudstack)];

    /// The name in seeds.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ec2 => "ec2",
            Self::Openstack => "openstack",
            Self::Gce => "gce",
            Self::Azure => "azure",
            Self::Digitalocean => "digitalocean",
            Self::Hetzner => "hetzner",
            Self::Vultr => "vultr",
            Self::Cloudstack => "cloudstack",
            Self::Nocloud => "nocloud",
            Self::Mezame => "mezame",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_seed_is_the_name_on_the_wire() {
        for dialect in Dialect::ALL {
            let json = serde_json::to_value(dialect).unwrap();
            assert_eq!(json, dialect.as_str());
        }
    }

    #[test]
    fn the_default_has_no_rivals() {
        for (one, other) in Dialect::RIVALS {
            let has = |dialect| Dialect::DEFAULT.contains(&dialect);
            assert!(!(has(one) && has(other)), "{one:?} and {other:?}");
        }
    }
}
