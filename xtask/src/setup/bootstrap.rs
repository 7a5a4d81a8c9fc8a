//! Debian roots, made by mmdebstrap from the machine's own Debian sources.
//!
//! Nothing of them is installed on the machine, and no daemon of theirs is started: mmdebstrap sees
//! to that. What a root has beyond the minimum stands in a recipe under `images/recipes`.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use super::{apt::output, progress::Step};

/// The lines of a recipe, without comments.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Makes a root of Debian 12 with these packages (joined by commas); `hooks` are mmdebstrap's.
pub(crate) fn bootstrap(
    root: &Path,
    packages: &str,
    hooks: impl IntoIterator<Item = String>,
    step: &Step,
) -> Result<()> {
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--mode=root", "--variant=minbase", "--include", packages])
        // Documents are a third of the files and nobody reads them there.
        .args([
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/man/*",
        ])
        .args(hooks)
        .arg("bookworm")
        .arg(root)
        .args(sources()?);
    step.run(&mut command, |line| step.note(line))?;
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).context("opening the root")
}

/// The machine's own Debian sources, so that its mirror and its proxy are used.
fn sources() -> Result<Vec<String>> {
    let text = output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)",
        "Created-By: Packages",
    ]))?;
    let mut lines: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("Debian ").or(line.strip_prefix("Debian-Security ")))
        .filter(|line| line.contains(" bookworm") && !line.contains("backports"))
        .map(|line| format!("deb {line}"))
        .collect();
    lines.sort();
    lines.dedup();
    ensure!(!lines.is_empty(), "this machine's apt sources have no Debian bookworm");
    Ok(lines)
}
