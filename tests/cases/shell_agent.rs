//! The agent that is a shell script, run by every shell and every downloader that Debian has, in a
//! Debian of its own behind a tap, against the running service.
//!
//! Whatever shell and whatever downloader: the guest comes to be the same.

mod bsd;
mod handlers;
mod hostile;
mod network;
mod runs;
mod stand_in;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    time::Duration,
};

use mezame_model::{api::StoredReport, report::Outcome};
use mezame_tests::{
    Lab,
    client_machine::ClientMachine,
    namespace_guest::NamespaceGuest,
    process::Ended,
    wait::{self, SOON},
};
use serde_json::{Value, json};

use crate::seeds::{self, MAC};

const AGENT: &str = "/usr/sbin/guest-agent.sh";
const STATE: &str = "/var/lib/mezame-agent-sh";
const BEGIN: &str = "# BEGIN mezame: managed by guest-agent, changes here are overwritten";
const END: &str = "# END mezame";

/// Keys whose comments and options would do something in a shell that took them for more than text.
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVX0ZgvF5mRN0E7jMUbV4ZRHpPYHx7HAzn7dUUuSl2n \
                   $(touch /pwned) `touch /pwned` %s%n \\n\\t 'a \"b -e *";
const ADAS_KEY: &str = "ssh-ed25519 \
                        AAAAC3NzaC1lZDI1NTE5AAAAIKTu3ewZ3Nq0vXnE0lH0zR1mJZ6vXqYxkqgq0Yx2a7bD ada";
const HASH: &str = "$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/";
const SCRIPT: &str = "#!/bin/sh\necho \"ran as $(id -un) in $(pwd)\" >>/root/ran\n";
/// In seconds.
const BOUND: u32 = 60;

/// What a machine has to ask with. Everything else of this kind is taken out of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    Curl,
    Wget,
    BusyboxWget,
    /// NetBSD's ftp.
    Tnftp,
    Nc,
}

impl Tool {
    /// All, those that can't ask for a token first.
    const ALL: [Self; 5] = [Self::Tnftp, Self::BusyboxWget, Self::Curl, Self::Wget, Self::Nc];

    fn knows_tokens(self) -> bool {
        matches!(self, Self::Curl | Self::Wget | Self::Nc)
    }

    fn reports(self) -> bool {
        self != Self::Tnftp
    }

    fn file(self) -> &'static str {
        match self {
            Self::Curl => "curl",
            Self::Wget | Self::BusyboxWget => "wget",
            Self::Tnftp => "ftp",
            Self::Nc => "nc",
        }
    }
}

/// A guest with a seed, in which machines of all kinds wake up.
struct Appliance {
    guest: NamespaceGuest,
    documents: Vec<Value>,
    lab: Lab,
}

impl Appliance {
    fn new(more: &Value) -> Self {
        let lab = Lab::start().unwrap();
        let mut all = json!({
            "ssh_keys": [KEY], "user_data": SCRIPT, "tags": {"role": "front"},
            "users": [{"name": "ada", "ssh_keys": [ADAS_KEY], "password": {"hash": HASH}}],
        });
        all.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let mut documents = seeds::tenant("tenant-a", 1000, "tapa", &all);
        documents.last_mut().unwrap()["hostname"] = "woken.example".into();
        lab.operator.apply(&documents).unwrap();
        let guest = lab.guest("tapa", MAC, &["192.168.0.10/24"]).unwrap();
        seeds::until_known(&guest);
        Self { guest, documents, lab }
    }

    /// Changes the instance, and waits until its guest could see it.
    fn change(&mut self, more: &Value) {
        let instance = self.documents.last_mut().unwrap().as_object_mut().unwrap();
        instance.extend(more.as_object().unwrap().clone());
        let before = wait::until("an answer", SOON, || self.tag()).unwrap();
        self.lab.operator.apply(&self.documents).unwrap();
        wait::until("the change", SOON, || {
            anyhow::ensure!(self.tag()? != before, "it is as it was");
            Ok(())
        })
        .unwrap();
    }

    /// Changes whenever the guest can see a change: of its document, or of whether it may see it. A
    /// connection that is open when an instance ends, ends with it.
    fn tag(&self) -> anyhow::Result<String> {
        let mut connection = self.guest.connect()?;
        // One that was made just as its instance ended may have no answer: the way there is taken down.
        connection.set_read_bound(Duration::from_secs(3))?;
        let answer = connection.get("/mezame/v1/document", &[])?;
        Ok(format!("{} {:?}", answer.status, answer.header("etag")))
    }

    /// A machine that has been started for the first time, with these tools.
    fn machine(&self, tools: &[Tool]) -> ClientMachine {
        let machine = ClientMachine::with_shells(&self.guest, self.lab.directory()).unwrap();
        let agent =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest-agent/shell/guest-agent.sh");
        machine.write(AGENT, &fs::read_to_string(agent).unwrap()).unwrap();
        for tool in Tool::ALL.iter().filter(|it| tools.iter().all(|have| have.file() != it.file()))
        {
            for place in ["/usr/bin", "/usr/local/bin"] {
                // Most tools are in one of the places only.
                let _ = fs::remove_file(machine.path(&format!("{place}/{}", tool.file())));
            }
        }
        if tools.contains(&Tool::BusyboxWget) {
            let wget = machine.path("/usr/bin/wget");
            let _ = fs::remove_file(&wget);
            std::os::unix::fs::symlink("/usr/bin/busybox", wget).unwrap();
        }
        machine
    }

    fn reports(&self) -> Vec<StoredReport> {
        self.lab.operator.reports("tenant-a", "guest").unwrap()
    }

