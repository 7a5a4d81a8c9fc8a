//! Whether the SSH server takes passwords (sshd_config(5), PasswordAuthentication).
//!
//! sshd takes the first value that it reads. So a drop-in does where the image's own file includes
//! them before it says anything itself, one whose name sorts before others'; elsewhere the line
//! comes first in the file itself, where no Match block can catch it ([`sshd_config`]). Where
//! another's drop-in is read sooner and says otherwise, nothing is changed and the step fails: that
//! file is somebody's, and ours would do nothing.

use super::{
    Linux, program,
    tree::{Access, Tree},
};
use crate::{
    platform::{Change, PlatformError, Result},
    sshd_config::{self, PASSWORDS, begins_with, of_all, words},
};

const MAIN: &str = "/etc/ssh/sshd_config";
const DROP_INS: &str = "/etc/ssh/sshd_config.d";
const DROP_IN: &str = "10-mezame.conf";

/// That sshd has not read yet what was written for it. Noted before it is written: a run that is
/// killed in between, or whose reload can't be queued, leaves it to the next one. No boot finds it,
/// as sshd reads its files then by itself.
const DUE: &str = "/run/mezame-agent/sshd-reload";

pub(super) fn set_passwords(linux: &Linux, on: bool) -> Result<Change> {
    set(&linux.tree, on, &|| reload(linux))
}

/// Does a reload that is due. Says whether one was.
pub(super) fn complete(linux: &Linux) -> Result<bool> {
    if_due(&linux.tree, &|| reload(linux)).map(|change| change == Change::Changed)
}

fn set(tree: &Tree, on: bool, reload: &dyn Fn() -> Result<()>) -> Result<Change> {
    let Some(main) = tree.read(MAIN)? else {
        return Err(PlatformError::Unsupported {
            what: "there is no OpenSSH server in this image",
        });
    };
    let change = if drop_in_decides(&String::from_utf8_lossy(&main)) {
        let value = if on { "yes" } else { "no" };
        overruled(tree, value)?;
        let path = format!("{DROP_INS}/{DROP_IN}");
        let text = format!(
            "# Written by guest-agent; changes here are overwritten.\n{PASSWORDS} {value}\n"
        );
        announce(tree, tree.read(&path)?.as_deref(), text.as_bytes())?;
        tree.write(&path, text.as_bytes(), Access::root(0o644))?
    } else {
        let text = sshd_config::with_passwords(&main, on);
        announce(tree, Some(&main), &text)?;
        tree.edit(MAIN, &text, Access::root(0o644))?
    };
    Ok(change.and(if_due(tree, reload)?))
}

fn announce(tree: &Tree, there: Option<&[u8]>, wanted: &[u8]) -> Result<()> {
    if there == Some(wanted) {
        return Ok(());
    }
    tree.write(DUE, b"", Access::root(0o600)).map(drop)
}

fn if_due(tree: &Tree, reload: &dyn Fn() -> Result<()>) -> Result<Change> {
    if !tree.exists(DUE) {
        return Ok(Change::Same);
    }
    reload()?;
    tree.remove(DUE)
}

/// Has systemd reload sshd where it runs. Without systemd, sshd reads its files when it starts.
fn reload(linux: &Linux) -> Result<()> {
    // sd_booted(3).
    if !linux.live || !linux.tree.exists("/run/systemd/system") {
        return Ok(());
    }
    let Some(systemctl) = linux.tool("systemctl") else { return Ok(()) };
    queue_reload(&systemctl, linux.tool("sshd").as_deref())
}

