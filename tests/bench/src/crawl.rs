//! `crawl.*`: all that a client asks for at a boot, from its first request to its last reply.
//!
//! The requests are those that cloud-init's source of the dialect was recorded to send, in its
//! order, each on a connection of its own, as it sends them. What the client itself takes (an
//! interpreter's start and its parsing) is not in it. The guest stands behind a veth whose host end
//! carries the program that taps carry.

use anyhow::Context;
use mezame_tests::{Lab, crowd::Crowd, recorded::CRAWLS};

use crate::{pinned::Cpu, row::Row, sample::median};

const ROUNDS: usize = 51;
/// Of rivals one guest has the one and one the other.
const GUESTS: usize = 2;

/// Measures all rows.
pub fn measure(cpu: Cpu) -> anyhow::Result<Vec<Row>> {
    cpu.bind()?;
    let lab = Lab::start()?;
    let crowd = Crowd::gather(&lab, GUESTS)?;
    let mut times = vec![Vec::new(); CRAWLS.len()];
    for round in 0..=ROUNDS {
        for (times, (dialect, _)) in times.iter_mut().zip(CRAWLS) {
            let time = crowd.crawl(dialect)?;
            // The first warms up.
            if round > 0 {
                times.push(time.as_secs_f64() * 1e3);
            }
        }
    }
    CRAWLS
        .iter()
        .zip(times)
        .map(|((dialect, _), times)| {
            let middle = median(&times).context("no round")?;
            Ok(Row::alone(format!("crawl.{dialect}"), middle, "ms"))
        })
        .collect()
}
