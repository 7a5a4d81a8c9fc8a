//! `guest-agent doctor` names the true cause first: one fault after another is induced in a guest
//! behind a real tap, with the real service on its way.
//!
//! Each fault is a shell script in a guest of its own, or an operator's act. What IPv6 could mend
//! is no fault, so it is turned off in all but one of them.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    time::Duration,
};

use mezame_tests::{
    Lab,
    namespace::Namespace,
    namespace_guest::{Dial, NamespaceGuest},
    process,
    tap::{Offload, Tap},
    tenant::Tenant,
    wait::{self, SOON},
};
use serde_json::{Value, json};

use crate::seeds::{self, MAC};

mod path;
mod relay;
mod state;

/// A guest that is configured, but for what a fault does to it.
struct Patient {
    guest: NamespaceGuest,
    documents: Vec<Value>,
    lab: Lab,
}

/// What the doctor said.
#[derive(Debug)]
struct Told {
    status: i32,
    findings: Vec<Value>,
    text: String,
}

/// Hides what the agent writes, and leaves the guest with nothing that other guests had: each
/// script begins as a machine that was just installed.
const PRIVATE: &str = "set -e
    for place in /root /home /run /var/lib; do mount -t tmpfs tmpfs $place; done
    mkdir /run/etc && cp -a /etc/passwd /etc/group /etc/shadow /run/etc
    mount --bind /run/etc /etc
    mkdir -p /etc/mezame
    off=/proc/sys/net/ipv6/conf/eth0/disable_ipv6; [ ! -e $off ] || echo 1 > $off
    run() { $AGENT run --json --timeout 60 > /dev/null; }
    doctor() { rc=0; $AGENT doctor --json \"$@\" || rc=$?; echo \"rc $rc\"; }
    set +e\n";

impl Patient {
    /// A tenant whose instance has these fields, and whose guest has these addresses.
    fn with(more: &Value, addresses: &[&str]) -> Self {
        let documents = seeds::tenant("tenant-a", 1000, "tapa", more);
        let lab = Lab::start().unwrap();
        lab.operator.apply(&documents).unwrap();
        let guest = lab.guest("tapa", MAC, addresses).unwrap();
        Self { guest, documents, lab }
    }

    fn new() -> Self {
        let patient = Self::with(&speaks_mezame(), &["192.168.0.10/24"]);
        seeds::until_known(&patient.guest);
        patient
    }

    /// Runs a script in the guest; the last line of JSON in it is the doctor's.
    fn examine(&self, script: &str) -> Told {
        self.examine_in(self.guest.namespace(), script)
    }

    fn examine_in(&self, namespace: &Namespace, script: &str) -> Told {
        let mut command = namespace.command("unshare");
        command
            .args(["--mount", "--uts", "timeout", "120", "sh", "-c"])
            .arg(format!("{PRIVATE}{script}"))
            .env("AGENT", agent(&self.lab))
            .env_remove("http_proxy")
            .env_remove("HTTP_PROXY")
            .env_remove("all_proxy")
            .env_remove("ALL_PROXY");
        let ended = process::run(&mut command).unwrap();
        let text = format!("{}{}", ended.stdout, ended.stderr);
        let json = ended.stdout.lines().rfind(|line| line.starts_with("{\"findings\""));
        let json = json.unwrap_or_else(|| panic!("the doctor said nothing: {text}"));
        let json: Value = serde_json::from_str(json).unwrap();
        let status = ended.stdout.lines().rfind(|line| line.starts_with("rc ")).unwrap();
        Told {
            status: status[3..].parse().unwrap(),
            findings: json["findings"].as_array().unwrap().clone(),
            text,
        }
    }
}

fn speaks_mezame() -> Value {
    json!({"dialects": ["mezame", "ec2"]})
}

/// The agent as it is shipped.
fn agent(lab: &Lab) -> std::path::PathBuf {
    assert!(lab.binaries.agent.exists(), "{} is not there", lab.binaries.agent.display());
    lab.binaries.agent.clone()
}

impl Told {
    /// The true cause is named first, with how it was seen or what is wrong in words that hold
    /// `evidence`, by whom it can be mended, and with the exit status of a finding.
    fn assert_first(&self, reason: &str, who: &str, evidence: &str) {
        let Some(first) = self.findings.first() else {
            panic!("nothing was found, but {reason} was induced: {}", self.text)
        };
        assert_eq!(first["reason"], reason, "{}", self.text);
        assert_eq!(first["who"], who, "{}", self.text);
        assert!(first.to_string().contains(evidence), "{evidence:?} is not in {first}");
        assert!(first["mend"].as_str().is_some_and(|mend| mend.len() > 10), "{first}");
        assert_eq!(self.status, 1, "{}", self.text);
    }
}

#[test]
fn where_all_is_well_the_doctor_finds_nothing_and_leaves_nothing_behind() {
    let patient = Patient::new();
    let told = patient.examine(
        "run; before=$(ip address; ip route; ip -6 route)
         doctor; after=$(ip address; ip route; ip -6 route)
         [ \"$before\" = \"$after\" ] || echo \"changed: $before -> $after\"",
    );
    assert_eq!((told.status, told.findings.len()), (0, 0), "{}", told.text);
    assert!(!told.text.contains("changed:"), "{}", told.text);
    assert!(told.text.contains("the document of guest"), "{}", told.text);
}
