//! Whether the SSH server takes passwords (sshd_config(5), PasswordAuthentication).
//!
//! sshd takes the first value that it reads. So a drop-in does where the image's own file includes
//! them before it says anything itself, one whose name sorts before others'; elsewhere the line in
//! the file itself is changed, or one is put before everything, where no Match block can catch it.
//! Where another's drop-in is read sooner and says otherwise, nothing is changed and the step fails:
//! that file is somebody's, and ours would do nothing.

use std::time::Duration;

use super::{Linux, tree::Access};
use crate::platform::{Change, PlatformError, Result};

const MAIN: &str = "/etc/ssh/sshd_config";
const DROP_INS: &str = "/etc/ssh/sshd_config.d";
const DROP_IN: &str = "10-mezame.conf";
const KEY: &str = "PasswordAuthentication";

pub(super) fn set_passwords(linux: &Linux, on: bool) -> Result<Change> {
    let tree = &linux.tree;
    let Some(main) = tree.read(MAIN)? else {
        return Err(PlatformError::Unsupported {
            what: "there is no OpenSSH server in this image",
        });
    };
    let value = if on { "yes" } else { "no" };
    let line = format!("{KEY} {value}\n");
    let main = String::from_utf8_lossy(&main);
    let change = if drop_in_decides(&main) {
        overruled(linux, value)?;
        let text = format!("# Written by guest-agent; changes here are overwritten.\n{line}");
        tree.write(&format!("{DROP_INS}/{DROP_IN}"), text.as_bytes(), Access::root(0o644))?
    } else {
        tree.edit(MAIN, with_line(&main, &line).as_bytes(), Access::root(0o644))?
    };
    if change == Change::Changed
        && linux.live
        && let Some(systemctl) = linux.tool("systemctl")
    {
        // Debian's unit and the others'; one of them is not there.
        let units = ["ssh.service", "sshd.service"];
        let words = [&["--no-block", "try-reload-or-restart"], units.as_slice()].concat();
        let _ = super::program::tool(&systemctl, &words, Duration::from_secs(30));
    }
    Ok(change)
}

/// The keyword of a line, and what follows it: `Keyword value` or `Keyword=value`.
fn words(line: &str) -> (&str, impl Iterator<Item = &str>) {
    let mut words = line
        .split(|letter: char| letter.is_ascii_whitespace() || letter == '=')
        .map(|word| word.trim_matches('"'))
        .filter(|word| !word.is_empty());
    (words.next().unwrap_or_default(), words)
}

fn begins_with(line: &str, keyword: &str) -> bool {
    words(line).0.eq_ignore_ascii_case(keyword)
}

/// What counts for every connection: Match goes to the end of its file.
fn of_all(text: &str) -> impl Iterator<Item = &str> {
    text.split_inclusive('\n').take_while(|line| !begins_with(line, "Match"))
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
        if word.eq_ignore_ascii_case(KEY) {
            return false;
        }
        if word.eq_ignore_ascii_case("Include") && paths.any(is_ours) {
            return true;
        }
    }
    false
}

/// Fails where a drop-in that is read before ours says otherwise.
fn overruled(linux: &Linux, value: &str) -> Result<()> {
    let names = linux.tree.list(DROP_INS);
    for name in names.iter().filter(|name| name.as_str() < DROP_IN && name.ends_with(".conf")) {
        let path = format!("{DROP_INS}/{name}");
        let text = linux.tree.read(&path)?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let Some(line) = of_all(&text).find(|line| begins_with(line, KEY)) else { continue };
        if words(line).1.next().is_some_and(|known| known.eq_ignore_ascii_case(value)) {
            return Ok(());
        }
        return Err(PlatformError::Overruled { path: path.into(), what: KEY });
    }
    Ok(())
}

fn with_line(main: &str, line: &str) -> String {
    // What stands in a Match block is an exception that somebody has made, and stays.
    let of_all = of_all(main).count();
    let is_ours = |(at, known): (usize, &str)| at < of_all && begins_with(known, KEY);
    let lines = || main.split_inclusive('\n').enumerate();
    if !lines().any(is_ours) {
        return format!("{line}{main}");
    }
    lines().map(|it| if is_ours(it) { line } else { it.1 }).collect()
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
    fn a_line_in_the_file_itself_is_changed_or_comes_before_everything() {
        let line = "PasswordAuthentication no\n";
        let known = "Port 22\npasswordauthentication=yes\nMatch User a\n";
        assert_eq!(with_line(known, line), format!("Port 22\n{line}Match User a\n"));
        let in_match = "Match User a\n  PasswordAuthentication yes\n";
        assert_eq!(with_line(in_match, line), format!("{line}{in_match}"));
        let other = "#PasswordAuthentication yes\nMatch User a\n";
        assert_eq!(with_line(other, line), format!("{line}{other}"));
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
