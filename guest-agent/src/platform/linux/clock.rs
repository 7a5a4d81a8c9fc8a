//! The time zone (a link, as in timedatectl's) and the time servers.

use super::{
    Linux,
    tree::{Access, Tree},
};
use crate::{
    platform::{Change, PlatformError, Result},
    step::Ntp,
};

pub(super) fn set_timezone(tree: &Tree, zone: &str) -> Result<Change> {
    let wrong = |why: &str| PlatformError::Invalid { what: "time zone", why: why.to_owned() };
    if zone.split('/').any(|piece| piece.is_empty() || piece == "." || piece == "..") {
        return Err(wrong("it is no name of a zone"));
    }
    let data = format!("/usr/share/zoneinfo/{zone}");
    if !tree.exists(&data) {
        return Err(wrong("this image has no data for it (package tzdata)"));
    }
    let change = tree.link("/etc/localtime", &data)?;
    // Debian's tools read the name from here.
    let text = format!("{zone}\n");
    Ok(change.and(tree.edit("/etc/timezone", text.as_bytes(), Access::root(0o644))?))
}

/// Where distributions keep chrony's own file.
const CHRONY: [&str; 2] = ["/etc/chrony/chrony.conf", "/etc/chrony.conf"];

/// chrony's and systemd-timesyncd's drop-ins, whichever is there; the daemon is told when the
/// file changed. Who names servers wants no others: those of chrony's own file are commented out,
/// while a drop-in of timesyncd's takes the place of what was named before.
pub(super) fn set_ntp(linux: &Linux, ntp: &Ntp) -> Result<Change> {
    let tree = &linux.tree;
    let mut text = String::from("# Written by guest-agent; changes here are overwritten.\n");
    let mut change = Change::Same;
    let (path, unit) = if linux.tool("chronyd").is_some() {
        for server in &ntp.servers {
            text.push_str(&format!("server {server} iburst\n"));
        }
        for pool in &ntp.pools {
            text.push_str(&format!("pool {pool} iburst\n"));
        }
        for main in CHRONY.into_iter().filter(|path| tree.exists(path)) {
            let known = tree.text(main)?;
            if let Some(others) = without_sources(&known) {
                change = change.and(tree.edit(main, others.as_bytes(), Access::root(0o644))?);
            }
        }
        ("/etc/chrony/sources.d/mezame.sources", "chrony.service")
    } else if tree.exists("/lib/systemd/systemd-timesyncd")
        || tree.exists("/usr/lib/systemd/systemd-timesyncd")
    {
        let all: Vec<&str> = ntp.servers.iter().chain(&ntp.pools).map(String::as_str).collect();
        text.push_str(&format!("[Time]\nNTP={}\n", all.join(" ")));
        ("/etc/systemd/timesyncd.conf.d/60-mezame.conf", "systemd-timesyncd.service")
    } else {
        return Err(PlatformError::NoTool { tool: "chronyd or systemd-timesyncd" });
    };
    let change = change.and(tree.write(path, text.as_bytes(), Access::root(0o644))?);
    if change == Change::Changed
        && linux.live
        && let Some(systemctl) = linux.tool("systemctl")
    {
        super::program::tool(
            &systemctl,
            &["--no-block", "try-restart", unit],
            std::time::Duration::from_secs(30),
        )?;
    }
    Ok(change)
}

/// chrony.conf(5) without the servers that it names itself; none where it names none.
fn without_sources(known: &str) -> Option<String> {
    let is_source =
        |line: &str| matches!(line.split_whitespace().next(), Some("server" | "pool" | "peer"));
    if !known.lines().any(is_source) {
        return None;
    }
    let comment = |line: &str| match is_source(line) {
        true => format!("# guest-agent: {line}"),
        false => line.to_owned(),
    };
    Some(known.split_inclusive('\n').map(comment).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_own_time_servers_are_commented_out_once_and_nothing_else() {
        let known = "# pool a\npool b iburst\n server c\nsourcedir /etc/chrony/sources.d\n";
        let edited = without_sources(known).unwrap();
        assert_eq!(
            edited,
            "# pool a\n# guest-agent: pool b iburst\n# guest-agent:  server c\n\
             sourcedir /etc/chrony/sources.d\n"
        );
        assert_eq!(without_sources(&edited), None);
    }
}
