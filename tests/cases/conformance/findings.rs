//! What is looked at in a root: everything that was written there, in a form that can be compared.
//!
//! The files of accounts, of sudo, of SSH keys and of host names are taken apart, so that it is
//! their meaning that is compared and not in which file or order it stands. Everything else is
//! compared by kind, mode, owner's name and content.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use mezame_tests::client_machine::ClientMachine;

/// By what it is, such as `file /etc/motd` or `user ada`.
pub(super) type Findings = BTreeMap<String, String>;

/// What a case says of its accounts.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Users' passwords in plain text.
    pub(super) passwords: BTreeMap<String, String>,
    /// Users and groups whose numbers are asked for.
    pub(super) numbered: BTreeSet<String>,
}

/// What is not compared, and why.
const LEFT_OUT: [(&str, &str); 22] = [
    ("/run", "each program's own state, gone with a boot"),
    ("/tmp", "gone with a boot"),
    ("/var/tmp", "scratch files"),
    ("/root/.cache", "scratch files"),
    ("/var/lib/cloud", "cloud-init's own state"),
    ("/etc/cloud", "cloud-init's own settings"),
    ("/var/lib/mezame-agent", "the agent's own state"),
    ("/etc/mezame", "the agent's own settings"),
    ("/usr/sbin/guest-agent", "the agent"),
    ("/var/log", "logs of the programs that were run"),
    ("/var/cache", "caches of the programs that were run"),
    ("/var/lib/apt", "apt's lists and marks of when it ran"),
    ("/var/lib/dpkg", "compared as the list of packages"),
    ("/etc/passwd-", "a backup that useradd makes"),
    ("/etc/group-", "a backup that groupadd makes"),
    ("/etc/shadow-", "a backup that chpasswd makes"),
    ("/etc/gshadow-", "a backup that groupadd makes"),
    ("/etc/subuid-", "a backup that useradd makes"),
    ("/etc/subgid-", "a backup that useradd makes"),
    ("/etc/.pwd.lock", "a lock, which is always empty"),
    ("/etc/network", "addresses are not what is compared"),
    ("/etc/resolv.conf", "addresses are not what is compared"),
];

/// What is taken apart below.
const TAKEN_APART: [&str; 10] = [
    "/etc/passwd",
    "/etc/group",
    "/etc/shadow",
    "/etc/gshadow",
    "/etc/subuid",
    "/etc/subgid",
    "/etc/hosts",
    "/etc/sudoers.d",
    "/etc/ssh/sshd_config.d",
    "/etc/chrony",
];

/// How cloud-init begins a key of the default user's in root's file: it lets nobody in, it only says
/// whom to log in as. The agent writes no such line.
const REFUSING: &str = "no-port-forwarding,no-agent-forwarding,no-X11-forwarding,command=\"echo \
                        'Please login as the user";

/// Looks at these paths of a machine, and at what is always looked at.
pub(super) fn look(
    machine: &ClientMachine,
    paths: &BTreeSet<PathBuf>,
    known: &Known,
) -> Result<Findings> {
    let names = Names::read(machine)?;
    let mut findings = Findings::new();
    for path in paths.iter().filter(|path| is_compared(path)) {
        let Some((kind, value)) = state_of(machine, path, &names)? else { continue };
        findings.insert(format!("{kind} {}", path.display()), value);
    }
    accounts(machine, &names, known, &mut findings)?;
    keys(machine, &names, &mut findings)?;
    sudo(machine, &mut findings)?;
    hosts(machine, &mut findings)?;
    time_servers(machine, &mut findings)?;
    let has_sshd = paths.iter().any(|path| path.starts_with("/etc/ssh"));
    if has_sshd {
        let settings = machine.output(30, &["/usr/sbin/sshd", "-T"])?;
        let line = settings.lines().find(|line| line.starts_with("passwordauthentication"));
        findings.insert("sshd".into(), line.context("no such setting")?.into());
    }
    if paths.iter().any(|path| path.starts_with("/var/lib/dpkg/status")) {
        let list = machine.output(30, &["dpkg-query", "--show"])?;
        findings.insert("packages".into(), list);
    }
    findings.insert("kernel's host name".into(), machine.read("/run/kernel-hostname")?);
    Ok(findings)
}

fn is_compared(path: &Path) -> bool {
    let left_out = LEFT_OUT.iter().map(|(prefix, _)| *prefix);
    !left_out.chain(TAKEN_APART).any(|prefix| path.starts_with(prefix))
        && !path.ends_with(".ssh/authorized_keys")
}

