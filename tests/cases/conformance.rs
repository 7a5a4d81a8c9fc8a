//! The agent beside cloud-init: the same user-data, through both, on equal roots.
//!
//! A seed is applied at the control plane once. Debian's own cloud-init runs all its stages on a
//! copy of the clients' root and reads the seed as NoCloud, the agent runs on another copy and reads
//! it as its own document, both through the eBPF path. Then everything that either of them has
//! written is compared, and so are the agent's complaints with what the document asks for beyond
//! what the agent supports.
//!
//! The documents stand in `conformance/documents`: written for this, in the manner in which people
//! publish theirs, each with a line on what it is typical of. What may differ is either one of the
//! few things in [`findings`], each with its reason, or named by a case with both values; the same
//! is told to users in `docs/agent.md`.

mod accounts;
mod commands;
mod files;
mod findings;
mod formats;
mod system;

use std::{collections::BTreeSet, fs, path::PathBuf};

use mezame_tests::{
    Lab, client_machine::ClientMachine, equal_image, namespace_guest::NamespaceGuest,
};
use serde_json::{Value, json};

use self::findings::{Findings, Known};
use crate::seeds::{self, MAC};

/// The instance's own key.
const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVX0ZgvF5mRN0E7jMUbV4ZRHpPYHx7HAzn7dUUuSl2n operator";
/// In seconds. cloud-init takes some; the agent a fraction of one.
const BOUND: u32 = 120;

const AGENT: &str = "guest-agent --json run --timeout 60 > /run/report.json 2> /run/agent.log";

/// A document that is to be run through both.
struct Case {
    seed: Value,
    settings: String,
    known: Known,
    complaints: Vec<(String, String)>,
    prepare: fn(&ClientMachine),
    boots_twice: bool,
}

impl Case {
    /// Of a file in `documents`.
    fn of(document: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("cases/conformance/documents")
            .join(document);
        Self::of_text(&fs::read_to_string(path).unwrap())
    }

    fn of_text(text: &str) -> Self {
        Self::seeded(&json!({"user_data": text}))
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        use base64::{Engine, engine::general_purpose::STANDARD};
        Self::seeded(&json!({"user_data_base64": STANDARD.encode(bytes)}))
    }

    fn seeded(seed: &Value) -> Self {
        Self {
            seed: seed.clone(),
            settings: String::new(),
            known: Known::default(),
            complaints: Vec::new(),
            prepare: |_| (),
            boots_twice: false,
        }
    }

    /// With a setting of the agent's more.
    fn setting(mut self, line: &str) -> Self {
        self.settings.push_str(line);
        self
    }

    /// These users' passwords are this text, however each of the two salts and hashes it.
    fn passwords(mut self, passwords: &[(&str, &str)]) -> Self {
        let owned = |(user, text): &(&str, &str)| ((*user).to_owned(), (*text).to_owned());
        self.known.passwords.extend(passwords.iter().map(owned));
        self
    }

    /// These users and groups have the numbers that the document asks for.
    fn numbered(mut self, names: &[&str]) -> Self {
        self.known.numbered.extend(names.iter().map(|name| (*name).to_owned()));
        self
    }

    /// The agent complains of these steps, for these reasons, and of no others.
    fn complains(mut self, steps: &[(&str, &str)]) -> Self {
        let owned = |(step, reason): &(&str, &str)| ((*step).to_owned(), (*reason).to_owned());
        self.complaints.extend(steps.iter().map(owned));
        self
    }

    /// Both roots are made ready like this.
    fn prepare(mut self, prepare: fn(&ClientMachine)) -> Self {
        self.prepare = prepare;
        self
    }

    /// Both run at two boots, with nothing changed in between.
    fn twice(mut self) -> Self {
        self.boots_twice = true;
        self
    }

    /// What each of the machines runs: cloud-init's first.
    fn scripts(&self) -> [String; 2] {
        let (stages, agent) = (equal_image::STAGES, AGENT);
        if !self.boots_twice {
            return [stages.to_owned(), agent.to_owned()];
        }
        // What a reboot takes away; and the kernel's word for which boot it is, of which there is
        // only the test machine's.
        let id = "cat /proc/sys/kernel/random/uuid > /run/boot-id
mount --bind /run/boot-id /proc/sys/kernel/random/boot_id";
        [format!("{stages}\nrm -r /run/cloud-init\n{stages}"), format!("{agent}\n{id}\n{agent}")]
    }

