//! Runs, watches, lost reports and restarts, in a directory instead of the running system.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use mezame_model::{Document, report::Outcome};
use serde_json::json;

use super::service::Service;

pub(crate) const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPpXG22sRc5YmIMbnonNQcfUy6rvy68yRHcKbFwhMdin me";

/// Fails without root, which alone changes owners and makes namespaces: a test that can't run must
/// not be taken for one that passed.
pub(crate) fn needs_root() {
    assert!(
        nix::unistd::geteuid().is_root(),
        "root is needed for namespaces and for files of other users; run this test as root"
    );
}

pub(crate) fn document(extra: serde_json::Value) -> Document {
    let mut value = json!({
        "version": 1, "generation": 7, "instance_id": "i-0123456789abcdef0", "name": "web",
        "hostname": "web.example",
    });
    for (key, field) in extra.as_object().unwrap() {
        value[key] = field.clone();
    }
    serde_json::from_value(value).unwrap()
}

pub(crate) fn base64(text: &str) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(text)
}

/// A root directory with the files that every system has.
pub(crate) struct Root(tempfile::TempDir);

impl Root {
    pub(crate) fn new() -> Self {
        // In memory where that is there: the disk is shared with whatever else runs.
        let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        fs::write(root.path().join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n").unwrap();
        fs::write(root.path().join("etc/group"), "root:x:0:\n").unwrap();
        fs::create_dir_all(root.path().join("etc/mezame")).unwrap();
        let settings = "configure_network: false\n";
        fs::write(root.path().join("etc/mezame/guest-agent.yaml"), settings).unwrap();
        Self(root)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    pub(crate) fn text(&self, path: &str) -> String {
        fs::read_to_string(self.file(path)).unwrap_or_default()
    }

    pub(crate) fn agent(&self, service: &Service, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_guest-agent"));
        command.arg("--root").arg(self.path()).args(["--endpoint", &service.url()]);
        command.args(arguments).stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, service: &Service, arguments: &[&str]) -> Output {
        self.agent(service, arguments).output().unwrap()
    }
}

/// A child that does not outlive its test.
struct Kept(Child);

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn watch(root: &Root, service: &Service) -> Kept {
    let mut command = root.agent(service, &["watch"]);
    Kept(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

#[test]
fn a_document_is_applied_and_reported_and_status_tells_the_same() {
    needs_root();
    let service = Service::start(document(json!({
        "ssh_keys": [KEY],
        "users": [{"name": "ops", "ssh_keys": [KEY], "sudo": true, "password": "generate"}],
        "secrets": ["token"],
        "user_data": base64("#cloud-config\nwrite_files: [{path: /a, content: hello}]\nzork: 1\n"),
    })));
    let root = Root::new();
    assert_eq!(root.run(&service, &["status"]).status.code(), Some(5));
    let dry = root.run(&service, &["run", "--dry-run"]);
    assert!(String::from_utf8_lossy(&dry.stdout).contains("do      keys root"));
    assert!(
        !root.file("etc/hostname").exists() && !root.file("var/lib/mezame-agent/ledger").exists()
    );
    let output = root.run(&service, &["run", "--json", "--timeout", "30"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["ok"], &json["reported"]), (&json!(true), &json!(true)));
    println!("from the first reply to configured: {} ms", json["reply_to_configured_ms"]);
    assert_eq!(root.text("etc/hostname"), "web\n");
    assert_eq!(root.text("a"), "hello");
    assert_eq!(root.text("var/lib/mezame-agent/secrets/token"), "value of token");
    assert!(root.text("root/.ssh/authorized_keys").contains(KEY));
    service.look(|told| {
        assert_eq!(told.reports.len(), 1);
        assert_eq!(told.passwords.len(), 1);
        assert!(told.acknowledged.contains("token"));
        let zork = told.reports[0].steps.iter().find(|s| s.step == "user-data zork").unwrap();
        assert_eq!((zork.outcome, zork.reason.as_str()), (Outcome::Skipped, "unsupported-key"));
        assert!(!serde_json::to_string(&told.reports[0]).unwrap().contains("value of token"));
    });
    let status = root.run(&service, &["status"]);
    assert_eq!(status.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&status.stdout).contains("unsupported-key"));
}

#[test]
fn a_failed_step_is_an_exit_status_and_a_reason() {
    needs_root();
    let seed = base64("#!/bin/sh\necho broken >&2\nexit 9\n");
    let service = Service::start(document(json!({"user_data": seed})));
    let root = Root::new();
    assert_eq!(root.run(&service, &["run"]).status.code(), Some(1));
    service.look(|told| {
        let step = told.reports[0].steps.iter().find(|s| s.step == "user-data script 1").unwrap();
        assert_eq!(step.reason, "script-exit");
        assert!(step.detail.contains("exit status 9") && step.detail.contains("broken"));
    });
}

#[test]
fn a_record_that_is_not_there_yet_is_awaited_and_an_end_of_patience_is_kept() {
    needs_root();
    let service = Service::start(document(json!({})));
    service.change(|told| told.busy = 3);
    assert_eq!(Root::new().run(&service, &["run", "--timeout", "60"]).status.code(), Some(0));
    service.change(|told| told.off = true);
    let output = Root::new().run(&service, &["run", "--json", "--timeout", "0"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"endpoint-off\""));
    for name in ["doctor", "diagnose"] {
        let told = Root::new().run(&service, &[name, "--json"]);
        assert_eq!(told.status.code(), Some(1), "{told:?}");
        let told: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
        assert_eq!(told["findings"][0]["reason"], "endpoint-off", "{told}");
        assert_eq!(told["findings"][0]["who"], "operator", "{told}");
    }
}

#[test]
fn a_report_that_was_lost_is_sent_by_the_next_run() {
    needs_root();
    let service = Service::start(document(json!({})));
    service.change(|told| told.no_reports = true);
    let root = Root::new();
    let output = root.run(&service, &["run", "--json"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"reported\":false"));
    service.change(|told| told.no_reports = false);
    root.run(&service, &["run"]);
    let runs = service.look(|told| told.reports.iter().map(|it| it.run).collect::<Vec<_>>());
    assert_eq!(runs, [1, 2]);
}

#[test]
fn a_key_that_is_added_live_works_at_once_and_one_that_is_taken_away_does_not() {
    needs_root();
    let service = Service::start(document(json!({"ssh_keys": ["ssh-rsa FIRST a"]})));
    let root = Root::new();
    let _agent = watch(&root, &service);
    service.until("the first report", |told| told.reports.len() == 1);
    let began = std::time::Instant::now();
    service.change(|told| {
        told.document.as_mut().unwrap().ssh_keys = vec!["ssh-rsa SECOND b".into()];
    });
    service.until("the second report", |told| told.reports.len() == 2);
    println!("from the change to the report of it: {:?}", began.elapsed());
    let text = root.text("root/.ssh/authorized_keys");
    assert!(text.contains("SECOND") && !text.contains("FIRST"), "{text}");
}

#[test]
fn a_watch_outlives_a_restart_of_the_service_and_a_second_agent_is_refused() {
    needs_root();
    let service = Service::start(document(json!({"ssh_keys": ["ssh-rsa FIRST a"]})));
    let root = Root::new();
    let _agent = watch(&root, &service);
    service.until("the first report", |told| told.reports.len() == 1);
    let second = root.run(&service, &["run", "--json"]);
    assert_eq!(second.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&second.stdout).contains("already-running"));
    // Every request is answered 503 for a while, as by a server that comes back.
    service.change(|told| {
        told.busy = 5;
        told.document.as_mut().unwrap().ssh_keys = vec!["ssh-rsa SECOND b".into()];
    });
    service.until("a report after the trouble", |told| {
        told.reports.iter().any(|report| report.run > 1)
    });
    assert!(root.text("root/.ssh/authorized_keys").contains("SECOND"));
}

#[test]
fn a_watch_finds_a_service_that_was_gone_and_came_back_at_the_same_port() {
    needs_root();
    // A loopback address of the test's own: nobody else takes the port meanwhile.
    let [.., high, low] = std::process::id().to_be_bytes();
    let listener = TcpListener::bind((Ipv4Addr::new(127, 99, high, low.max(1)), 0)).unwrap();
    let service = Service::on(listener, document(json!({"ssh_keys": ["ssh-rsa FIRST a"]})));
    let root = Root::new();
    let mut command = root.agent(&service, &["watch"]);
    let mut agent = Kept(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let mut words = BufReader::new(agent.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    service.until("a watch", |told| !told.watched.is_empty());
    let address = service.end();
    // Refused twice: it has tried again without any service.
    for _ in 0..2 {
        assert!(words.any(|line| line.contains("can't be reached")), "the agent ended");
    }
    let again = Service::on(
        TcpListener::bind(address).unwrap(),
        document(json!({"ssh_keys": ["ssh-rsa SECOND b"]})),
    );
    again.until("a report", |told| !told.reports.is_empty());
    again.look(|told| assert_eq!((told.tokens, told.reports[0].run), (1, 2)));
    let text = root.text("root/.ssh/authorized_keys");
    assert!(text.contains("SECOND") && !text.contains("FIRST"), "{text}");
}

#[test]
fn a_report_that_the_service_can_not_take_keeps_no_new_key_waiting() {
    needs_root();
    let service = Service::start(document(json!({"ssh_keys": ["ssh-rsa FIRST a"]})));
    service.set(|told| told.no_reports = true);
    let root = Root::new();
    let _agent = watch(&root, &service);
    service.until("a watch", |told| !told.watched.is_empty());
    let version = service.change(|told| {
        told.document.as_mut().unwrap().ssh_keys = vec!["ssh-rsa SECOND b".into()];
        told.version + 1
    });
    // The agent asks for what comes after a version when it has applied that one.
    service.until("the new document's watch", |told| told.watched.contains(&version));
    assert!(root.text("root/.ssh/authorized_keys").contains("SECOND"));
    service.set(|told| told.no_reports = false);
    service.until("both reports", |told| told.reports.len() == 2);
}

#[test]
fn a_secret_that_the_service_could_not_give_is_fetched_as_soon_as_it_can() {
    needs_root();
    let service = Service::start(document(json!({"secrets": ["token"]})));
    service.set(|told| told.no_secrets = true);
    let root = Root::new();
    let _agent = watch(&root, &service);
    service.until("a failure", |told| {
        told.reports.iter().any(|report| report.outcome == Outcome::Failed)
    });
    service.set(|told| told.no_secrets = false);
    service.until("the secret", |told| told.acknowledged.contains("token"));
    assert_eq!(root.text("var/lib/mezame-agent/secrets/token"), "value of token");
}

/// Processes are ended in a namespace of their own alone: outside, a number of a user's may be that
/// of somebody else.
#[test]
fn a_user_who_is_removed_while_the_guest_runs_is_out_with_all_that_runs() {
    needs_root();
    let user = json!([{"name": "ops", "ssh_keys": [KEY], "password": {"hash": "$6$salt$hash"}}]);
    let document = document(json!({"users": user}));
    let service = Service::start(document);
    let directory = tempfile::tempdir().unwrap();
    let stop = directory.path().join("stop");
    // It ends by itself, should this test end before it says so.
    let script = format!(
        "set -e
         for place in /root /home /run /var/lib; do mount -t tmpfs tmpfs $place; done
         mkdir /run/etc && cp -a /etc/passwd /etc/group /etc/shadow /run/etc
         mount --bind /run/etc /etc; mkdir /etc/mezame
         echo 'configure_network: false' > /etc/mezame/guest-agent.yaml
         set +e; $AGENT --endpoint {url} watch &
         for i in $(seq 300); do [ -e /home/ops/.ssh/authorized_keys ] && break; sleep 0.1; done
         setpriv --reuid ops --regid ops --clear-groups sleep 100 & ops=$!
         sleep 0.2; kill -0 $ops && echo 'ops works'
         for i in $(seq 600); do [ -e {stop} ] && break; sleep 0.1; done
         kill -0 $ops 2> /dev/null && echo 'ops still works'
         sed -n 's/^ops:/shadow /p' /etc/shadow; sed -n 's/^ops:/passwd /p' /etc/passwd
         cat /home/ops/.ssh/authorized_keys",
        url = service.url(),
        stop = stop.display()
    );
    let output = std::thread::scope(|scope| {
        let shell = scope.spawn(|| {
            Command::new("unshare")
                .args(["--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"])
                .args(["sh", "-c", &script])
                .env("AGENT", env!("CARGO_BIN_EXE_guest-agent"))
                .stdin(Stdio::null())
                .output()
                .unwrap()
        });
        service.until("the first report", |told| told.reports.len() == 1);
        std::thread::sleep(std::time::Duration::from_secs(1));
        service.change(|told| told.document.as_mut().unwrap().users.clear());
        service.until("the second report", |told| told.reports.len() == 2);
        fs::write(&stop, "").unwrap();
        shell.join().unwrap()
    });
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("ops works") && !text.contains("ops still works"), "{output:?}");
    assert!(text.contains("shadow !$6$salt$hash:") && text.contains(":1:"), "{output:?}");
    assert!(text.contains("passwd x:") && !text.contains(KEY), "{output:?}");
}
