//! The agent killed at random points of its run, as by a power cut: whatever the point, the next
//! runs end in the same state, and nothing that says once has run twice.

use std::{collections::BTreeMap, fs, os::unix::fs::MetadataExt, path::Path, time::Duration};

use sha_crypt::{PasswordHash, PasswordVerifier, ShaCrypt};

use super::{
    run::{Root, base64, document, needs_root},
    service::Service,
};

const KILLS: usize = 200;

/// Each says in a file of its own that it ran.
const ONCE: [(&str, &str); 4] = [
    ("vendor-data runcmd", "vendor"),
    ("user-data script 1", "script"),
    ("user-data runcmd", "runcmd"),
    ("user-data bootcmd", "bootcmd"),
];

fn seed() -> (String, String) {
    let mark = |name: &str| format!("echo x >> $MEZAME_ROOT/ran-{name}; sleep 0.002");
    let vendor = format!("#cloud-config\nruncmd:\n- '{}'\n", mark("vendor"));
    let user = format!(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/cloud-config\n\n\
         bootcmd:\n- '{}'\nruncmd:\n- '{}'\nwrite_files:\n\
         - {{path: /srv/one, content: one, owner: 'ops:ops', defer: true}}\n\
         - {{path: /srv/log, content: 'line.', append: true}}\n\
         - {{path: /srv/log, content: 'line.', append: true}}\n\
         users:\n- {{name: extra, groups: [adm, docker], ssh_authorized_keys: [ssh-rsa X]}}\n\
         --b\nContent-Type: text/x-shellscript\n\n#!/bin/sh\n{}\n--b--\n",
        mark("bootcmd"),
        mark("runcmd"),
        mark("script"),
    );
    (vendor, user)
}

/// Everything below a root but what may differ: the agent's own notes, the marks of the scripts,
/// the made password, and leftovers that the next write goes over.
fn state(root: &Root) -> BTreeMap<String, (String, u32, u32)> {
    fn walk(path: &Path, base: &Path, out: &mut BTreeMap<String, (String, u32, u32)>) {
        for entry in fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(base).unwrap().to_string_lossy().into_owned();
            let meta = fs::symlink_metadata(&path).unwrap();
            if name == "var" || name.starts_with("ran-") || name.ends_with(".mezame-new") {
                continue;
            }
            if meta.is_dir() {
                out.insert(name, (String::new(), meta.mode(), meta.uid()));
                walk(&path, base, out);
            } else {
                let mut text = fs::read_to_string(&path).unwrap();
                if name == "etc/shadow" {
                    let lines: Vec<&str> = text
                        .lines()
                        .map(|line| if line.starts_with("ops:$6$") { "ops: made" } else { line })
                        .collect();
                    text = lines.join("\n");
                }
                out.insert(name, (text, meta.mode(), meta.uid()));
            }
        }
    }
    let mut out = BTreeMap::new();
    walk(root.path(), root.path(), &mut out);
    out
}

/// A generator that needs no crate; the seed is printed, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[test]
fn killed_at_200_random_points_it_ends_in_the_same_state_and_runs_nothing_twice() {
    needs_root();
    let keys = tempfile::tempdir().unwrap();
    let private = keys.path().join("key");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&private)
        .status()
        .unwrap();
    assert!(made.success());
    let public = fs::read_to_string(private.with_extension("pub")).unwrap();
    let identity = age::ssh::Identity::from_buffer(fs::read(&private).unwrap().as_slice(), None);
    let identity = identity.unwrap();
    let (vendor, user) = seed();
    let wanted = document(serde_json::json!({
        "ssh_keys": ["ssh-rsa ROOT root"],
        "users": [
            {"name": "ops", "ssh_keys": [public.trim()], "sudo": true, "groups": ["adm"], "password": "generate"},
            {"name": "db", "password": {"hash": "$6$salt$hash"}},
        ],
        "secrets": ["token"],
        "vendor_data": base64(&vendor),
        "user_data": base64(&user),
    }));

    let reference = Root::new();
    let service = Service::start(wanted.clone());
    let time_of_a_run = |root: &Root| {
        let began = std::time::Instant::now();
        assert_eq!(root.run(&service, &["run"]).status.code(), Some(0));
        began.elapsed()
    };
    // The shortest counts: on a busy machine a single one may be many times as long, and most
    // cuts would come too late.
    let whole = (0..4).map(|_| time_of_a_run(&Root::new())).min().unwrap();
    let whole = whole.min(time_of_a_run(&reference));
    let expected = state(&reference);
    assert_eq!(expected["srv/log"].0, "line.line.");
    assert_eq!(reference.text("ran-runcmd"), "x\n");

    let seed = u64::from(std::process::id()).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    println!("seed {seed:#x}, a whole run takes {whole:?}");
    let mut random = Random(seed);
    let (mut kills, mut late, mut interrupted) = (0, 0, 0);
    while kills < KILLS {
        let root = Root::new();
        let service = Service::start(wanted.clone());
        // One to three cuts in a row, then whatever it takes to come to an end.
        for _ in 0..=random.below(3) {
            let mut child = root
                .agent(&service, &["run"])
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::null())
                .spawn()
                .unwrap();
            let micros = u64::try_from(whole.as_micros()).unwrap();
            std::thread::sleep(Duration::from_micros(random.below(micros)));
            match child.try_wait().unwrap() {
                Some(_) => late += 1,
                None => {
                    child.kill().unwrap();
                    kills += 1;
                }
            }
            child.wait().unwrap();
        }
        assert!(late < 4 * KILLS, "most runs were over before the kill");
        let output = root.run(&service, &["run"]);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
        for (name, found) in state(&root) {
            assert_eq!(Some(&found), expected.get(&name), "{name}, after {kills} kills");
        }
        assert_eq!(state(&root).len(), expected.len(), "after {kills} kills");
        let reports = service.look(|told| told.reports.clone());
        for (step, name) in ONCE {
            let ran = root.text(&format!("ran-{name}"));
            assert!(matches!(ran.as_str(), "" | "x\n"), "{name} ran more than once: {ran:?}");
            // What did not run to its end is named as interrupted by each run after the cut.
            let said = reports
                .iter()
                .flat_map(|report| &report.steps)
                .any(|it| it.step == step && it.reason == "interrupted");
            interrupted += usize::from(said);
            assert!(said || ran == "x\n", "{name} neither ran nor was it reported");
        }
        service.look(|told| {
            let sealed: std::collections::BTreeSet<&str> =
                told.passwords.iter().map(|it| it.sealed.as_str()).collect();
            assert_eq!(sealed.len(), 1, "one password is made, however often it is posted");
            let text = age::decrypt(&identity, sealed.first().unwrap().as_bytes()).unwrap();
            let shadow = root.text("etc/shadow");
            let hash = shadow.lines().find_map(|line| line.strip_prefix("ops:")).unwrap();
            let hash = PasswordHash::new(hash.split(':').next().unwrap()).unwrap();
            ShaCrypt::default().verify_password(&text, &hash).unwrap();
            assert!(told.acknowledged.contains("token"));
        });
        // A further run finds nothing to do.
        let again = root.run(&service, &["run", "--json"]);
        let json: serde_json::Value = serde_json::from_slice(&again.stdout).unwrap();
        assert_eq!(json["report"]["outcome"], "unchanged", "{json}");
    }
    println!("{kills} kills, {late} came too late, {interrupted} scripts were interrupted");
}
