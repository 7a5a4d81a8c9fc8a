//! What is known here: the metadata service's own names, and the instances beside the asker.
//!
//! | Name | Whose | Source |
//! |---|---|---|
//! | `metadata.google.internal`, `metadata` | GCE's | "View and query VM metadata" in Google's documentation |
//! | `instance-data`, `instance-data.ec2.internal` | EC2's | cloud-init's Ec2 data source looks `instance-data` up |
//! | an instance's fully qualified name, and its first label alone or in a network's domain | ours | |
//! | `ip-10-0-0-5`, alone or in a network's domain | EC2's | "EC2 instance hostnames and domains" |
//!
//! The metadata service's names are there for guests that are answered in the dialect that they
//! belong to: an image that looks for its cloud by them must not find another.

use std::net::{IpAddr, Ipv4Addr};

use mezame_model::{
    Dialect, Network,
    service_address::{METADATA, METADATA6},
};

use super::{Asker, reverse};

/// The metadata service (169.254.169.254 and fd00:ec2::254, as on EC2).
const SERVICE: [IpAddr; 2] = [IpAddr::V4(METADATA), IpAddr::V6(METADATA6)];

/// The names of the metadata service, each with the dialects whose clients look it up.
const SERVICE_NAMES: [(&str, &[Dialect]); 4] = [
    ("metadata.google.internal", &[Dialect::Gce]),
    ("metadata", &[Dialect::Gce]),
    ("instance-data.ec2.internal", &[Dialect::Ec2]),
    // OpenStack's clients crawl the tree of EC2 too, as EC2's own do.
    ("instance-data", &[Dialect::Ec2, Dialect::Openstack]),
];

/// As many addresses are told of one name; those of several instances if they share it.
const MOST_ADDRESSES: usize = 64;

/// A name that there is.
#[derive(Debug)]
pub(super) struct Found {
    /// The zone that it is in: the name itself where it has none.
    pub(super) zone: String,
    /// What it holds.
    pub(super) holds: Holds,
}

/// What a name holds.
#[derive(Debug)]
pub(super) enum Holds {
    /// Addresses of both families, or of one.
    Addresses(Vec<IpAddr>),
    /// Another name, as addresses do.
    Name(String),
    /// Nothing by itself: a zone's own name.
    Nothing,
}

/// What is known of a name (in lower case, without the last dot).
pub(super) fn find(name: &str, asker: &Asker<'_>) -> Option<Found> {
    if let Some(address) = reverse::address(name) {
        let holds = Holds::Name(name_of(address, asker)?);
        return Some(Found { zone: name.into(), holds });
    }
    if is_service(name, asker) {
        return Some(Found { zone: name.into(), holds: Holds::Addresses(SERVICE.into()) });
    }
    let domain = domain_of(name, asker);
    let zone = domain.map_or_else(|| name.to_owned(), str::to_ascii_lowercase);
    let addresses = addresses_of(name, domain, asker);
    if !addresses.is_empty() {
        return Some(Found { zone, holds: Holds::Addresses(addresses) });
    }
    // A resolver that asks for no bare name asks for it in its search domain. An instance of that
    // name comes first: it is the tenant's domain.
    let label = domain.and_then(|domain| first_label(name, domain))?;
    is_service(label, asker).then(|| Found { zone, holds: Holds::Addresses(SERVICE.into()) })
}

/// The zone that says that there is no such name, if one here may say so: a resolver elsewhere, if
/// there is one, may know more of the tenant's own domain and of its addresses' names.
pub(super) fn zone_of_nothing(name: &str, asker: &Asker<'_>, is_forwarded: bool) -> Option<String> {
    if let Some(zone) = reverse::service_zone(name) {
        return Some(zone.into());
    }
    if is_forwarded {
        return None;
    }
    if let Some(domain) = domain_of(name, asker) {
        return Some(domain.to_ascii_lowercase());
    }
    let ranges = networks(asker).flat_map(|network| network.subnets.iter().map(|it| it.cidr));
    let (_, parent) = name.split_once('.')?;
    reverse::is_of(name, ranges).then(|| parent.to_owned())
}

/// Whether a name is the other one or below it.
pub(super) fn is_within(name: &str, zone: &str) -> bool {
    first_labels(name, zone).is_some()
}

/// What stands before a zone's name: nothing for the zone's own.
fn first_labels<'a>(name: &'a str, zone: &str) -> Option<&'a str> {
    let at = name.len().checked_sub(zone.len())?;
    let (before, after) = (name.get(..at)?, name.get(at..)?);
    if !after.eq_ignore_ascii_case(zone) {
        return None;
    }
    if before.is_empty() { Some(before) } else { before.strip_suffix('.') }
}

/// The one label before a zone's name.
fn first_label<'a>(name: &'a str, zone: &str) -> Option<&'a str> {
    first_labels(name, zone).filter(|label| !label.is_empty() && !label.contains('.'))
}

/// The networks that the asker's instance is in, those behind tags too.
fn networks<'a>(asker: &Asker<'a>) -> impl Iterator<Item = &'a Network> + use<'a> {
    asker.guest.ports.iter().flat_map(|entry| {
        let vlans = entry.vlans.iter().map(|vlan| &*vlan.entry.network);
        std::iter::once(&*entry.network).chain(vlans)
    })
}

/// The domain of one of the asker's networks that the name is in; the longest, if several.
fn domain_of<'a>(name: &str, asker: &Asker<'a>) -> Option<&'a str> {
    networks(asker)
        .filter_map(|network| network.domain.as_deref())
        .filter(|domain| is_within(name, domain))
        .max_by_key(|domain| domain.len())
}

fn is_service(name: &str, asker: &Asker<'_>) -> bool {
    let dialects = &asker.guest.instance.dialects;
    SERVICE_NAMES
        .iter()
        .any(|(known, of)| *known == name && of.iter().any(|one| dialects.contains(one)))
}

/// The addresses of the instances that bear a name, in the asker's networks.
fn addresses_of(name: &str, domain: Option<&str>, asker: &Asker<'_>) -> Vec<IpAddr> {
    let project = &asker.guest.instance.project;
    let mut all: Vec<IpAddr> = Vec::new();
    let label = domain.map_or(Some(name), |domain| first_label(name, domain));
    let numbered = label.and_then(numbered);
    for network in networks(asker) {
        for address in asker.names.named(network, project, name).flatten().copied() {
            if all.len() < MOST_ADDRESSES && !all.contains(&address) {
                all.push(address);
            }
        }
        if let Some(address) = numbered
            && asker.names.name_of(network, project, address).is_some()
            && !all.contains(&address)
        {
            all.push(address);
        }
    }
    all
}

/// The address in a label like EC2's `ip-10-0-0-5`.
fn numbered(label: &str) -> Option<IpAddr> {
    let mut octets = [0; 4];
    let mut parts = label.strip_prefix("ip-")?.split('-');
    for octet in &mut octets {
        let part = parts.next()?;
        *octet = part.parse().ok()?;
        if octet.to_string() != part {
            return None;
        }
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets).into())
}

/// The name of an address, of the metadata service or of an instance beside the asker.
fn name_of(address: IpAddr, asker: &Asker<'_>) -> Option<String> {
    if SERVICE.contains(&address) {
        let names = SERVICE_NAMES.iter().map(|(name, _)| *name);
        return names.into_iter().find(|name| is_service(name, asker)).map(Into::into);
    }
    let project = &asker.guest.instance.project;
    networks(asker).find_map(|network| asker.names.name_of(network, project, address))
}