/// Queues the reload, where the SSH server's unit is there and not at rest.
fn queue_reload(systemctl: &str, sshd: Option<&str>) -> Result<()> {
    // Debian's unit and the others'; one of them is not there, or is the other.
    for unit in ["ssh.service", "sshd.service"] {
        let state = program::said(systemctl, &["show", "--property=ActiveState", unit])?;
        let is = |wanted: &str| state.lines().any(|line| line == wanted);
        if is("ActiveState=inactive") || is("ActiveState=failed") {
            continue;
        }
        // A running server that is told to read what it can't ends (sshd(8), SIGHUP). One that is
        // starting checks by itself, and has its directory and keys by then alone.
        if let Some(sshd) = sshd.filter(|_| is("ActiveState=active")) {
            program::said(sshd, &["-t"])?;
        }
        // Not awaited: where sshd is to start after the agent, it would wait for us.
        return program::said(systemctl, &["--no-block", "reload-or-restart", unit]).map(drop);
    }
    Ok(())
}

/// Whether our drop-in would be read, and before the file says anything itself.
fn drop_in_decides(main: &str) -> bool {
    let is_ours = |path: &str| {
        // What is no whole path is below /etc/ssh.
        let path = path.strip_prefix("/etc/ssh/").unwrap_or(path);
        path.strip_prefix("sshd_config.d/")
            .is_some_and(|name| ["*.conf", "*", DROP_IN].contains(&name))
    };
    for line in of_all(main) {
        let (word, mut paths) = words(line);
        if word.eq_ignore_ascii_case(PASSWORDS) {
            return false;
        }
        if word.eq_ignore_ascii_case("Include") && paths.any(is_ours) {
            return true;
        }
    }
    false
}

