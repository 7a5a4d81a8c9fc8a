//! Debian packages: what is missing is installed, with a bar, and with a line on why.
//!
//! Runs apt-get without questions and waits for others that hold its lock. A daemon that a
//! package would start is kept from starting. Nothing that is there is upgraded; a package is
//! moved to another version only where the machine's sources no longer have the one that is
//! installed and it stands in the way.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::{
    packages::{Package, Purpose, needed_for},
    progress::Step,
};

/// Installs what is missing for `purpose`.
pub(crate) fn install(purpose: Purpose) -> Result<()> {
    let there = installed()?;
    let missing: Vec<&Package> =
        needed_for(purpose).filter(|package| !there.contains(package.name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let step = Step::begin("Debian packages");
    for package in &missing {
        step.line(&format!("{} is installed {}", package.name, package.why));
    }
    step.note("apt-get update");
    step.run(apt_get().args(["-q", "update"]), |line| step.note(line))?;
    let mut wanted: Vec<String> = missing.iter().map(|package| package.name.into()).collect();
    for sibling in missing.iter().flat_map(|package| package.siblings) {
        if there.contains(*sibling)
            && let Some(version) = version_to_follow(sibling)?
        {
            step.line(&format!("{sibling} moves to {version}, which the sources have"));
            wanted.push(format!("{sibling}={version}"));
        }
    }
    let _quiet = NoDaemons::begin()?;
    step.measure(100);
    let mut install = apt_get();
    install
        .args(["-q", "install", "-y", "--no-install-recommends", "--allow-downgrades"])
        .args(["-o", "APT::Status-Fd=1"])
        .args(&wanted);
    step.run(&mut install, |line| show_status(&step, line))?;
    step.done(&format!("{} installed", missing.len()));
    Ok(())
}

/// `apt-get`, without questions, waiting for the lock.
pub(crate) fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8")
        .args(["-o", "DPkg::Lock::Timeout=300"]);
    command
}

/// The names of all installed packages.
fn installed() -> Result<BTreeSet<String>> {
    let text =
        output(Command::new("dpkg-query").args(["-W", "-f=${db:Status-Abbrev} ${Package}\n"]))?;
    Ok(text
        .lines()
        .filter_map(|line| line.strip_prefix("ii").and_then(|rest| rest.split_whitespace().last()))
        .map(str::to_owned)
        .collect())
}

/// The version that the sources have, if they lack the one that is installed.
fn version_to_follow(package: &str) -> Result<Option<String>> {
    let have = output(Command::new("dpkg-query").args(["-W", "-f=${Version}", package]))?;
    let offered = output(Command::new("apt-cache").args(["madison", package]))?;
    let mut versions = offered.lines().filter_map(|line| line.split('|').nth(1)).map(str::trim);
    if versions.clone().any(|version| version == have) {
        return Ok(None);
    }
    Ok(versions.next().map(str::to_owned))
}

/// What a command prints.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("starting {name}"))?;
    anyhow::ensure!(output.status.success(), "{name} ended with {}", output.status);
    String::from_utf8(output.stdout).with_context(|| format!("{name} printed no UTF-8"))
}

/// apt's machine-readable status lines: `dlstatus:…:percent:text`, `pmstatus:name:percent:text`.
fn show_status(step: &Step, line: &str) {
    let mut parts = line.splitn(4, ':');
    if let (Some("dlstatus" | "pmstatus"), Some(_), Some(percent), Some(text)) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    {
        if let Ok(percent) = percent.trim().parse::<f64>() {
            step.position(percent.clamp(0.0, 100.0) as u64);
        }
        step.note(text);
    }
}

/// Keeps packages from starting daemons (Debian policy, section 9.3.3.1), where the machine has no
/// rule of its own on that.
struct NoDaemons(Option<PathBuf>);

impl NoDaemons {
    /// Its second line tells a rule that an interrupted set-up left from the machine's own.
    const RULE: &str = "#!/bin/sh\n# Mezame's set-up, while it installs packages.\nexit 101\n";

    fn begin() -> Result<Self> {
        let path = Path::new("/usr/sbin/policy-rc.d");
        if path.exists() && fs::read_to_string(path).context("reading policy-rc.d")? != Self::RULE {
            return Ok(Self(None));
        }
        fs::write(path, Self::RULE).context("writing policy-rc.d")?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755))
            .context("making policy-rc.d executable")?;
        Ok(Self(Some(path.into())))
    }
}

impl Drop for NoDaemons {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            // Should this fail, the next set-up knows the file by its text.
            let _ = fs::remove_file(path);
        }
    }
}
