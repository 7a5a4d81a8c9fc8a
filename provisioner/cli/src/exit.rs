//! Exit codes: what a script can tell from how the command ended.
//!
//! They are part of the interface, so each has its number here and in the help.

use std::process::ExitCode;

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// A failure that is none of the others.
    Failure = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The documents have faults; nothing was changed.
    Faults = 3,
    /// What was named is not there.
    NotFound = 4,
    /// It was changed meanwhile, or others refer to it.
    Conflict = 5,
    /// The control plane can't be reached.
    Unreachable = 6,
    /// The operator is not allowed to do this.
    NotAllowed = 7,
    /// `apply --dry-run --exit-code` found something to change.
    Differs = 8,
    /// `wait` waited in vain.
    TimedOut = 9,
}

/// The codes as the help lists them.
pub const HELP: &str = "\
Exit codes:
  0  done
  1  a failure that is none of the following
  2  the command line is wrong
  3  the documents have faults; nothing was changed
  4  what was named is not there
  5  it was changed meanwhile, or others refer to it
  6  the provisioner can't be reached
  7  not allowed
  8  apply --dry-run --exit-code: there is something to change
  9  wait: the time ran out";

impl Exit {
    /// What the answer of the control plane with this HTTP status comes to.
    pub fn of_status(status: u16, has_faults: bool) -> Self {
        match status {
            401 | 403 => Self::NotAllowed,
            404 => Self::NotFound,
            409 | 412 | 428 => Self::Conflict,
            400 | 413 | 422 if has_faults => Self::Faults,
            _ => Self::Failure,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_every_code_once() {
        let listed: Vec<u8> = HELP
            .lines()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next()?.parse().ok())
            .collect();
        assert_eq!(listed, (0..=Exit::TimedOut as u8).collect::<Vec<_>>());
    }
}
