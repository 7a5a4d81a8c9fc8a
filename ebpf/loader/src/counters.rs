//! What frames came to, in numbers.

use mezame_ebpf_common::{PortState, Totals, Verdict};

/// What the frames of a port, or those that belong to no port, came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PortCounters {
    frames: [u64; Verdict::COUNT],
    suppressed: u64,
}

impl PortCounters {
    pub(crate) fn of_state(state: &PortState) -> Self {
        Self { frames: state.frames, suppressed: state.suppressed }
    }

    pub(crate) fn of_totals(cpus: &[Totals]) -> Self {
        let mut sum = Self::default();
        for totals in cpus {
            for (all, one) in sum.frames.iter_mut().zip(totals.frames) {
                *all += one;
            }
            sum.suppressed += totals.suppressed + totals.lost_records;
        }
        sum
    }

    /// Frames with a verdict.
    pub fn of(&self, verdict: Verdict) -> u64 {
        self.frames[verdict as usize]
    }

    /// All verdicts with their frames.
    pub fn iter(&self) -> impl Iterator<Item = (Verdict, u64)> + '_ {
        Verdict::ALL.into_iter().map(|verdict| (verdict, self.of(verdict)))
    }

    /// Drops of which there was no event, since there were too many in that second.
    pub fn suppressed_events(&self) -> u64 {
        self.suppressed
    }
}
