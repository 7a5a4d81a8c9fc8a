//! How a test that needs root says that it was skipped.
//!
//! `cargo test` knows no "skipped" at run time, so such a test prints one line that the project's
//! test runner counts, and which is never counted as passed.

/// Returns from the test with a `skipped:` line where the process is not root.
#[macro_export]
#[doc(hidden)]
macro_rules! privileged {
    () => {
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: needs root, to make network namespaces");
            return;
        }
    };
}
