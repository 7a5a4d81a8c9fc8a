//! Certificates that the system's programs trust, by the distribution's own tool: a file for each
//! in the directory that is the administrator's, then the tool that makes the bundles of them.
//!
//! The files' names tell which are the agent's; others stay. That the tool has run for them is
//! noted in the agent's state, so that a run which is cut off before is completed by the next one.
//!
//! Follows update-ca-certificates(8) of Debian, which Ubuntu and Alpine have too,
//! update-ca-trust(8) of Red Hat's systems, and update-ca-certificates(8) of SUSE's.

use std::time::Duration;

use mezame_model::Certificate;
use sha2::{Digest as _, Sha256};

use super::{
    Linux, program,
    tree::{Access, Tree},
};
use crate::{
    platform::{Change, Platform, PlatformError, Result},
    settings::STATE,
};

/// How the agent's own files begin.
const OURS: &str = "mezame-";
/// How long the tool may take: on a slow disk some seconds.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Where a distribution has its administrator's certificates.
struct Place {
    directory: &'static str,
    /// Files with other endings are not looked at.
    ending: &'static str,
    tool: &'static str,
    arguments: &'static [&'static str],
}

static SUSE: Place = Place {
    directory: "/etc/pki/trust/anchors",
    ending: ".pem",
    tool: "update-ca-certificates",
    arguments: &[],
};
static RED_HAT: Place = Place {
    directory: "/etc/pki/ca-trust/source/anchors",
    ending: ".pem",
    tool: "update-ca-trust",
    arguments: &["extract"],
};
static DEBIAN: Place = Place {
    directory: "/usr/local/share/ca-certificates",
    ending: ".crt",
    tool: "update-ca-certificates",
    arguments: &[],
};

/// Which files the system's tool has read, one a line.
fn note() -> String {
    format!("/{STATE}/certificates")
}

/// Whether the agent has given it any, or has taken some away that the system may still trust: the
/// note is written when the system's tool has done its work.
pub(super) fn any(tree: &Tree) -> bool {
    let is_noted = tree.read(&note()).is_ok_and(|it| it.is_some_and(|it| !it.is_empty()));
    is_noted || [&SUSE, &RED_HAT, &DEBIAN].into_iter().any(|place| !ours(tree, place).is_empty())
}

/// Has the system trust these, and none that it was given before.
pub(super) fn trust(linux: &Linux, certificates: &[Certificate]) -> Result<Change> {
    let (tree, place) = (&linux.tree, place(linux)?);
    let mut wanted: Vec<(String, &Certificate)> =
        certificates.iter().map(|it| (format!("{}{}", name(it), place.ending), it)).collect();
    wanted.sort();
    let mut change = Change::Same;
    for name in ours(tree, place) {
        if !wanted.iter().any(|(wanted, _)| *wanted == name) {
            change = change.and(tree.remove(&format!("{}/{name}", place.directory))?);
        }
    }
    if !wanted.is_empty() {
        tree.directory(place.directory.as_ref(), Some(Access::root(0o755)))?;
    }
    for (name, certificate) in &wanted {
        let path = format!("{}/{name}", place.directory);
        let pem = certificate.pem().as_bytes();
        change = change.and(tree.write(&path, pem, Access::root(0o644))?);
    }
    let text: String = wanted.iter().map(|(name, _)| format!("{name}\n")).collect();
    let state = format!("/{STATE}");
    let note = note();
    let is_noted = tree.read(&note)?.unwrap_or_default() == text.as_bytes();
    if change == Change::Same && is_noted {
        return Ok(Change::Same);
    }
    if let Some(tool) = linux.tool(place.tool).filter(|_| linux.live) {
        // On the disk before the tool reads them and before they are noted.
        linux.flush()?;
        program::tool(&tool, place.arguments, TIMEOUT)?;
    }
    tree.directory(state.as_ref(), Some(Access::root(0o700)))?;
    tree.write(&note, text.as_bytes(), Access::root(0o600))?;
    Ok(Change::Changed)
}

/// The distribution's place. A rehearsal, where no tool is run, has Debian's if nothing else.
fn place(linux: &Linux) -> Result<&'static Place> {
    let has = |place: &Place| linux.tool(place.tool).is_some();
    // SUSE's tool has the name of Debian's.
    if has(&SUSE) && linux.tree.exists("/etc/pki/trust") {
        Ok(&SUSE)
    } else if has(&RED_HAT) {
        Ok(&RED_HAT)
    } else if has(&DEBIAN) || !linux.live {
        Ok(&DEBIAN)
    } else {
        let tool = "update-ca-certificates or update-ca-trust (package ca-certificates)";
        Err(PlatformError::NoTool { tool })
    }
}

/// The names of the agent's own files.
fn ours(tree: &Tree, place: &Place) -> Vec<String> {
    let mut names = tree.list(place.directory);
    names.retain(|name| name.starts_with(OURS) && name.ends_with(place.ending));
    names
}

/// The same for the same certificate.
fn name(certificate: &Certificate) -> String {
    let digest = Sha256::digest(certificate.der());
    let digits: String = digest.iter().take(10).map(|byte| format!("{byte:02x}")).collect();
    format!("{OURS}{digits}")
}
