//! The agent that is a shell script, run by every shell and every downloader that Debian has, in a
//! Debian of its own behind a tap, against the running service.
//!
//! Whatever shell and whatever downloader: the guest comes to be the same.

mod bsd;
mod hostile;
mod stand_in;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    time::Instant,
};

use mezame_model::{api::StoredReport, report::Outcome};
use mezame_tests::{
    Lab,
    client_machine::ClientMachine,
    namespace_guest::NamespaceGuest,
    process::{Background, Ended},
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
        let before = self.tag();
        self.lab.operator.apply(&self.documents).unwrap();
        wait::until("the change", SOON, || {
            anyhow::ensure!(self.tag() != before, "it is as it was");
            Ok(())
        })
        .unwrap();
    }

    /// Changes whenever the guest can see a change: of its document, or of whether it may see it.
    fn tag(&self) -> String {
        let answer = self.guest.get("/mezame/v1/document").unwrap();
        format!("{} {:?}", answer.status, answer.header("etag"))
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

#[test]
fn it_follows_the_seed_and_leaves_alone_what_is_the_users() {
    let mut appliance = Appliance::new(&json!({}));
    let machine = appliance.machine(&[Tool::Curl]);
    succeed(&machine, &["dash"]);
    let path = "/home/ada/.ssh/authorized_keys";
    // A key of her own, and a password that she has set herself.
    let own =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHVX0ZgvF5mRN0E7jMUbV4ZRHpPYHx7HAzn7dUUuSl2n own";
    let with_own = format!("{own}\n{}no newline at its end", machine.read(path).unwrap());
    fs::write(machine.path(path), with_own).unwrap();
    machine.output(BOUND, &["sh", "-c", "echo 'ada:$6$her$own' | chpasswd -e"]).unwrap();
    let ada = json!({"name": "ada", "ssh_keys": [KEY], "password": {"hash": HASH}});
    appliance.change(&json!({"users": [ada], "hostname": "other"}));
    succeed(&machine, &["dash"]);
    let expected = format!("{own}\nno newline at its end\n{BEGIN}\n{KEY}\n{END}\n");
    assert_eq!(machine.read(path).unwrap(), expected);
    assert_eq!(machine.read("/etc/hostname").unwrap(), "other\n");
    let shadow = |what: &str| machine.read("/etc/shadow").unwrap().contains(what);
    assert!(shadow("\nada:$6$her$own:"), "her password is not hers any more");
    // Another hash in the seed is set; a user who is not named loses the seed's keys and no more.
    let ada = json!({"name": "ada", "password": {"hash": HASH.replace("saltsalt", "othersalt")}});
    appliance.change(&json!({"users": [ada]}));
    succeed(&machine, &["dash"]);
    assert!(shadow("\nada:$6$othersalt$"));
    appliance.change(&json!({"users": []}));
    succeed(&machine, &["dash"]);
    assert_eq!(machine.read(path).unwrap(), format!("{own}\nno newline at its end\n"));
    assert!(machine.read("/etc/passwd").unwrap().contains("\nada:"));
    assert_eq!(machine.read("/root/ran").unwrap().lines().count(), 1);
}

#[test]
fn another_instance_is_another_first_boot_and_an_interrupted_script_is_not_run_again() {
    let mut appliance = Appliance::new(&json!({}));
    let machine = appliance.machine(&[Tool::Curl]);
    succeed(&machine, &["dash"]);
    let kept = fs::read_dir(machine.path(&format!("{STATE}/instances"))).unwrap().next().unwrap();
    // As a power cut in the script's middle would leave it.
    fs::remove_file(kept.unwrap().path().join("user-data.ended")).unwrap();
    let before = appliance.reports().len();
    let ended = run(&machine, &["dash"]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    let report = appliance.report_after(before).report;
    let step = report.steps.iter().find(|it| it.step == "user-data").unwrap();
    assert_eq!((step.outcome, step.reason.as_str()), (Outcome::Failed, "interrupted"));
    appliance.change(&json!({"user_data": "#!/bin/sh\nexit 7\n"}));
    assert!(succeed(&machine, &["dash"]).contains("user-data: skipped, changed-after-run"));
    assert_eq!(machine.read("/root/ran").unwrap().lines().count(), 1);
    appliance.lab.operator.delete("instance", "tenant-a", "guest").unwrap();
    appliance.change(&json!({"name": "next"}));
    let ended = run(&machine, &["dash"]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.stderr);
    assert!(ended.stderr.contains("user-data: failed, script-exit: status 7"), "{}", ended.stderr);
}

#[test]
fn however_often_it_is_killed_the_guest_comes_to_be_the_same() {
    // How long a run takes here, so that it is killed in its midst however fast the machine is.
    let whole = {
        let appliance = Appliance::new(&json!({}));
        let machine = appliance.machine(&[Tool::Curl]);
        let began = Instant::now();
        succeed(&machine, &["dash"]);
        began.elapsed()
    };
    let appliance = Appliance::new(&json!({}));
    let machine = appliance.machine(&[Tool::Curl]);
    let log = appliance.lab.directory().join("killed.log");
    let mut cut_off = 0;
    for attempt in 0..40 {
        // With the number that the last one has, as it would have one of its own on a machine.
        let mut command = machine.command(&["timeout", "60", "dash", AGENT, "run"]);
        let mut agent = Background::start("the agent", &mut command, &log).unwrap();
        std::thread::sleep(whole * attempt / 40);
        cut_off += u32::from(agent.ended().unwrap().is_none());
        agent.kill().unwrap();
        // What it had started goes with its process namespace.
        drop(agent);
    }
    assert!(cut_off > 10, "only {cut_off} were killed in their midst");
    let ended = run(&machine, &["dash"]);
    let ran = machine.read("/root/ran").unwrap_or_default();
    if ended.status.success() {
        assert_configured(&machine);
    } else {
        // It was killed between the script's beginning and its end.
        assert!(ended.stderr.contains("user-data: failed, interrupted"), "{}", ended.stderr);
        assert!(ran.lines().count() <= 1, "{ran}");
    }
    assert_nothing_left(&machine);
}

#[test]
fn two_at_once_are_one() {
    let appliance = Appliance::new(
        &json!({"user_data": "#!/bin/sh\nwhile [ ! -e /root/go ]; do sleep 0.1; done\n"}),
    );
    let machine = appliance.machine(&[Tool::Curl]);
    let log = appliance.lab.directory().join("first.log");
    let mut command = machine.command(&["dash", AGENT, "run"]);
    let mut first = Background::start("the first agent", &mut command, &log).unwrap();
    wait::until("the first one's script", SOON, || {
        let instances = fs::read_dir(machine.path(&format!("{STATE}/instances")))?;
        let started = instances.flatten().any(|it| it.path().join("user-data.started").exists());
        anyhow::ensure!(started, "it has not begun: {}", first.log());
        Ok(())
    })
    .unwrap();
    // In the same process namespace, as on one machine; there the first has a number of its own.
    let mut second = machine.beside(&first, &["dash", AGENT, "run"]).unwrap();
    let second = mezame_tests::process::run(&mut second).unwrap();
    assert_eq!(second.status.code(), Some(4), "{}", second.stderr);
    assert!(second.stderr.contains("already-running"), "{}", second.stderr);
    fs::write(machine.path("/root/go"), "").unwrap();
    assert!(first.wait(SOON).unwrap().success(), "{}", first.log());
    assert_nothing_left(&machine);
}

#[test]
fn get_prints_a_text_and_tells_what_is_not_there_from_what_can_t_be_asked() {
    let appliance = Appliance::new(&json!({"tokens": "required"}));
    let machine = appliance.machine(&[Tool::Curl]);
    let get = |path: &str| machine.run(BOUND, &["dash", AGENT, "get", path]).unwrap();
    assert_eq!(get("tags/role").stdout, "front\n");
    assert_eq!(get(&format!("interfaces/{MAC}/network")).stdout, "lan\n");
    let none = get("tags/none");
    assert_eq!((none.status.code(), none.stdout.as_str()), (Some(1), ""));
    appliance.guest.namespace().ip("route delete 169.254.169.254/32").unwrap();
    appliance.guest.namespace().ip("route add unreachable 169.254.169.254/32").unwrap();
    let mut words = machine.command(&["dash", AGENT, "get", "tags/role"]);
    let unreachable = mezame_tests::process::run(words.env("MEZAME_TIMEOUT", "1")).unwrap();
    assert_eq!(unreachable.status.code(), Some(3), "{}", unreachable.stderr);
}
