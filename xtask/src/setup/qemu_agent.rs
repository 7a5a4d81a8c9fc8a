//! QEMU's guest agent for a guest of the tests, out of Debian's package.
//!
//! Downloaded and unpacked beside the machine's own packages, and not installed: on a machine that is
//! a guest itself it would be started there.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};

use super::{apt::apt_get, cache::Cache, initramfs, progress::Step};

const NAME: &str = "qemu-agent";
const PACKAGE: &str = "qemu-guest-agent";
const PROGRAM: &str = "/usr/sbin/qemu-ga";

/// Puts the program and the libraries that it is linked with into the cache, each where it lies in a
/// guest, unless they are there. The libraries are those of this machine's QEMU.
pub(crate) fn fetch(cache: &Cache) -> Result<()> {
    if cache.path(NAME).exists() {
        return Ok(());
    }
    let step = Step::begin("QEMU's guest agent");
    step.line("Debian's qemu-ga is unpacked into the cache, to freeze a guest with");
    cache.install(NAME, |into| lay_out(into, &step))?;
    step.done(PACKAGE);
    Ok(())
}

fn lay_out(into: &Path, step: &Step) -> Result<()> {
    let unpacked = into.join("unpacked");
    fs::create_dir(&unpacked).context("making the download directory")?;
    let download = ["-q", "-o", "APT::Sandbox::User=root", "download", PACKAGE];
    step.run(apt_get().args(download).current_dir(&unpacked), |line| step.note(line))?;
    let unpack = "dpkg -x ./*.deb .";
    step.run(Command::new("sh").args(["-euc", unpack]).current_dir(&unpacked), |line| {
        step.note(line);
    })?;
    let program = format!("{}{PROGRAM}", unpacked.display());
    initramfs::copy_program(Path::new("/"), &program, into)?;
    fs::remove_dir_all(&unpacked).context("removing the download")
}
