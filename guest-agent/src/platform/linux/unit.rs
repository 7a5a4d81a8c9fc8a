//! Which unit of systemd's starts the agent, by its directories alone (systemd.unit(5)).
//!
//! Not by asking systemd, which a guest may not have, or not reach. Units are known by their
//! `ExecStart=`, since each image may give them a name of its own. A guest without systemd is one
//! of which nothing can be told.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use crate::doctor::observation::{ServiceState, Starter};

/// In the order in which systemd prefers them.
const PLACES: [&str; 3] = ["etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];
/// So many units are looked at, each so far.
const MAX_UNITS: usize = 4096;
const MAX_LENGTH: u64 = 64 << 10;

pub(super) fn starter(root: &Path) -> Starter {
    let is_there = |path: &str| root.join(path).exists();
    if !is_there("run/systemd/system") && !is_there("etc/systemd/system") {
        return Starter::Unknown;
    }
    let found = PLACES.iter().find_map(|place| unit_in(&root.join(place)));
    let Some(name) = found else { return Starter::Nothing };
    let own = root.join(PLACES[0]);
    let state = if is_masked(&own.join(&name)) {
        ServiceState::Masked
    } else if is_wanted(&own, &name) {
        ServiceState::Enabled
    } else {
        ServiceState::Disabled
    };
    Starter::Service { name, state }
}

fn unit_in(directory: &Path) -> Option<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .ok()?
        .take(MAX_UNITS)
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".service"))
        .collect();
    names.sort();
    names.into_iter().find(|name| starts_agent(&directory.join(name)))
}

fn starts_agent(path: &PathBuf) -> bool {
    // A masked unit has no line of its own left: it is known by its name.
    if is_masked(path) {
        return path.file_stem().is_some_and(|stem| stem.to_string_lossy().contains("guest-agent"))
            && !path.to_string_lossy().contains("qemu");
    }
    let mut text = String::new();
    let read = fs::File::open(path).map(|file| file.take(MAX_LENGTH).read_to_string(&mut text));
    matches!(read, Ok(Ok(_))) && text.lines().any(is_start)
}

/// Whether a line starts `guest-agent run` or `guest-agent watch`: QEMU's and Google's agents have
/// names that end alike, and no such commands.
fn is_start(line: &str) -> bool {
    let Some(command) = line.trim().strip_prefix("ExecStart=") else { return false };
    let mut words = command.trim_start_matches(['-', '@', ':', '+', '!']).split_whitespace();
    let is_ours = words.next().is_some_and(|word| word.rsplit('/').next() == Some("guest-agent"));
    is_ours && words.any(|word| matches!(word, "watch" | "run" | "daemon"))
}

fn is_masked(path: &Path) -> bool {
    fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null"))
}

/// Enabling makes a link in a target's `.wants` or `.requires`.
fn is_wanted(own: &Path, name: &str) -> bool {
    let Ok(entries) = fs::read_dir(own) else { return false };
    entries.take(MAX_UNITS).filter_map(Result::ok).any(|entry| {
        let directory = entry.file_name().to_string_lossy().into_owned();
        let wants = directory.ends_with(".wants") || directory.ends_with(".requires");
        wants && fs::symlink_metadata(entry.path().join(name)).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_unit_is_found_by_what_it_starts_and_its_state_by_its_links() {
        let root = tempfile::tempdir().unwrap();
        let path = |path: &str| root.path().join(path);
        assert_eq!(starter(root.path()), Starter::Unknown);
        fs::create_dir_all(path("etc/systemd/system/multi-user.target.wants")).unwrap();
        fs::create_dir_all(path("usr/lib/systemd/system")).unwrap();
        let other = "[Service]\nExecStart=/usr/sbin/qemu-ga\n";
        fs::write(path("usr/lib/systemd/system/a.service"), other).unwrap();
        assert_eq!(starter(root.path()), Starter::Nothing);
        let ours = "[Service]\nExecStart=-/usr/sbin/guest-agent watch\n";
        fs::write(path("usr/lib/systemd/system/mezame.service"), ours).unwrap();
        let of = |state| Starter::Service { name: "mezame.service".into(), state };
        assert_eq!(starter(root.path()), of(ServiceState::Disabled));
        let link = path("etc/systemd/system/multi-user.target.wants/mezame.service");
        symlink("/usr/lib/systemd/system/mezame.service", link).unwrap();
        assert_eq!(starter(root.path()), of(ServiceState::Enabled));
        symlink("/dev/null", path("etc/systemd/system/mezame.service")).unwrap();
        assert_eq!(starter(root.path()), of(ServiceState::Masked));
    }

    #[test]
    fn other_agents_are_not_taken_for_ours() {
        assert!(is_start("ExecStart=/usr/sbin/guest-agent --root / run --timeout 9"));
        for line in [
            "ExecStart=/usr/bin/google_guest_agent",
            "ExecStart=/x/guest-agent",
            "# guest-agent run",
        ] {
            assert!(!is_start(line), "{line}");
        }
    }
}
