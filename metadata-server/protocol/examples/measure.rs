//! Times the way from request bytes to reply bytes, token checked.
//!
//! `cargo run --release -p mezame-protocol --example measure`: one line a path, the median of
//! several rounds in nanoseconds a request. Prints figures and judges nothing.

use std::{collections::BTreeSet, hint::black_box, time::Instant};

use mezame_model::{Guest, Snapshot};
use mezame_protocol::{
    Context, NoRandomness, Randomness, Signer, TokenKeys, UnixTime,
    wire::{Served, serve_bytes},
};

/// Nonces for the one token that is asked for.
struct Counting;

impl Randomness for Counting {
    fn fill(&self, out: &mut [u8]) -> Result<(), NoRandomness> {
        out.fill(1);
        Ok(())
    }
}

fn main() -> anyhow::Result<()> {
    let snapshot: Snapshot =
        serde_json::from_str(include_str!("../testdata/snapshot-with-test-keys.json"))?;
    let guest = Guest::join(&snapshot, &snapshot.instances[0])
        .ok_or_else(|| anyhow::anyhow!("the record is not whole"))?;
    let keys = TokenKeys::new(&snapshot.site.token_keys)?;
    let signer =
        Signer::new(&snapshot.site.signing_key, Box::new(ring::rand::SystemRandom::new()))?;
    let context = Context {
        keys: &keys,
        signer: &signer,
        now: UnixTime(1_800_000_000),
        random: &Counting,
        port: &guest.primary().port.id,
        generation: snapshot.generation,
        modified: Some(UnixTime(1_799_999_999)),
        acknowledged: &BTreeSet::new(),
        watch_over: false,
    };
    let ask = |head: String| {
        let mut out = Vec::new();
        serve_bytes(head.as_bytes(), &guest, &context, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    };
    let reply = ask("PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\n\
                     X-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\r\n"
        .to_owned());
    let token = reply.rsplit("\r\n").next().unwrap_or_default();
    for path in [
        "/latest/meta-data/instance-id",
        "/latest/meta-data/network/interfaces/macs/52:54:00:ab:cd:01/subnet-ipv4-cidr-block",
        "/latest/meta-data/",
        "/latest/user-data",
        "/latest/dynamic/instance-identity/rsa2048",
        "/mezame/v1/document",
        "/no/such/tree",
    ] {
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: 169.254.169.254\r\nUser-Agent: measure/1.0\r\n\
             Accept: */*\r\nX-aws-ec2-metadata-token: {token}\r\n\r\n"
        );
        let mut out = Vec::with_capacity(8192);
        let mut rounds: Vec<f64> = (0..15)
            .map(|_| {
                const TIMES: u32 = 20_000;
                let begin = Instant::now();
                for _ in 0..TIMES {
                    out.clear();
                    let served =
                        serve_bytes(black_box(head.as_bytes()), &guest, &context, &mut out);
                    assert!(matches!(served, Served::Reply { .. }));
                    black_box(&out);
                }
                begin.elapsed().as_nanos() as f64 / f64::from(TIMES)
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        let status = String::from_utf8_lossy(&out[9..12]).into_owned();
        println!("{:7.0} ns  {status}  {path}", rounds[rounds.len() / 2]);
    }
    Ok(())
}
