//! The index of instances' names and addresses, over one snapshot: in each network that a port is
//! in, those behind tags too.
//!
//! Nothing is copied: an entry is the hash of a network and a name (or of a network and an
//! address) and the number of a port in the snapshot, 16 bytes, and what it leads to is compared
//! again when it is looked up. So a hash that two names share costs a comparison and never answers
//! one with the other's addresses. The hash needs no secret: a tenant who makes names of one hash
//! only lengthens the search for names of its own network.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    net::IpAddr,
    sync::Arc,
};

use mezame_model::{Instance, Network, NetworkId, Port, PortId, ProjectName, Snapshot};

/// Names of instances, by network.
#[derive(Default)]
pub struct Names {
    snapshot: Option<Arc<Snapshot>>,
    /// Sorted.
    entries: Box<[Entry]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    key: u64,
    port: u32,
}

/// The most instances of one hash that are looked at.
const MOST: usize = 256;

impl Names {
    /// Those of a snapshot. A pass over its instances; some tenths of a second for 100,000 of
    /// them, so not for the thread that answers.
    pub fn of(snapshot: &Arc<Snapshot>) -> Self {
        // A binary search for each would cost more than all the rest: the records lie scattered.
        let numbers: HashMap<&PortId, usize> =
            snapshot.ports.iter().enumerate().map(|(number, port)| (&port.id, number)).collect();
        let find = |id: &PortId| {
            let number = *numbers.get(id)?;
            Some((u32::try_from(number).ok()?, &*snapshot.ports[number]))
        };
        let mut entries = Vec::with_capacity(snapshot.ports.len() * 4);
        let mut name = String::new();
        for instance in &snapshot.instances {
            let primary = instance.ports.first().and_then(find);
            let domain = primary.and_then(|(_, port)| network(snapshot, &port.network));
            let domain = domain.and_then(|network| network.domain.as_deref());
            let others = instance.ports.iter().skip(1).filter_map(find);
            let own = primary.into_iter().chain(others).filter(|(_, it)| is_of(it, instance));
            let places = own.flat_map(|(port, record)| {
                record.attachments().map(move |(id, addresses)| (port, id, addresses))
            });
            for (port, id, addresses) in places {
                let Some(network) = network(snapshot, id) else { continue };
                for spelling in spellings(instance, domain, network) {
                    spelling.write(&mut name);
                    entries.push(Entry { key: key(id, name.as_bytes()), port });
                }
                entries.extend(addresses.iter().map(|it| Entry { key: key(id, it), port }));
            }
        }
        entries.sort_unstable();
        entries.dedup();
        Self { snapshot: Some(Arc::clone(snapshot)), entries: entries.into() }
    }

    /// The addresses in a network of each port whose instance bears a name (in lower case), of this
    /// project.
    pub(super) fn named<'a>(
        &'a self,
        network: &'a Network,
        project: &'a ProjectName,
        name: &'a str,
    ) -> impl Iterator<Item = &'a [IpAddr]> {
        let mut spelt = String::new();
        self.candidates(key(&network.id, name.as_bytes()), &network.id, project)
            .filter(move |(snapshot, _, instance)| {
                let domain = primary_domain(snapshot, instance);
                spellings(instance, domain, network).any(|spelling| {
                    spelling.write(&mut spelt);
                    spelt == name
                })
            })
            .map(|(_, addresses, _)| addresses)
    }

    /// The fully qualified name of the instance with this address in a network.
    pub(super) fn name_of(
        &self,
        network: &Network,
        project: &ProjectName,
        address: IpAddr,
    ) -> Option<String> {
        let mut candidates = self.candidates(key(&network.id, address), &network.id, project);
        let (snapshot, _, instance) =
            candidates.find(|(_, addresses, _)| addresses.contains(&address))?;
        let mut name = String::new();
        // As `Guest::fqdn` has it: the first of them.
        spellings(instance, primary_domain(snapshot, instance), network).next()?.write(&mut name);
        Some(name)
    }

    /// What a key leads to in this network and project, each compared by itself: a port's addresses
    /// there, and its instance.
    fn candidates<'a>(
        &'a self,
        key: u64,
        network: &'a NetworkId,
        project: &'a ProjectName,
    ) -> impl Iterator<Item = (&'a Snapshot, &'a [IpAddr], &'a Instance)> {
        let from = self.entries.partition_point(|entry| entry.key < key);
        let entries = self.entries.iter().skip(from).take_while(move |entry| entry.key == key);
        let snapshot = self.snapshot.as_deref();
        entries.take(MOST).filter_map(move |entry| {
            let snapshot = snapshot?;
            let port = snapshot.ports.get(entry.port as usize)?;
            let id = port.instance.as_ref()?;
            let at = snapshot.instances.binary_search_by(|one| one.id.cmp(id)).ok()?;
            let instance = &*snapshot.instances[at];
            let (_, addresses) = port.attachments().find(|(id, _)| *id == network)?;
            let is_theirs = port.project == *project && instance.project == *project;
            is_theirs.then_some((snapshot, addresses, instance))
        })
    }
}

impl std::fmt::Debug for Names {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the snapshot, which is everybody's.
        write!(out, "Names({} entries)", self.entries.len())
    }
}

/// One name of an instance.
#[derive(Debug, Clone, Copy)]
struct Spelling<'a> {
    host: &'a str,
    domain: Option<&'a str>,
}

impl Spelling<'_> {
    fn write(self, to: &mut String) {
        to.clear();
        to.push_str(self.host);
        if let Some(domain) = self.domain {
            to.push('.');
            to.push_str(domain);
        }
        to.make_ascii_lowercase();
    }
}

/// All names of an instance in a network: the fully qualified one first, then its first label
/// alone and in the network's domain.
fn spellings<'a>(
    instance: &'a Instance,
    primary_domain: Option<&'a str>,
    network: &'a Network,
) -> impl Iterator<Item = Spelling<'a>> {
    let host = &*instance.hostname;
    let short = host.split('.').next().unwrap_or_default();
    let is_qualified = host.contains('.');
    let full = Spelling { host, domain: primary_domain.filter(|_| !is_qualified) };
    let here = network.domain.as_deref();
    let in_domain = here.map(|domain| Spelling { host: short, domain: Some(domain) });
    [Some(full), in_domain, Some(Spelling { host: short, domain: None })].into_iter().flatten()
}

/// Both sides must say so, as for the guest's own record.
fn is_of(port: &Port, instance: &Instance) -> bool {
    port.instance.as_ref() == Some(&instance.id)
}

fn primary_domain<'a>(snapshot: &'a Snapshot, instance: &Instance) -> Option<&'a str> {
    let port = find_port(snapshot, instance.ports.first()?)?;
    network(snapshot, &port.network)?.domain.as_deref()
}

fn find_port<'a>(snapshot: &'a Snapshot, id: &PortId) -> Option<&'a Port> {
    let at = snapshot.ports.binary_search_by(|port| port.id.cmp(id)).ok()?;
    Some(&snapshot.ports[at])
}

fn network<'a>(snapshot: &'a Snapshot, id: &NetworkId) -> Option<&'a Network> {
    let at = snapshot.networks.binary_search_by(|one| one.id.cmp(id)).ok()?;
    Some(&snapshot.networks[at])
}

fn key(network: &NetworkId, of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    network.hash(&mut hasher);
    of.hash(&mut hasher);
    hasher.finish()
}