/// A file's kind and state; none where nothing is there.
fn state_of(
    machine: &ClientMachine,
    path: &Path,
    names: &Names,
) -> Result<Option<(&'static str, String)>> {
    let place = machine.path(path.to_str().context("a path of UTF-8")?);
    let Ok(meta) = fs::symlink_metadata(&place) else { return Ok(None) };
    let access = format!("{:o} {}", meta.mode() & 0o7777, names.owner(&meta));
    let kind = meta.file_type();
    Ok(Some(if kind.is_symlink() {
        ("link", fs::read_link(&place)?.display().to_string())
    } else if kind.is_dir() {
        if path.ends_with(".ssh") && is_refusing(&place)? {
            return Ok(None);
        }
        ("directory", access)
    } else if kind.is_file() {
        ("file", format!("{access} {:?}", String::from_utf8_lossy(&fs::read(&place)?)))
    } else {
        ("other", access)
    }))
}

/// Whether a `.ssh` is there only to turn people away.
fn is_refusing(directory: &Path) -> Result<bool> {
    let others = fs::read_dir(directory)?.count() > 1;
    let text = fs::read_to_string(directory.join("authorized_keys")).unwrap_or_default();
    Ok(!others && text.lines().all(|line| line.starts_with(REFUSING)))
}

/// The names of a root's users and groups.
struct Names {
    passwd: Vec<Vec<String>>,
    group: Vec<Vec<String>>,
}

impl Names {
    fn read(machine: &ClientMachine) -> Result<Self> {
        Ok(Self { passwd: table(machine, "/etc/passwd")?, group: table(machine, "/etc/group")? })
    }

    fn owner(&self, meta: &fs::Metadata) -> String {
        let user = name_of(&self.passwd, meta.uid());
        format!("{user}:{}", name_of(&self.group, meta.gid()))
    }
}

fn name_of(table: &[Vec<String>], number: u32) -> String {
    let text = number.to_string();
    table.iter().find(|line| line[2] == text).map_or(text, |line| line[0].clone())
}

/// The lines of a file of passwd(5)'s kind, by their fields; none where it is not there.
fn table(machine: &ClientMachine, path: &str) -> Result<Vec<Vec<String>>> {
    if !machine.path(path).exists() {
        return Ok(Vec::new());
    }
    let text = machine.read(path)?;
    Ok(text.lines().map(|line| line.split(':').map(str::to_owned).collect()).collect())
}

impl Known {
    /// Numbers that nobody asked for are given in the order in which accounts and groups are made,
    /// which is not the same.
    fn number(&self, name: &str, number: &str) -> String {
        match number.parse::<u32>() {
            Ok(100..=999) => "some system number".into(),
            Ok(1000..=59_999) if !self.numbered.contains(name) => "some number".into(),
            _ => number.to_owned(),
        }
    }
}

fn accounts(
    machine: &ClientMachine,
    names: &Names,
    known: &Known,
    findings: &mut Findings,
) -> Result<()> {
    let gid = |number: &String| name_of(&names.group, number.parse().unwrap_or(u32::MAX));
    for line in &names.passwd {
        let number = known.number(&line[0], &line[2]);
        let value = format!("{number}, {}, {}", gid(&line[3]), line[4..].join(", "));
        findings.insert(format!("user {}", line[0]), value);
    }
    for line in &names.group {
        let members: BTreeSet<&str> = line[3].split(',').collect();
        let members = members.into_iter().collect::<Vec<_>>().join(",");
        let value = format!("{}: {members}", known.number(&line[0], &line[2]));
        findings.insert(format!("group {}", line[0]), value);
    }
    for line in table(machine, "/etc/gshadow")? {
        let members: BTreeSet<&str> = line[3].split(',').collect();
        let value = format!("{}:{}:{members:?}", line[1], line[2]);
        findings.insert(format!("group {} in gshadow", line[0]), value);
    }
    let today = std::time::UNIX_EPOCH.elapsed()?.as_secs() / 86_400;
    for line in table(machine, "/etc/shadow")? {
        let day = match line[2].parse::<u64>() {
            Ok(0) => "a new one is wanted".to_owned(),
            // A test may run over midnight.
            Ok(day) if day + 1 >= today => "set today".to_owned(),
            _ => line[2].clone(),
        };
        let user = &line[0];
        let hash = match known.passwords.get(user) {
            Some(text) => opened_by(machine, &line[1], text)?,
            None => line[1].clone(),
        };
        let value = format!("{hash}, {day}, {}", line[3..].join(":"));
        findings.insert(format!("password of {user}"), value);
    }
    for path in ["/etc/subuid", "/etc/subgid"] {
        for line in table(machine, path)? {
            findings.insert(format!("{path} of {}", line[0]), line[2].clone());
        }
    }
    Ok(())
}

