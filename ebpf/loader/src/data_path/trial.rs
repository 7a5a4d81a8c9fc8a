//! Running the programs on a frame without a wire (`BPF_PROG_TEST_RUN`): for tests, for fuzzing
//! and for measuring. The frame goes nowhere, but counters and buckets count it.

use std::time::Duration;

use aya::programs::{ProgramError, SchedClassifier, TestRun, TestRunOptions};

use super::DataPath;

/// What a program did with a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// What it returned: see the constants.
    pub action: i32,
    /// The frame afterwards.
    pub frame: Vec<u8>,
    /// The mean of one run.
    pub time: Duration,
}

impl Trial {
    /// To the next program: not ours (`TCX_NEXT`).
    pub const NEXT: i32 = -1;
    /// Dropped (`TCX_DROP`).
    pub const DROP: i32 = 2;
    /// Redirected (`TCX_REDIRECT`).
    pub const REDIRECT: i32 = 7;
}

/// The kernel did not run the program.
#[derive(Debug, thiserror::Error)]
#[error("the program can't be run on a frame of {length} bytes")]
pub struct TrialError {
    /// The frame's length; fewer than 14 bytes are no frame.
    pub length: usize,
    /// What the kernel said.
    #[source]
    pub source: Box<ProgramError>,
}

/// `struct __sk_buff`: its size, and where the fields lie that may be set.
const CONTEXT: usize = 192;
const IFINDEX: usize = 40;
const SEGMENT: usize = 176;

impl DataPath {
    /// Runs the program of guests' taps on a frame, as if it came in by a device of this network
    /// namespace, `repeat` times. Each run after the first sees the frame as the one before left
    /// it.
    pub fn try_guest_frame(
        &self,
        ifindex: u32,
        frame: &[u8],
        repeat: u32,
    ) -> Result<Trial, TrialError> {
        run(&self.guest, ifindex, 0, frame, repeat)
    }

    /// The same, once, for a frame that segmentation offload will cut into pieces of so many
    /// bytes.
    pub fn try_offloaded_frame(
        &self,
        ifindex: u32,
        frame: &[u8],
        segment: u32,
    ) -> Result<Trial, TrialError> {
        run(&self.guest, ifindex, segment, frame, 1)
    }

    /// Runs the program of the uplink on a frame.
    pub fn try_reply_frame(
        &self,
        ifindex: u32,
        frame: &[u8],
        repeat: u32,
    ) -> Result<Trial, TrialError> {
        run(&self.uplink, ifindex, 0, frame, repeat)
    }
}

fn run(
    program: &SchedClassifier,
    ifindex: u32,
    segment: u32,
    frame: &[u8],
    repeat: u32,
) -> Result<Trial, TrialError> {
    let mut context = [0; CONTEXT];
    context[IFINDEX..IFINDEX + 4].copy_from_slice(&ifindex.to_ne_bytes());
    context[SEGMENT..SEGMENT + 4].copy_from_slice(&segment.to_ne_bytes());
    let mut out = vec![0; frame.len() + 64];
    let result = program
        .test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: Some(&context),
            repeat,
            ..TestRunOptions::new()
        })
        .map_err(|source| TrialError { length: frame.len(), source: Box::new(source) })?;
    out.truncate(result.data_size_out as usize);
    Ok(Trial { action: result.return_value as i32, frame: out, time: result.duration })
}
