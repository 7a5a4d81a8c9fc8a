//! What is in no Debian and comes from PyPI: put into a folder of the cache, never installed.
//!
//! Each of one version and one hash, as pip's "Secure installs" has it, and built by nobody here.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};

use super::progress::Step;

/// Puts what the requirements name into a folder, with a pip that is thrown away afterwards. Its
/// Python is Debian 12's, as that of the roots, so that wheels for the one fit the other.
pub(super) fn add(
    environment: &Path,
    target: &Path,
    requirements: &Path,
    step: &Step,
) -> Result<()> {
    step.note("making a Python environment");
    let mut venv = Command::new("/usr/bin/python3");
    step.run(venv.args(["-m", "venv"]).arg(environment), |line| step.note(line))?;
    let mut pip = Command::new(environment.join("bin/pip"));
    pip.args(["install", "--require-hashes", "--only-binary", ":all:", "--no-deps"])
        .args(["--disable-pip-version-check", "--root-user-action", "ignore"])
        // The machine's own, as everything else here that reaches a registry.
        .args(["--cert", "/etc/ssl/certs/ca-certificates.crt", "--target"])
        .arg(target)
        .arg("--requirement")
        .arg(requirements);
    step.run(&mut pip, |line| step.note(line))?;
    fs::remove_dir_all(environment).context("removing the Python environment")
}