/// What a hash is worth: each is salted anew, and each program has a scheme of its own.
fn opened_by(machine: &ClientMachine, hash: &str, text: &str) -> Result<String> {
    let bare = hash.trim_start_matches('!');
    let bang = &hash[..hash.len() - bare.len()];
    let check = "import crypt, sys; print(crypt.crypt(sys.argv[1], sys.argv[2]) == sys.argv[2])";
    let words = ["python3", "-W", "ignore", "-c", check, text, bare];
    Ok(match machine.output(30, &words)?.trim() {
        "True" => format!("{bang}opened by {text:?}"),
        _ if bare.len() > 1 => format!("{bang}a hash that {text:?} does not open"),
        _ => hash.to_owned(),
    })
}

fn keys(machine: &ClientMachine, names: &Names, findings: &mut Findings) -> Result<()> {
    for line in &names.passwd {
        let (user, home) = (&line[0], &line[5]);
        let path = format!("{home}/.ssh/authorized_keys");
        let Ok(text) = machine.read(&path) else { continue };
        let meta = fs::metadata(machine.path(&path))?;
        let keys: BTreeSet<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| {
                !line.is_empty() && !line.starts_with('#') && !line.starts_with(REFUSING)
            })
            .collect();
        if keys.is_empty() {
            continue;
        }
        let access = format!("{:o} {}", meta.mode() & 0o7777, names.owner(&meta));
        let keys = keys.into_iter().collect::<Vec<_>>().join("\n");
        findings.insert(format!("keys of {user}"), format!("{access}\n{keys}"));
    }
    Ok(())
}

/// The rules, in whichever file of whichever name, and that the files are root's alone.
fn sudo(machine: &ClientMachine, findings: &mut Findings) -> Result<()> {
    let mut rules = BTreeSet::new();
    for entry in fs::read_dir(machine.path("/etc/sudoers.d"))? {
        let path = entry?.path();
        if path.ends_with("README") {
            continue;
        }
        let meta = fs::metadata(&path)?;
        let access = format!("{:o} {}:{}", meta.mode() & 0o7777, meta.uid(), meta.gid());
        for line in fs::read_to_string(&path)?.lines() {
            if !line.trim().is_empty() && !line.starts_with('#') {
                rules.insert(format!("{line} ({access})"));
            }
        }
    }
    if !rules.is_empty() {
        let rules = rules.into_iter().collect::<Vec<_>>().join("\n");
        findings.insert("sudo".into(), rules);
    }
    Ok(())
}

/// Which names lead where: hosts(5) does not care for spaces, order and comments.
fn hosts(machine: &ClientMachine, findings: &mut Findings) -> Result<()> {
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in machine.read("/etc/hosts")?.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace().map(str::to_owned);
        if let Some(address) = words.next() {
            known.entry(address).or_default().extend(words);
        }
    }
    for (address, names) in known {
        let names = names.into_iter().collect::<Vec<_>>().join(" ");
        findings.insert(format!("hosts {address}"), names);
    }
    Ok(())
}

/// What chrony follows, in whichever of its files that says so.
fn time_servers(machine: &ClientMachine, findings: &mut Findings) -> Result<()> {
    let mut servers = BTreeSet::new();
    let drop_ins = machine.path("/etc/chrony/sources.d");
    let mut files = vec![machine.path("/etc/chrony/chrony.conf")];
    for entry in fs::read_dir(drop_ins).into_iter().flatten() {
        files.push(entry?.path());
    }
    for file in files {
        for line in fs::read_to_string(file).unwrap_or_default().lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            if let ["server" | "pool" | "peer", name, ..] = words.as_slice() {
                servers.insert(format!("{} {name}", words[0]));
            }
        }
    }
    if !servers.is_empty() {
        let servers = servers.into_iter().collect::<Vec<_>>().join("\n");
        findings.insert("time servers".into(), servers);
    }
    Ok(())
}
