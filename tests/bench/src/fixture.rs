//! One guest's record, for what is measured without a control plane.
//!
//! The keys in it were made for this file and protect nothing.

use std::sync::Arc;

use anyhow::Context as _;
use mezame_model::{Guest, PortId, Snapshot};
use mezame_protocol::{
    Context, NoRandomness, Randomness, Signer, Spent, TokenKeys, UnixTime, wire,
};

/// The record with all that answering needs.
pub struct Fixture {
    /// The guest.
    pub guest: Guest,
    generation: mezame_model::Generation,
    port: PortId,
    keys: TokenKeys,
    signer: Signer,
    acknowledged: Spent,
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
            signer: Signer::new(
                &snapshot.site.signing_key,
                Box::new(ring::rand::SystemRandom::new()),
            )?,
            acknowledged: Spent::NONE,
        })
    }

    /// A session token of the guest, made at `now` and good for six hours.
    pub fn token(&self, now: UnixTime) -> anyhow::Result<String> {
        let mut out = Vec::new();
        let request = b"PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\n\
            X-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\r\n";
        wire::serve_bytes(request, &self.guest, &self.context(now, &Foreseeable), &mut out);
        let reply = String::from_utf8(out)?;
        let token = reply.split("\r\n\r\n").nth(1).filter(|_| reply.starts_with("HTTP/1.1 200"));
        Ok(token.context("no token came")?.to_owned())
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
            start: mezame_protocol::Start::NONE,
            acknowledged: &self.acknowledged,
            order: None,
            watch_over: false,
            watched: None,
        }
    }
}

/// The time by the wall clock.
pub fn wall_clock() -> UnixTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    UnixTime(since.map_or(0, |since| since.as_secs()))
}

/// Bytes that anybody can foresee: good enough where no secret hangs on them.
pub struct Foreseeable;

impl Randomness for Foreseeable {
    fn fill(&self, out: &mut [u8]) -> Result<(), NoRandomness> {
        out.iter_mut().zip((1..=u8::MAX).cycle()).for_each(|(byte, value)| *byte = value);
        Ok(())
    }
}
