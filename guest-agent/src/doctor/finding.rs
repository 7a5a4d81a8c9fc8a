//! A finding: what is wrong, how it was seen, what to do, and who can do it.

use std::fmt;

use serde::Serialize;

use crate::platform::PlatformError;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A stable word.
    pub reason: &'static str,
    /// What is wrong, for people.
    pub wrong: String,
    /// How that was seen.
    pub seen: Vec<String>,
    /// What to do about it.
    pub mend: String,
    /// Who can.
    pub who: Who,
}

impl Finding {
    pub(super) fn new(reason: &'static str, who: Who, wrong: String, mend: &str) -> Self {
        Self { reason, wrong, seen: Vec::new(), mend: mend.to_owned(), who }
    }

    /// The same, with how it was seen.
    pub(super) fn seen(mut self, seen: impl Into<String>) -> Self {
        self.seen.push(seen.into());
        self
    }
}

/// Who can mend something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    /// Whoever is root in the guest.
    GuestOwner,
    /// Whoever runs the service: by `mezame`, or on the hypervisor.
    Operator,
    /// Either.
    Either,
}

impl fmt::Display for Who {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::GuestOwner => "guest's owner",
            Self::Operator => "operator",
            Self::Either => "guest's owner or operator",
        })
    }
}

/// The agent can do nothing on this system.
pub(super) fn no_platform(error: &PlatformError) -> Finding {
    let mend = "Run it on a system that the agent supports, as root, with a root that exists.";
    Finding::new("platform", Who::GuestOwner, error.to_string(), mend)
}
