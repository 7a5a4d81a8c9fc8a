//! One guest's record, for what is measured without a control plane.
//!
//! The keys in it were made for this file and protect nothing.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::Context as _;
use mezame_model::{Guest, PortId, SecretName, Snapshot};
use mezame_protocol::{Context, Randomness, Signer, TokenKeys, UnixTime};

/// The record with all that answering needs.
pub struct Fixture {
    /// The guest.
    pub guest: Guest,
    generation: mezame_model::Generation,
    port: PortId,
    keys: TokenKeys,
    signer: Signer,
    acknowledged: BTreeSet<SecretName>,
}

/// The path that the rows ask for.
pub const PATH: &str = "/latest/meta-data/instance-id";

impl Fixture {
    /// Reads the record.
    pub fn read() -> anyhow::Result<Self> {
        let snapshot: Snapshot = serde_json::from_str(include_str!("../fixture/snapshot.json"))?;
        let instance: &Arc<_> = snapshot.instances.first().context("no instance")?;
        Ok(Self {
            guest: Guest::join(&snapshot, instance).context("the record is not whole")?,
            generation: snapshot.generation,
            port: instance.ports.first().context("no port")?.clone(),
            keys: TokenKeys::new(&snapshot.site.token_keys)?,
            signer: Signer::new(&snapshot.site.signing_key)?,
            acknowledged: BTreeSet::new(),
        })
    }

    /// The context of a request that comes at `now`.
    pub fn context<'a>(&'a self, now: UnixTime, random: &'a dyn Randomness) -> Context<'a> {
        Context {
            keys: &self.keys,
            signer: &self.signer,
            now,
            random,
            port: &self.port,
            generation: self.generation,
            modified: None,
            acknowledged: &self.acknowledged,
            watch_over: false,
        }
    }
}

/// Bytes that anybody can foresee: good enough where no secret hangs on them.
pub struct Foreseeable;

impl Randomness for Foreseeable {
    fn fill(&self, out: &mut [u8]) {
        out.iter_mut().zip(1..).for_each(|(byte, value)| *byte = value);
    }
}
