//! The versions of the schema: which there are, and which one a request names.
//!
//! They are dates, so the later one is the greater text, and a field that came with one is there
//! in all that follow.

use super::Fault;
use crate::request::Request;

/// The versions, oldest first, as Azure's documentation lists them.
pub(super) const ALL: [&str; 35] = [
    "2017-03-01",
    "2017-04-02",
    "2017-08-01",
    "2017-10-01",
    "2017-12-01",
    "2018-02-01",
    "2018-04-02",
    "2018-10-01",
    "2019-02-01",
    "2019-03-11",
    "2019-04-30",
    "2019-06-01",
    "2019-06-04",
    "2019-08-01",
    "2019-08-15",
    "2019-11-01",
    "2020-06-01",
    "2020-07-15",
    "2020-09-01",
    "2020-10-01",
    "2020-12-01",
    "2021-01-01",
    "2021-02-01",
    "2021-03-01",
    "2021-05-01",
    "2021-08-01",
    "2021-10-01",
    "2021-11-01",
    "2021-11-15",
    "2021-12-13",
    "2023-07-01",
    "2023-11-15",
    "2024-03-15",
    "2024-07-17",
    "2025-04-07",
];

/// The versions of scheduled events that are not among all others'.
const OF_EVENTS: [&str; 4] = ["2017-11-01", "2019-01-01", "2019-04-01", "2020-07-01"];

/// The version in which scheduled events came.
const FIRST_OF_EVENTS: &str = "2017-08-01";

/// How many versions an error names.
const NEWEST: usize = 3;

/// A version of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Version(&'static str);

impl Version {
    /// Whether it has what came with that version.
    pub(super) fn has(self, since: &str) -> bool {
        self.0 >= since
    }

    /// A version by its text, for the tests.
    #[cfg(test)]
    pub(super) fn named(text: &str) -> Self {
        Self(ALL.into_iter().find(|known| *known == text).unwrap())
    }
}

/// The version that a request names, of those that a path has that came with `since`.
pub(super) fn of(request: &Request<'_>, since: &str) -> Result<Version, Fault> {
    let named = request.parameter("api-version").ok_or(Fault::Version)?;
    let known = ALL.into_iter().find(|known| *known == named && *known >= since);
    known.map(Version).ok_or(Fault::Version)
}

/// Checks the version of a request for scheduled events, which have further ones.
pub(super) fn of_events(request: &Request<'_>) -> Result<(), Fault> {
    let named = request.parameter("api-version").ok_or(Fault::Version)?;
    if OF_EVENTS.contains(&named) {
        return Ok(());
    }
    of(request, FIRST_OF_EVENTS).map(|_| ())
}

/// The newest versions, newest first.
pub(super) fn newest() -> Vec<&'static str> {
    ALL.into_iter().rev().take(NEWEST).collect()
}
