//! The newest snapshot on disk.
//!
//! Sealed chunks of JSON, each a batch of whole records, so that reading 100,000 instances needs
//! no more memory than they take themselves. JSON, since the model's types are written by name
//! and a ledger must be read by the next version too.

use std::{fs::File, io, path::Path, sync::Arc};

use mezame_model::{Generation, Instance, Network, Port, Snapshot, snapshot::Site};
use serde::{Deserialize, Serialize};

use super::{
    LedgerError,
    seal::{LedgerKey, Opener, Sealer},
    write_whole,
};

const PURPOSE: &[u8] = b"snapshot";
/// About as large are chunks before they are sealed, in bytes.
const CHUNK: usize = 1 << 20;

/// What a chunk holds: some records of each kind, and in the first one the site.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Batch {
    generation: Option<Generation>,
    site: Option<Arc<Site>>,
    networks: Vec<Arc<Network>>,
    ports: Vec<Arc<Port>>,
    instances: Vec<Arc<Instance>>,
}

/// Writes the snapshot.
pub fn write(path: &Path, key: &LedgerKey, snapshot: &Snapshot) -> Result<(), LedgerError> {
    write_whole(path, |out| {
        let mut sealer = Sealer::begin(key, PURPOSE, out)?;
        let head = Batch {
            generation: Some(snapshot.generation),
            site: Some(Arc::clone(&snapshot.site)),
            ..Batch::default()
        };
        sealer.chunk(serde_json::to_vec(&head)?, false)?;
        batches(&mut sealer, "networks", &snapshot.networks)?;
        batches(&mut sealer, "ports", &snapshot.ports)?;
        batches(&mut sealer, "instances", &snapshot.instances)?;
        sealer.chunk(b"{}".to_vec(), true)
    })
}

/// One kind of records in chunks of about [`CHUNK`] bytes, whatever the size of each.
fn batches<T: Serialize>(sealer: &mut Sealer<'_>, kind: &str, records: &[T]) -> io::Result<()> {
    let begin = || format!("{{\"{kind}\":[").into_bytes();
    let mut chunk = begin();
    let empty = chunk.len();
    for record in records {
        if chunk.len() > empty {
            chunk.push(b',');
        }
        serde_json::to_writer(&mut chunk, record)?;
        if chunk.len() >= CHUNK {
            chunk.extend_from_slice(b"]}");
            sealer.chunk(std::mem::replace(&mut chunk, begin()), false)?;
        }
    }
    chunk.extend_from_slice(b"]}");
    sealer.chunk(chunk, false)
}

/// Reads the snapshot back; none if there is no file.
pub fn read(path: &Path, key: &LedgerKey) -> Result<Option<Snapshot>, LedgerError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(LedgerError::file(path, "opening")(error)),
    };
    let mut input = io::BufReader::with_capacity(1 << 18, file);
    let damaged = || LedgerError::Damaged { path: path.into() };
    let mut opener = Opener::begin(key, PURPOSE, &mut input).map_err(|error| error.of(path))?;
    let (mut generation, mut site) = (None, None);
    let (mut networks, mut ports, mut instances) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(chunk) = opener.chunk().map_err(|error| error.of(path))? {
        let batch: Batch = serde_json::from_slice(&chunk)
            .map_err(|_| LedgerError::Version { path: path.into() })?;
        generation = generation.or(batch.generation);
        site = site.or(batch.site);
        networks.extend(batch.networks);
        ports.extend(batch.ports.into_iter().map(tight_port));
        instances.extend(batch.instances.into_iter().map(tight_instance));
    }
    networks.shrink_to_fit();
    ports.shrink_to_fit();
    instances.shrink_to_fit();
    Ok(Some(Snapshot {
        generation: generation.ok_or_else(damaged)?,
        site: site.ok_or_else(damaged)?,
        networks,
        ports,
        instances,
    }))
}

/// Lists that were read grow by doubling, from room for four; most hold one. For 100,000 instances
/// the rest of that room is a hundred megabytes.
fn tight_port(mut port: Arc<Port>) -> Arc<Port> {
    if let Some(port) = Arc::get_mut(&mut port) {
        port.addresses.shrink_to_fit();
        port.allowed.shrink_to_fit();
    }
    port
}

fn tight_instance(mut instance: Arc<Instance>) -> Arc<Instance> {
    if let Some(instance) = Arc::get_mut(&mut instance) {
        instance.ports.shrink_to_fit();
        instance.ssh_keys.shrink_to_fit();
        instance.users.shrink_to_fit();
        for user in &mut instance.users {
            user.ssh_keys.shrink_to_fit();
            user.groups.shrink_to_fit();
        }
    }
    instance
}

#[cfg(test)]
mod tests;
