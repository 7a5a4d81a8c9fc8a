//! Packages, by the distribution's own manager.

use std::time::Duration;

use super::{Linux, program};
use crate::{
    platform::{Change, PlatformError, Result},
    step::Packages,
};

const TIMEOUT: Duration = Duration::from_secs(3600);
/// apt.conf(5): another apt is waited for.
const LOCK: &str = "DPkg::Lock::Timeout=300";
/// dpkg(1): a file that was written before keeps its content. Nobody is there to be asked.
const KEEP: &str = "Dpkg::Options::=--force-confold";

struct Manager {
    tool: &'static str,
    update: &'static [&'static str],
    upgrade: &'static [&'static str],
    install: &'static [&'static str],
    /// Between a name and a version.
    version: &'static str,
    /// Installs only what its lists name, and fetches them only when told to.
    needs_lists: bool,
}

const MANAGERS: [Manager; 4] = [
    Manager {
        tool: "apt-get",
        update: &["-q", "-o", LOCK, "update"],
        upgrade: &["-q", "-y", "-o", LOCK, "-o", KEEP, "dist-upgrade"],
        install: &["-q", "-y", "-o", LOCK, "-o", KEEP, "install", "--"],
        version: "=",
        needs_lists: true,
    },
    Manager {
        tool: "dnf",
        update: &["-y", "makecache"],
        upgrade: &["-y", "upgrade"],
        install: &["-y", "install", "--"],
        version: "-",
        needs_lists: false,
    },
    Manager {
        tool: "yum",
        update: &["-y", "makecache"],
        upgrade: &["-y", "upgrade"],
        install: &["-y", "install", "--"],
        version: "-",
        needs_lists: false,
    },
    Manager {
        tool: "apk",
        update: &["update"],
        upgrade: &["upgrade"],
        install: &["add", "--"],
        version: "=",
        needs_lists: true,
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
    for call in calls(manager, packages) {
        let arguments: Vec<&str> = call.arguments.iter().map(String::as_str).collect();
        match program::tool(&path, &arguments, TIMEOUT) {
            Err(_) if !call.asked_for => {}
            other => other?,
        }
    }
    Ok(Change::Changed)
}

struct Call {
    arguments: Vec<String>,
    /// Otherwise a failure is left to what comes after it.
    asked_for: bool,
}

/// How the manager is called, in order. The lists are fetched without a wish for it where
/// packages could not be found otherwise: the lists of a fresh image are empty or old.
fn calls(manager: &Manager, packages: &Packages) -> Vec<Call> {
    let call = |list: &[&str], asked_for| Call {
        arguments: list.iter().map(|word| (*word).to_owned()).collect(),
        asked_for,
    };
    let works = packages.upgrade || !packages.install.is_empty();
    let mut calls = Vec::new();
    if packages.update || (works && manager.needs_lists) {
        calls.push(call(manager.update, packages.update));
    }
    if packages.upgrade {
        calls.push(call(manager.upgrade, true));
    }
    if !packages.install.is_empty() {
        let mut install = call(manager.install, true);
        let names = packages.install.iter().map(|name| name.replacen('=', manager.version, 1));
        install.arguments.extend(names);
        calls.push(install);
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(tool: &str, packages: &Packages) -> Vec<(String, bool)> {
        let manager = MANAGERS.iter().find(|manager| manager.tool == tool).unwrap();
        calls(manager, packages)
            .into_iter()
            .map(|call| (call.arguments.join(" "), call.asked_for))
            .collect()
    }

    #[test]
    fn lists_are_fetched_first_where_a_fresh_image_has_none() {
        let install = vec!["nginx".to_owned(), "curl=7.88".to_owned()];
        let packages = Packages { install, ..Packages::default() };
        let apt = lines("apt-get", &packages);
        assert_eq!(apt.len(), 2);
        assert!(apt[0].0.ends_with("update") && !apt[0].1, "{apt:?}");
        assert!(apt[1].0.ends_with("install -- nginx curl=7.88") && apt[1].1, "{apt:?}");
        let dnf = lines("dnf", &packages);
        assert_eq!(dnf, [("-y install -- nginx curl-7.88".to_owned(), true)]);
    }

    #[test]
    fn what_is_asked_for_is_called_once_and_in_order() {
        let packages = Packages { update: true, upgrade: true, install: Vec::new() };
        let apk = lines("apk", &packages);
        assert_eq!(apk, [("update".to_owned(), true), ("upgrade".to_owned(), true)]);
        assert!(lines("apt-get", &Packages::default()).is_empty());
    }
}
