//! Who may become another user: drop-ins of sudoers(5), one a user.

use super::{Linux, tree::Access};
use crate::platform::{Change, PlatformError, Result};

/// A drop-in for sudo. It is checked before it is in its place: one wrong line there, and nobody
/// becomes root any more.
pub(super) fn set(linux: &Linux, user: &str, rules: &[String]) -> Result<Change> {
    let tree = &linux.tree;
    // sudo ignores names with a dot; no user has a '%', so no two users share a file.
    let path = format!("/etc/sudoers.d/90-mezame-{}", user.replace('.', "%2e"));
    if rules.is_empty() {
        return tree.remove(&path);
    }
    let mut text = String::from("# Written by guest-agent; changes here are overwritten.\n");
    for rule in rules {
        if let Some(why) = wrong_rule(rule) {
            return Err(PlatformError::Invalid { what: "sudo rule", why: why.to_owned() });
        }
        text.push_str(&format!("{user} {}\n", rule.trim()));
    }
    if tree.read(&path)?.as_deref() == Some(text.as_bytes()) {
        return Ok(Change::Same);
    }
    if let Some(visudo) = linux.tool("visudo").filter(|_| linux.live) {
        super::program::check_with(&visudo, &["-c", "-q", "-f", "-"], text.as_bytes())?;
    }
    tree.directory("/etc/sudoers.d".as_ref(), Some(Access::root(0o750)))?;
    tree.write(&path, text.as_bytes(), Access::root(0o440))
}

/// What is wrong with a rule even before visudo sees it: that it has more than one line, or
/// doesn't have the form `HOSTS=(…) COMMANDS`.
fn wrong_rule(rule: &str) -> Option<&'static str> {
    if rule.contains(['\n', '\r', '\0']) || rule.trim_end().ends_with('\\') {
        return Some("it has more than one line");
    }
    const FORM: &str = "HOSTS=(USERS) COMMANDS is wanted";
    let Some((hosts, commands)) = rule.split_once('=') else { return Some(FORM) };
    let hosts_fine = !hosts.trim().is_empty()
        && hosts.trim().bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ' || byte == b',');
    (!hosts_fine || commands.trim().is_empty()).then_some(FORM)
}
