//! Packages, by the distribution's own manager.

use std::time::Duration;

use super::{Linux, program};
use crate::{
    platform::{Change, PlatformError, Result},
    step::Packages,
};

const TIMEOUT: Duration = Duration::from_secs(3600);

struct Manager {
    tool: &'static str,
    update: &'static [&'static str],
    upgrade: &'static [&'static str],
    install: &'static [&'static str],
    /// Between a name and a version.
    version: &'static str,
}

const MANAGERS: [Manager; 4] = [
    Manager {
        tool: "apt-get",
        update: &["-q", "-o", "DPkg::Lock::Timeout=300", "update"],
        upgrade: &["-q", "-y", "-o", "DPkg::Lock::Timeout=300", "dist-upgrade"],
        install: &["-q", "-y", "-o", "DPkg::Lock::Timeout=300", "install", "--"],
        version: "=",
    },
    Manager {
        tool: "dnf",
        update: &["-y", "makecache"],
        upgrade: &["-y", "upgrade"],
        install: &["-y", "install", "--"],
        version: "-",
    },
    Manager {
        tool: "yum",
        update: &["-y", "makecache"],
        upgrade: &["-y", "upgrade"],
        install: &["-y", "install", "--"],
        version: "-",
    },
    Manager {
        tool: "apk",
        update: &["update"],
        upgrade: &["upgrade"],
        install: &["add", "--"],
        version: "=",
    },
];

pub(super) fn install(linux: &Linux, packages: &Packages) -> Result<Change> {
    if !linux.live {
        return Err(PlatformError::Unsupported {
            what: "no packages are installed in a rehearsal",
        });
    }
    let (manager, path) = MANAGERS
        .iter()
        .find_map(|manager| Some((manager, linux.tool(manager.tool)?)))
        .ok_or(PlatformError::NoTool { tool: "a package manager (apt-get, dnf, yum, apk)" })?;
    if packages.update {
        program::tool(&path, manager.update, TIMEOUT)?;
    }
    if packages.upgrade {
        program::tool(&path, manager.upgrade, TIMEOUT)?;
    }
    if !packages.install.is_empty() {
        let names: Vec<String> =
            packages.install.iter().map(|name| name.replacen('=', manager.version, 1)).collect();
        let arguments: Vec<&str> =
            manager.install.iter().copied().chain(names.iter().map(String::as_str)).collect();
        program::tool(&path, &arguments, TIMEOUT)?;
    }
    Ok(Change::Changed)
}
