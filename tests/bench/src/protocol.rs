//! `protocol.get`: what the protocol crate alone costs, from a request's bytes to its reply's.
//!
//! Parsing, canonical path, policy, token opened, tree walked, reply rendered: all that is done
//! for a request but for the sockets. The function behind the same name in Firecracker's metadata
//! service takes 1.8 µs on the same kind of machine.

use std::{hint::black_box, time::Instant};

use anyhow::{Context as _, ensure};
use mezame_protocol::{UnixTime, wire};

use crate::{
    fixture::{Fixture, Foreseeable, PATH},
    pinned::Cpu,
    row::Row,
    sample::median,
};

const ROUNDS: usize = 15;
const REQUESTS: u32 = 100_000;
const NOW: UnixTime = UnixTime(1_800_000_000);

/// Measures the row.
pub fn measure(cpu: Cpu) -> anyhow::Result<Vec<Row>> {
    cpu.bind()?;
    let fixture = Fixture::read()?;
    let context = fixture.context(NOW, &Foreseeable);
    let serve = |request: &[u8], out: &mut Vec<u8>| {
        out.clear();
        wire::serve_bytes(black_box(request), &fixture.guest, &context, out)
    };
    let mut out = Vec::with_capacity(4096);
    let token = fixture.token(NOW)?;
    let request = |token: &str| {
        format!(
            "GET {PATH} HTTP/1.1\r\nHost: 169.254.169.254\r\nX-aws-ec2-metadata-token: {token}\r\n\r\n"
        )
        .into_bytes()
    };
    // What is timed must do the whole work: the token lets in, and another doesn't.
    serve(&request(&token.chars().rev().collect::<String>()), &mut out);
    ensure!(out.starts_with(b"HTTP/1.1 401 "), "a wrong token was let in");
    let request = request(&token);
    serve(&request, &mut out);
    ensure!(
        out.starts_with(b"HTTP/1.1 200 ")
            && out.ends_with(fixture.guest.instance.id.as_str().as_bytes()),
        "a wrong reply: {:?}",
        String::from_utf8_lossy(&out)
    );
    let round = |out: &mut Vec<u8>| {
        let begin = Instant::now();
        for _ in 0..REQUESTS {
            serve(&request, out);
            black_box(&*out);
        }
        begin.elapsed().as_secs_f64() * 1e6 / f64::from(REQUESTS)
    };
    round(&mut out);
    let rounds: Vec<f64> = (0..ROUNDS).map(|_| round(&mut out)).collect();
    let value = median(&rounds).context("no round")?;
    Ok(vec![Row::alone("protocol.get", value, "µs")])
}
