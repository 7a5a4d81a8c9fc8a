//! `storm.slowest`: two thousand guests ask for everything at once; the last of them to have it
//! all, against the one in the middle.
//!
//! Requests, guests and dialects are those of the case `storm`, which sees to it that nobody is
//! refused; here too a refusal is no figure. The clock of all guests starts at once, so a guest
//! that is kept waiting for its first reply is as slow as one that waits for its last. The guests
//! run on the same CPUs as the server: the value is the machine's as much as ours, the ratio says
//! how evenly it was shared out.

use anyhow::Context;
use mezame_tests::{Lab, crowd::Crowd};

use crate::{pinned::Cpu, row::Row, sample::median};

const GUESTS: usize = 2000;
const ROUNDS: usize = 5;

/// Measures the row.
pub fn measure(_: Cpu) -> anyhow::Result<Vec<Row>> {
    let lab = Lab::start()?;
    let crowd = Crowd::gather(&lab, GUESTS)?;
    let (mut slowest, mut middles, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let times = crowd
            .storm()?
            .into_iter()
            .map(|guest| Ok(guest?.as_secs_f64()))
            .collect::<anyhow::Result<Vec<f64>>>()?;
        let middle = median(&times).context("no guest")?;
        let last = times.into_iter().fold(0.0, f64::max);
        // The first warms up.
        if round > 0 {
            slowest.push(last);
            middles.push(middle);
            ratios.push(last / middle);
        }
    }
    let of = |values: &[f64]| median(values).context("no round");
    Ok(vec![Row::beside(
        "storm.slowest",
        of(&slowest)?,
        "s",
        of(&ratios)?,
        format!("the guest in the middle of {GUESTS}: {:.2} s", of(&middles)?),
    )])
}
