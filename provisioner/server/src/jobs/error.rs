//! Why a call about jobs fails.

use std::io;

use crate::environment::NoRandomness;

/// Why a job is not begun, found or gone on with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JobsError {
    /// There is no such job, or it is another project's.
    #[error("there is no such job")]
    NoJob,
    /// A job that is not waiting for a file is sent one.
    #[error("the job is {state} and waits for no file")]
    NotAwaiting { state: &'static str },
    /// There are too many already.
    #[error("there are {most} {what} already")]
    TooMany { what: &'static str, most: usize },
    /// The project has too many.
    #[error("the project has {most} {what} already")]
    TooManyOfProject { what: &'static str, most: usize },
    /// A job's record can't be written.
    #[error("a job's record can't be written")]
    Journal(#[source] io::Error),
    /// No ids can be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The control plane is ending.
    #[error("the control plane is ending")]
    Ending,
}
