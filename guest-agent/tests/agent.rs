//! The agent as a process, against a metadata service of the test's own.

#![allow(clippy::unwrap_used, reason = "a test that can't go on ends")]

mod agent {
    pub(crate) mod service;

    mod ipv6;
    mod kill;
    mod namespace;
    mod rollback;
    mod run;
}