/// Fails where a drop-in that is read before ours says otherwise.
fn overruled(tree: &Tree, value: &str) -> Result<()> {
    let names = tree.list(DROP_INS);
    for name in names.iter().filter(|name| name.as_str() < DROP_IN && name.ends_with(".conf")) {
        let path = format!("{DROP_INS}/{name}");
        let text = tree.read(&path)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let Some(line) = of_all(&text).find(|line| begins_with(line, PASSWORDS)) else { continue };
        if words(line).1.next().is_some_and(|known| known.eq_ignore_ascii_case(value)) {
            return Ok(());
        }
        return Err(PlatformError::Overruled { path: path.into(), what: PASSWORDS });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    #[test]
    fn a_drop_in_is_used_only_where_it_is_read() {
        for good in [
            "include /etc/ssh/sshd_config.d/*.conf\n",
            "Port 22\nInclude=\"sshd_config.d/*.conf\"\nPasswordAuthentication no\n",
            "Include /etc/crypto/x.conf /etc/ssh/sshd_config.d/10-mezame.conf\n",
            "#PasswordAuthentication no\nInclude /etc/ssh/sshd_config.d/*\n",
        ] {
            assert!(drop_in_decides(good), "{good}");
        }
        for bad in [
            "#Include /etc/ssh/sshd_config.d/*.conf\nPort 22\n",
            "Include /etc/ssh/sshd_config.d/50-other.conf\n",
            "Match User a\nInclude /etc/ssh/sshd_config.d/*.conf\n",
            "PasswordAuthentication=yes\nInclude /etc/ssh/sshd_config.d/*.conf\n",
        ] {
            assert!(!drop_in_decides(bad), "{bad}");
        }
    }

    #[test]
    fn a_reload_that_was_cut_off_or_failed_is_done_by_the_next_run() {
        let root = tempfile::tempdir().unwrap();
        let tree = Tree::open(root.path()).unwrap();
        let main = root.path().join(&MAIN[1..]);
        std::fs::create_dir_all(main.parent().unwrap()).unwrap();
        std::fs::write(&main, "Port 22\n").unwrap();
        let reloads = std::cell::Cell::new(0);
        let killed = || {
            let text = std::fs::read_to_string(&main).unwrap();
            assert!(text.contains("PasswordAuthentication no"), "written first: {text}");
            Err(PlatformError::Unsupported { what: "it was killed" })
        };
        let good = || {
            reloads.set(reloads.get() + 1);
            Ok(())
        };
        set(&tree, false, &killed).unwrap_err();
        assert_eq!(set(&tree, false, &good).unwrap(), Change::Changed);
        assert_eq!(set(&tree, false, &good).unwrap(), Change::Same);
        assert_eq!(reloads.get(), 1);
        // What would be killed before the file is written is announced by then.
        announce(&tree, Some(b"old"), b"new").unwrap();
        assert_eq!(if_due(&tree, &good).unwrap(), Change::Changed);
        assert_eq!((if_due(&tree, &good).unwrap(), reloads.get()), (Change::Same, 2));
    }

    #[test]
    fn a_running_server_is_told_to_read_only_what_it_can() {
        let room = tempfile::tempdir().unwrap();
        let place = |name: &str| room.path().join(name).to_str().unwrap().to_owned();
        let (systemctl, sshd, calls) = (place("systemctl"), place("sshd"), place("calls"));
        let queued = |state: &str, verdict: i32| {
            let script = |path: &str, body: String| {
                std::fs::write(path, format!("#!/bin/sh\n{body}\n")).unwrap();
                let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
                std::fs::set_permissions(path, mode).unwrap();
            };
            let show = format!("if [ $1 = show ]; then echo ActiveState={state}; exit; fi");
            script(&systemctl, format!("{show}\necho \"$@\" >>{calls}"));
            script(&sshd, format!("echo sshd \"$@\" >>{calls}; exit {verdict}"));
            let _ = std::fs::remove_file(&calls);
            let result = queue_reload(&systemctl, Some(&sshd));
            let seen = std::fs::read_to_string(&calls).unwrap_or_default();
            (result.map_err(|error| error.reason()), seen)
        };
        let reload = "--no-block reload-or-restart ssh.service\n";
        assert_eq!(queued("active", 0), (Ok(()), format!("sshd -t\n{reload}")));
        assert_eq!(queued("active", 255), (Err("tool-failed"), "sshd -t\n".into()));
        assert_eq!(queued("activating", 255), (Ok(()), reload.into()), "it checks by itself");
        assert_eq!(queued("inactive", 255), (Ok(()), String::new()));
    }

    #[test]
    fn what_sshd_reads_first_is_what_was_asked_for_or_the_step_says_why_not() {
        let image = |main: &str, drop_ins: &[(&str, &str)]| {
            let root = tempfile::tempdir().unwrap();
            let settings = Settings { root: root.path().to_owned(), ..Settings::default() };
            let linux = Linux::new(&settings).unwrap();
            std::fs::create_dir_all(root.path().join(&DROP_INS[1..])).unwrap();
            std::fs::write(root.path().join(&MAIN[1..]), main).unwrap();
            for (name, text) in drop_ins {
                std::fs::write(root.path().join(&DROP_INS[1..]).join(name), text).unwrap();
            }
            let result = set_passwords(&linux, true);
            let read = |path: &str| std::fs::read_to_string(root.path().join(path)).ok();
            (result, read(&MAIN[1..]).unwrap(), read("etc/ssh/sshd_config.d/10-mezame.conf"))
        };
        let include = "Include /etc/ssh/sshd_config.d/*.conf\n";
        let (result, main, drop_in) = image(&format!("PasswordAuthentication no\n{include}"), &[]);
        assert_eq!(result.unwrap(), Change::Changed);
        assert_eq!((main, drop_in), (format!("PasswordAuthentication yes\n{include}"), None));
        let no = "PasswordAuthentication no\n";
        let (result, main, drop_in) = image(include, &[("01-site.conf", no)]);
        let error = result.unwrap_err();
        assert_eq!(error.reason(), "overruled");
        assert!(error.to_string().contains("/etc/ssh/sshd_config.d/01-site.conf"), "{error}");
        assert_eq!((main.as_str(), drop_in), (include, None));
        // Read later, for some alone, or of no use to sshd.
        let others = [
            ("60-cloud.conf", no),
            ("02-some.conf", "Match User a\n  PasswordAuthentication no\n"),
            ("03.bak", no),
        ];
        let (result, _, drop_in) = image(include, &others);
        assert_eq!(result.unwrap(), Change::Changed);
        assert!(drop_in.unwrap().ends_with("PasswordAuthentication yes\n"));
    }
}
