//! `attach.10000`: from a tap that appears to the guest's first 200, with 10,000 ports known,
//! against the same with 10.
//!
//! A real tap, and a guest that is nothing but frames: it repeats its SYN until the data path lets
//! it in, so no retransmission timer of a TCP stack hides what the server takes. Two servers stand
//! side by side, and the trials take turns.

mod segments;

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use anyhow::Context;
use mezame_tests::Lab;

use crate::{pinned::Cpu, population, row::Row, sample::median};

const FEW: u32 = 10;
const MANY: u32 = 10_000;
const ROUNDS: u32 = 21;

/// Measures the row.
pub fn measure(_: Cpu) -> anyhow::Result<Vec<Row>> {
    // A lab's private mounts belong to its thread, so each has one.
    let (few, many) = (Stand::begin(FEW), Stand::begin(MANY));
    few.ready()?;
    many.ready()?;
    let (mut times, mut base, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (mut slow, mut fast) = (0.0, 0.0);
        for is_many in if round % 2 == 0 { [true, false] } else { [false, true] } {
            if is_many {
                slow = many.trial(round)?;
            } else {
                fast = few.trial(round)?;
            }
        }
        // The first warms up.
        if round > 0 {
            times.push(slow);
            base.push(fast);
            ratios.push(slow / fast);
        }
    }
    let middle = |values: &[f64]| median(values).context("no round");
    Ok(vec![Row::beside(
        "attach.10000",
        middle(&times)?,
        "ms",
        middle(&ratios)?,
        format!("with {FEW} ports known: {:.2} ms", middle(&base)?),
    )])
}

/// A lab in a thread of its own, which makes a trial when told to.
struct Stand {
    orders: SyncSender<u32>,
    answers: Receiver<anyhow::Result<Duration>>,
}

impl Stand {
    fn begin(known: u32) -> Self {
        let (orders, ordered) = sync_channel(1);
        let (answer, answers) = sync_channel(1);
        thread::spawn(move || {
            let lab = Lab::start().and_then(|lab| {
                // Guests that are tried come on top of those that are only known.
                population::make(&lab.place.operator_socket(), 0, known + ROUNDS + 1)?;
                Ok(lab)
            });
            let lab = match lab {
                Ok(lab) => lab,
                Err(error) => {
                    // Nobody listens only where the measurement has ended already.
                    let _ = answer.send(Err(error));
                    return;
                }
            };
            let _ = answer.send(Ok(Duration::ZERO));
            for number in ordered {
                if answer.send(segments::first_reply(&lab.hypervisor, known + number)).is_err() {
                    return;
                }
            }
        });
        Self { orders, answers }
    }

    fn ready(&self) -> anyhow::Result<()> {
        self.answers.recv().context("a lab's thread is gone")?.map(drop)
    }

    /// Milliseconds from the tap to the first 200.
    fn trial(&self, number: u32) -> anyhow::Result<f64> {
        self.orders.send(number).context("a lab's thread is gone")?;
        let time = self.answers.recv().context("a lab's thread is gone")??;
        Ok(time.as_secs_f64() * 1e3)
    }
}