    /// Runs both. The agent's complaints must be the expected ones.
    fn run(self) -> Both {
        let lab = Lab::start().unwrap();
        let mut all = json!({"ssh_keys": [KEY], "dialects": ["nocloud", "mezame"]});
        all.as_object_mut().unwrap().extend(self.seed.as_object().unwrap().clone());
        let mut documents = seeds::tenant("tenant-a", 1000, "tapa", &all);
        documents.last_mut().unwrap()["hostname"] = "woken".into();
        let network = documents.iter_mut().find(|it| it["kind"] == "Network").unwrap();
        network["domain"] = "tenant.example".into();
        lab.operator.apply(&documents).unwrap();
        let guest = lab.guest("tapa", MAC, &["192.168.0.10/24"]).unwrap();
        seeds::until_known(&guest);
        let smbios = lab.operator.smbios("tenant-a", "guest").unwrap();
        let machine = |boot: &str| {
            let machine = ClientMachine::make(&guest, &smbios, lab.directory()).unwrap();
            equal_image::furnish(&machine, &lab.binaries.agent, &self.settings).unwrap();
            let name = "cat /proc/sys/kernel/hostname > /run/kernel-hostname";
            machine
                .write("/run/boot", &format!("#!/bin/sh\nhostname image\n{boot}\n{name}\n"))
                .unwrap();
            (self.prepare)(&machine);
            machine
        };
        let [theirs, ours] = self.scripts().map(|script| machine(&script));
        let said = theirs.output(BOUND, &["/run/boot"]).unwrap();
        let result = theirs.read("/run/cloud-init/result.json").unwrap_or_default();
        ours.output(BOUND, &["/run/boot"]).unwrap();
        let log = ours.read("/run/agent.log").unwrap();
        let report = ours.read("/run/report.json").unwrap();
        let report: Value =
            serde_json::from_str(&report).unwrap_or_else(|error| panic!("{error}: {report}{log}"));
        assert_eq!(complaints_of(&report), self.complaints, "{report:#}");
        let mut paths: BTreeSet<PathBuf> = theirs.written().unwrap().into_iter().collect();
        paths.extend(ours.written().unwrap());
        let look = |machine| findings::look(machine, &paths, &self.known).unwrap();
        Both {
            theirs: look(&theirs),
            ours: look(&ours),
            result: serde_json::from_str(&result).unwrap_or_else(|_| panic!("{result}{said}")),
            _guest: guest,
            _lab: lab,
        }
    }
}

/// The steps that were not done, with the reason.
fn complaints_of(report: &Value) -> Vec<(String, String)> {
    let steps = report["report"]["steps"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    steps
        .iter()
        .filter(|step| matches!(step["outcome"].as_str(), Some("skipped" | "failed")))
        .map(|step| (text(&step["step"]), text(&step["reason"])))
        .collect()
}

/// What came of both.
struct Both {
    theirs: Findings,
    ours: Findings,
    result: Value,
    _guest: NamespaceGuest,
    _lab: Lab,
}

impl Both {
    /// Nothing differs, and cloud-init has nothing to complain of.
    fn assert_alike(&self) {
        self.assert_alike_but(&[]);
    }

    /// Nothing differs but these: what it is, with cloud-init's value and with the agent's. A dash
    /// stands for nothing at all.
    fn assert_alike_but(&self, known: &[(&str, &str, &str)]) {
        let errors = &self.result["v1"]["errors"];
        assert_eq!(errors, &json!([]), "cloud-init complains");
        self.assert_differing(known);
    }

    /// The same, where cloud-init complains of this.
    fn assert_alike_with_errors(&self, word: &str, known: &[(&str, &str, &str)]) {
        let errors = self.result["v1"]["errors"].to_string();
        assert!(errors.contains(word), "cloud-init does not complain of {word}: {errors}");
        self.assert_differing(known);
    }

    fn assert_differing(&self, known: &[(&str, &str, &str)]) {
        let keys: BTreeSet<&String> = self.theirs.keys().chain(self.ours.keys()).collect();
        let value = |findings: &Findings, key: &str| {
            findings.get(key).cloned().unwrap_or_else(|| "-".to_owned())
        };
        let differing: Vec<(String, String, String)> = keys
            .into_iter()
            .map(|key| (key.clone(), value(&self.theirs, key), value(&self.ours, key)))
            .filter(|(_, theirs, ours)| theirs != ours)
            .collect();
        let known: Vec<(String, String, String)> = known
            .iter()
            .map(|(key, theirs, ours)| (key.to_string(), theirs.to_string(), ours.to_string()))
            .collect();
        assert_eq!(differing, known, "what, by cloud-init, by the agent");
    }

    /// Both have this, so that what is compared is not two times nothing.
    fn assert_found(&self, key: &str, value: &str) {
        assert_eq!(self.theirs.get(key).map(String::as_str), Some(value), "{:#?}", self.theirs);
        assert_eq!(self.ours.get(key).map(String::as_str), Some(value), "{:#?}", self.ours);
    }
}
