//! The agent as a process, against a metadata service of the test's own.

mod agent {
    pub(crate) mod service;

    mod kill;
    mod namespace;
    mod run;
}
