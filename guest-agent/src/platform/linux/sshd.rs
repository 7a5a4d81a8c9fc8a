//! Whether the SSH server takes passwords (sshd_config(5), PasswordAuthentication).
//!
//! sshd takes the first value that it reads. So a drop-in does where the image's own file includes
//! them, one whose name sorts before others'; elsewhere the line in the file itself is changed, or
//! one is put before everything, where no Match block can catch it.

use std::time::Duration;

use super::{Linux, tree::Access};
use crate::platform::{Change, PlatformError, Result};

const MAIN: &str = "/etc/ssh/sshd_config";
const DROP_IN: &str = "/etc/ssh/sshd_config.d/10-mezame.conf";
const KEY: &str = "PasswordAuthentication";

pub(super) fn set_passwords(linux: &Linux, on: bool) -> Result<Change> {
    let tree = &linux.tree;
    let Some(main) = tree.read(MAIN)? else {
        return Err(PlatformError::Unsupported {
            what: "there is no OpenSSH server in this image",
        });
    };
    let line = format!("{KEY} {}\n", if on { "yes" } else { "no" });
    let main = String::from_utf8_lossy(&main);
    let change = if includes_drop_ins(&main) {
        let text = format!("# Written by guest-agent; changes here are overwritten.\n{line}");
        tree.write(DROP_IN, text.as_bytes(), Access::root(0o644))?
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

fn includes_drop_ins(main: &str) -> bool {
    main.lines().any(|line| {
        let mut words = line.split_whitespace();
        words.next().is_some_and(|word| word.eq_ignore_ascii_case("Include"))
            && words.any(|path| path.starts_with("/etc/ssh/sshd_config.d/"))
    })
}

fn with_line(main: &str, line: &str) -> String {
    let is_ours = |text: &&str| {
        text.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case(KEY))
    };
    let is_match = |text: &&str| {
        text.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("Match"))
    };
    // What stands in a Match block is an exception that somebody has made, and stays.
    let of_all = main.split_inclusive('\n').take_while(|text| !is_match(text)).count();
    if !main.split_inclusive('\n').take(of_all).any(|text| is_ours(&text)) {
        return format!("{line}{main}");
    }
    let replaced = |(at, known)| if at < of_all && is_ours(&known) { line } else { known };
    main.split_inclusive('\n').enumerate().map(replaced).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drop_in_is_used_only_where_it_is_read() {
        assert!(includes_drop_ins("include /etc/ssh/sshd_config.d/*.conf\n"));
        assert!(!includes_drop_ins("#Include /etc/ssh/sshd_config.d/*.conf\nPort 22\n"));
    }

    #[test]
    fn a_line_in_the_file_itself_is_changed_or_comes_before_everything() {
        let line = "PasswordAuthentication no\n";
        let known = "Port 22\npasswordauthentication yes\nMatch User a\n";
        assert_eq!(with_line(known, line), format!("Port 22\n{line}Match User a\n"));
        let in_match = "Match User a\n  PasswordAuthentication yes\n";
        assert_eq!(with_line(in_match, line), format!("{line}{in_match}"));
        let other = "#PasswordAuthentication yes\nMatch User a\n";
        assert_eq!(with_line(other, line), format!("{line}{other}"));
    }
}