    /// The newest report, once there are more than `before`.
    fn report_after(&self, before: usize) -> StoredReport {
        wait::until("a report", SOON, || {
            let mut all = self.reports();
            anyhow::ensure!(all.len() > before, "there are {}", all.len());
            Ok(all.swap_remove(0))
        })
        .unwrap()
    }
}

/// Runs the agent by a shell.
fn run(machine: &ClientMachine, shell: &[&str]) -> Ended {
    machine.run(BOUND, &[shell, &[AGENT, "run"]].concat()).unwrap()
}

/// Runs it; it must succeed.
fn succeed(machine: &ClientMachine, shell: &[&str]) -> String {
    let ended = run(machine, shell);
    assert!(
        ended.status.success(),
        "{shell:?}: {}\n{}{}",
        ended.status,
        ended.stdout,
        ended.stderr
    );
    ended.stderr
}

fn assert_configured(machine: &ClientMachine) {
    let read = |path: &str| machine.read(path).unwrap();
    assert_eq!(read("/etc/hostname"), "woken.example\n");
    let keys = |of: &str, key: &str| {
        let path = format!("{of}/.ssh/authorized_keys");
        assert_eq!(read(&path), format!("{BEGIN}\n{key}\n{END}\n"));
        let file = fs::metadata(machine.path(&path)).unwrap();
        let directory = fs::metadata(machine.path(&format!("{of}/.ssh"))).unwrap();
        assert_eq!((file.permissions().mode() & 0o777, directory.mode() & 0o777), (0o600, 0o700));
        assert_eq!(file.uid(), fs::metadata(machine.path(of)).unwrap().uid());
        file.uid()
    };
    assert_eq!(keys("/root", KEY), 0);
    assert!(keys("/home/ada", ADAS_KEY) >= 1000);
    assert!(read("/etc/shadow").lines().any(|line| line.starts_with(&format!("ada:{HASH}:"))));
    assert_eq!(read("/root/ran"), "ran as root in /\n");
    assert!(!machine.path("/pwned").exists(), "a value was taken for a command");
    assert_nothing_left(machine);
}

/// Neither a lock nor a file of its work is there once it has ended.
fn assert_nothing_left(machine: &ClientMachine) {
    let state = machine.path(STATE);
    let names = fs::read_dir(&state).unwrap().map(|it| it.unwrap().file_name());
    let mut left = names.filter(|name| {
        let name = name.to_string_lossy();
        name.starts_with("work") || name == "lock"
    });
    assert_eq!(left.next(), None);
    assert_eq!(fs::metadata(&state).unwrap().mode() & 0o777, 0o700);
}

/// A guest is configured by this shell, whatever it has to ask with, and stays as it is when the
/// agent runs again.
fn passes_under(shell: &[&str]) {
    let mut appliance = Appliance::new(&json!({}));
    let mut required = false;
    for tool in Tool::ALL {
        if tool.knows_tokens() && !required {
            appliance.change(&json!({"tokens": "required"}));
            required = true;
        }
        let machine = appliance.machine(&[tool]);
        let before = appliance.reports().len();
        succeed(&machine, shell);
        assert_configured(&machine);
        if tool.reports() {
            let report = appliance.report_after(before).report;
            assert_eq!(
                (report.outcome, report.agent.as_str()),
                (Outcome::Done, "shell 1"),
                "{tool:?}"
            );
            let of =
                |step: &str| report.steps.iter().find(|it| it.step == step).map(|it| it.outcome);
            for step in
                ["hostname", "keys root", "user ada", "password ada", "keys ada", "user-data"]
            {
                assert_eq!(of(step), Some(Outcome::Done), "{tool:?}, {step}: {report:?}");
            }
        }
        // The name goes with the first run's process, as with a reboot; all else is there to stay.
        let said = succeed(&machine, shell);
        let mut again =
            said.lines().filter(|it| it.ends_with(": done") && !it.contains("hostname"));
        assert_eq!(again.next(), None, "{tool:?}: the second run changed something: {said}");
        assert_configured(&machine);
    }
}

#[test]
fn dash_configures_a_guest_with_each_downloader() {
    passes_under(&["dash"]);
}

#[test]
fn busyboxs_ash_configures_a_guest_with_each_downloader() {
    passes_under(&["busybox", "ash"]);
}

#[test]
fn ksh93_configures_a_guest_with_each_downloader() {
    passes_under(&["ksh93"]);
}

#[test]
fn mksh_configures_a_guest_with_each_downloader() {
    passes_under(&["mksh"]);
}

#[test]
fn bash_as_posix_has_it_configures_a_guest_with_each_downloader() {
    passes_under(&["bash", "--posix"]);
}

#[test]
fn yash_configures_a_guest_with_each_downloader() {
    passes_under(&["yash", "-o", "posixlycorrect"]);
}

#[test]
fn posh_configures_a_guest_with_each_downloader() {
    passes_under(&["posh"]);
}

#[test]
fn what_only_reads_is_helped_out_by_nc_where_tokens_are_required() {
    let appliance = Appliance::new(&json!({"tokens": "required"}));
    for tool in [Tool::Tnftp, Tool::BusyboxWget] {
        let machine = appliance.machine(&[tool, Tool::Nc]);
        let before = appliance.reports().len();
        succeed(&machine, &["dash"]);
        assert_configured(&machine);
        appliance.report_after(before);
    }
}

#[test]
fn what_only_reads_says_so_where_tokens_are_required() {
    let appliance = Appliance::new(&json!({"tokens": "required"}));
    for tool in [Tool::Tnftp, Tool::BusyboxWget] {
        let machine = appliance.machine(&[tool]);
        let ended = run(&machine, &["dash"]);
        assert_eq!(ended.status.code(), Some(3), "{}", ended.stderr);
        assert!(ended.stderr.contains("token-required"), "{}", ended.stderr);
        assert_nothing_left(&machine);
    }
}
