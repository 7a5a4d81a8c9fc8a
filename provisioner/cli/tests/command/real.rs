//! The real binary against the real control plane: what both must agree on.

mod files;
mod images;
mod way;

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::Arc,
    thread::JoinHandle,
};

use mezame_cli::explain::{examples, fields};
use mezame_model::{
    Feed, Generation, GuestEvent, InstanceId, PortId, UserName,
    api::Kind,
    report::{GuestEventKind, HostKey, Outcome, Report, SealedPassword, StepReport},
};
use mezame_provisioner::{Provisioner, Settings, Storage, TlsSettings};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::{Ran, command, finish};

/// A control plane of this process. Ends when it is dropped.
struct Real {
    folder: tempfile::TempDir,
    feed: Arc<dyn Feed>,
    runtime: tokio::runtime::Handle,
    tls_port: u16,
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Real {
    fn start() -> Self {
        Self::with(|_, _| ())
    }

    /// One whose settings are changed, by who knows its folder.
    fn with(change: impl FnOnce(&mut Settings, &std::path::Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut settings = Settings::in_directory(folder.path());
        settings.storage = Storage::Memory;
        change(&mut settings, folder.path());
        settings.tls = Some(TlsSettings {
            listen: "127.0.0.1:0".parse().unwrap(),
            identity: None,
            names: vec!["localhost".into()],
        });
        // SHA-256 of 'a-token-of-thirty-two-characters'.
        let digest = ring::digest::digest(&ring::digest::SHA256, TOKEN.as_bytes());
        let hex: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        std::fs::write(&settings.tokens_file, format!("ci read {hex}\n")).unwrap();
        private(&settings.tokens_file);
        std::fs::write(folder.path().join("token"), TOKEN).unwrap();
        private(&folder.path().join("token"));
        let (end, ended) = oneshot::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let handle = runtime.handle().clone();
            runtime.block_on(async move {
                let provisioner = Provisioner::open(settings).await.unwrap();
                let port = provisioner.tls_address().unwrap().port();
                tell.send((provisioner.feed(), handle, port)).unwrap();
                provisioner.serve(async { drop(ended.await) }).await.unwrap();
            });
        });
        let (feed, runtime, tls_port) = told.recv().unwrap();
        Self { folder, feed, runtime, tls_port, end: Some(end), thread: Some(thread) }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("provisioner.sock")
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = command(self.folder.path());
        finish(command.env("MEZAME_SERVER", self.socket()).args(arguments))
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["-o", "json"]].concat());
        assert_eq!(ran.code, 0, "{ran}");
        serde_json::from_str(&ran.out).unwrap()
    }

    /// Asks for something that no command asks for alone; the answer as it comes.
    fn post(&self, path: &str, body: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
        let form = format!("Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(format!("{head}{form}{body}").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// What a guest of the example did.
    fn happen(&self, key: u128, kind: GuestEventKind) {
        let (port, instance) = self.example_ids();
        let event = GuestEvent { port, instance, at_ms: 1_795_435_200_000, key, kind };
        let feed = Arc::clone(&self.feed);
        let (tell, told) = std::sync::mpsc::channel();
        self.runtime.spawn(async move { tell.send(feed.deliver(event).await) });
        told.recv().unwrap().unwrap();
    }

    fn example_ids(&self) -> (PortId, InstanceId) {
        let port = self.json(&["get", "port", "web-0", "-p", "tenant-a"]);
        let instance = self.json(&["get", "instance", "web", "-p", "tenant-a"]);
        let id = |resource: &Value| resource["status"]["id"].as_str().unwrap().to_owned();
        (PortId::parse(&id(&port)).unwrap(), InstanceId::parse(&id(&instance)).unwrap())
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

const TOKEN: &str = "a-token-of-thirty-two-characters";

fn private(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

fn example_seed() -> String {
    Kind::ALL.map(|kind| format!("---\n{}", examples::of(kind))).concat()
}

#[test]
fn the_examples_can_be_applied_and_what_is_shown_can_be_applied_again() {
    let real = Real::start();
    real.write("seed.yaml", &example_seed());
    let dry = real.run(&["apply", "-f", "seed.yaml", "--dry-run", "--exit-code"]);
    assert_eq!(dry.code, 8, "{dry}");
    let ran = real.run(&["apply", "-f", "seed.yaml"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.err.starts_with("4 created, 0 updated, 0 unchanged"), "{ran}");
    let mut shown = real.run(&["get", "projects", "-o", "seed"]).out;
    for kind in ["networks", "ports", "instances"] {
        shown += &real.run(&["get", kind, "-p", "tenant-a", "-o", "seed"]).out;
    }
    real.write("again.yaml", &shown);
    let ran = real.run(&["apply", "-f", "again.yaml"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert!(ran.err.starts_with("0 created, 0 updated, 4 unchanged"), "{ran}");
    let ran = real.run(&["get", "instances", "-A"]);
    assert_eq!(ran.code, 0, "{ran}");
    let row = ran.out.lines().nth(1).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(row, ["tenant-a", "web", "web", "waiting", "192.168.0.10", "web-0"]);
    let ran = real.run(&["delete", "-f", "seed.yaml"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(real.run(&["get", "projects", "-o", "name"]).out, "");
}

#[test]
fn the_explained_fields_are_those_that_the_control_plane_takes() {
    let real = Real::start();
    let mut stream = UnixStream::connect(real.socket()).unwrap();
    stream
        .write_all(b"GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let openapi: Value = serde_json::from_str(body).unwrap();
    for kind in Kind::ALL {
        let schema = &openapi["components"]["schemas"][kind.as_str()];
        assert!(schema["properties"].is_object(), "{kind:?}: {answer}");
        let taken: BTreeSet<&str> = schema["properties"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .filter(|name| *name != "kind")
            .collect();
        // What is read from a file is this command's own.
        let explained: BTreeSet<&str> = fields::of(kind)
            .iter()
            .map(|field| field.path)
            .filter(|path| !path.contains('.') && !path.ends_with("_file"))
            .collect();
        assert_eq!(explained, taken, "{kind:?}");
    }
}

#[test]
fn a_seed_of_faults_is_answered_by_all_of_them_at_their_lines() {
    let real = Real::start();
    real.write(
        "bad.yaml",
        "kind: Network\nname: Lan\nvni: 0\nmtu: 99\nsubnets:\n  - cidr: 10.0.0.1/24\n    \
         gatway: 10.0.0.1\n---\nkind: Instance\nname: web\nports: [nope]\nusers:\n  - name: bob\n    \
         password:\n      hash: hunter2\ntags:\n  \"a b\": x\n",
    );
    let ran = real.run(&["apply", "-p", "demo", "-f", "bad.yaml", "-o", "json"]);
    assert_eq!(ran.code, 3, "{ran}");
    let faults: Value = serde_json::from_str(&ran.out).unwrap();
    let at: BTreeSet<(u64, u64)> = faults["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| (fault["line"].as_u64().unwrap(), fault["column"].as_u64().unwrap()))
        .collect();
    for wanted in [(2, 7), (3, 6), (4, 6), (6, 11), (7, 5), (15, 13), (17, 10)] {
        assert!(at.contains(&wanted), "{wanted:?} in {at:?}\n{ran}");
    }
    let ran = real.run(&["apply", "-p", "demo", "-f", "bad.yaml"]);
    assert!(!ran.err.contains("hunter2"), "{ran}");
}

#[test]
fn what_a_guest_reports_is_waited_for_watched_and_described() {
    let real = Real::start();
    real.write("seed.yaml", &example_seed());
    assert_eq!(real.run(&["apply", "-f", "seed.yaml"]).code, 0);
    let ran = real.run(&["wait", "web", "-p", "tenant-a", "--timeout", "50ms"]);
    assert_eq!(ran.code, 9, "{ran}");
    let (_, instance_id) = real.example_ids();
    let step = StepReport {
        step: "hostname".into(),
        outcome: Outcome::Done,
        reason: String::new(),
        detail: String::new(),
        milliseconds: 2,
    };
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG1lemFtZS1leGFtcGxlLWtleS0wMDAwMDAwMDAwMDEw x";
    real.happen(
        1,
        GuestEventKind::Report(Report {
            instance_id,
            agent: "0.1.0".into(),
            boot_id: "boot-1".into(),
            run: 1,
            outcome: Outcome::Done,
            steps: vec![step],
            configured_ms: Some(42),
            total_ms: 50,
            host_keys: vec![HostKey { public_key: key.into() }],
        }),
    );
    let ran = real.run(&["wait", "web", "-p", "tenant-a"]);
    assert_eq!((ran.code, ran.err.as_str()), (0, "instance tenant-a/web is configured in 42 ms\n"));
    let ran = real.run(&["describe", "instance", "web", "-p", "tenant-a"]);
    for text in ["state: configured", "run 1 of boot boot-1", "SHA256:IWrMfq4LNHFYYSVAIx7KpW"] {
        assert!(ran.out.contains(text), "{text}\n{ran}");
    }
    assert_eq!(real.json(&["reports", "web", "-p", "tenant-a"])[0]["report"]["run"], 1);
    real.happen(
        2,
        GuestEventKind::Password(SealedPassword {
            user: UserName::parse("alice").unwrap(),
            recipient: key.into(),
            sealed: "-----BEGIN AGE ENCRYPTED FILE-----\n-----END AGE ENCRYPTED FILE-----\n".into(),
            reset: None,
            nova: None,
        }),
    );
    assert_eq!(real.run(&["wait", "web", "-p", "tenant-a", "--for", "password"]).code, 0);
    let mut watch = command(real.folder.path());
    watch.env("MEZAME_SERVER", real.socket()).args(["watch", "--after", "0", "-o", "json"]);
    let mut watch = watch.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(watch.stdout.take().unwrap()));
    let mut seen = BTreeSet::new();
    for line in lines {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        seen.insert(event["what"].as_str().unwrap().to_owned());
        if event["what"] == "password" {
            break;
        }
    }
    watch.kill().unwrap();
    watch.wait().unwrap();
    assert_eq!(seen, BTreeSet::from(["created", "reported", "password"].map(String::from)));
}

#[test]
fn another_password_is_asked_for_waited_for_and_told_from_the_one_before() {
    let real = Real::start();
    real.write("seed.yaml", &example_seed());
    assert_eq!(real.run(&["apply", "-f", "seed.yaml"]).code, 0);
    let sealed = |reset| {
        GuestEventKind::Password(SealedPassword {
            user: UserName::parse("alice").unwrap(),
            recipient: "ssh-ed25519 AAAA".into(),
            sealed: "-----BEGIN AGE ENCRYPTED FILE-----\n-----END AGE ENCRYPTED FILE-----\n".into(),
            reset,
            nova: None,
        })
    };
    let ask = ["reset", "password", "web", "-p", "tenant-a"];
    let instance = real.json(&["get", "instance", "web", "-p", "tenant-a"])["spec"].clone();
    assert_eq!(instance["users"][0]["password"], serde_json::json!({"generate": true}));
    let mut without = instance.clone();
    without["users"][0]["password"] = serde_json::Value::Null;
    for (file, document) in [("without.json", &without), ("with.json", &instance)] {
        real.write(file, &document.to_string());
    }
    assert_eq!(real.run(&["apply", "-f", "without.json"]).code, 0);
    let ran = real.run(&ask);
    assert_eq!(ran.code, 2, "{ran}");
    assert!(ran.err.contains("makes no password"), "{ran}");
    assert_eq!(real.run(&["apply", "-f", "with.json"]).code, 0);
    real.happen(1, sealed(None));
    let wait = |time: &str| {
        real.run(&["wait", "web", "-p", "tenant-a", "--for", "password", "--timeout", time]).code
    };
    assert_eq!(wait("30s"), 0);
    let ran = real.run(&ask);
    assert!(ran.code == 0 && ran.err.contains("makes another password of alice"), "{ran}");
    let asked = real.json(&["reset", "password", "web", "-p", "tenant-a", "--user", "alice"]);
    assert_eq!(asked["state"], "pending");
    assert_eq!(wait("500ms"), 9);
    let ran = real.run(&["get", "password", "web", "-p", "tenant-a", "-i", "none"]);
    assert!(ran.err.contains("alice's password is the one before"), "{ran}");
    real.happen(2, sealed(asked["asked_ms"].as_u64()));
    assert_eq!(wait("30s"), 0);
    let ran = real.run(&["describe", "instance", "web", "-p", "tenant-a"]);
    assert!(ran.out.contains("password_resets") && ran.out.contains("state: done"), "{ran}");
    let ran = real.run(&["reset", "password", "web", "-p", "tenant-a", "--user", "bob"]);
    assert_eq!(ran.code, 4, "{ran}");
}

#[test]
fn ports_keys_certificate_and_concurrent_changes_work_as_the_table_says() {
    let real = Real::start();
    real.write("seed.yaml", &example_seed());
    assert_eq!(real.run(&["apply", "-f", "seed.yaml"]).code, 0);
    let port = ["get", "port", "web-0", "-p", "tenant-a"];
    let before = real.json(&port);
    let ran = real.run(&["port", "attach", "web-0", "vnet7", "-p", "tenant-a"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(real.json(&port)["spec"]["device"], "vnet7");
    let revision = before["revision"].to_string();
    let delete = ["delete", "port", "web-0", "-p", "tenant-a", "--if-revision", &revision];
    let ran = real.run(&delete);
    assert_eq!(ran.code, 5, "{ran}");
    let ran = real.run(&["delete", "port", "web-0", "-p", "tenant-a"]);
    assert_eq!(ran.code, 5, "{ran}");
    assert!(ran.err.contains("web"), "{ran}");
    assert_eq!(real.run(&["port", "detach", "web-0", "-p", "tenant-a"]).code, 0);
    assert_eq!(real.json(&port)["spec"]["device"], before["spec"]["device"]);
    assert_eq!(real.run(&["keys", "rotate", "sealing"]).code, 0);
    assert_eq!(real.run(&["keys", "rotate", "tokens"]).code, 0);
    assert!(real.run(&["certificate"]).out.starts_with("-----BEGIN CERTIFICATE-----\n"));
    let ran = real.run(&["version"]);
    assert!(ran.code == 0 && ran.out.contains("provisioner 0."), "{ran}");
    assert!(real.json(&["get", "projects"])["generation"].as_u64() > Some(Generation::ZERO.0));
}

#[test]
fn a_reader_over_tls_may_look_and_not_change() {
    let real = Real::start();
    real.write("seed.yaml", &example_seed());
    let server = format!("https://localhost:{}", real.tls_port);
    let ca_file = std::fs::read_dir(real.folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains("BEGIN CERT")))
        .expect("the control plane made a certificate");
    let over_tls = |token: bool, arguments: &[&str]| {
        let mut command = command(real.folder.path());
        command.args(["--server", &server, "--ca-file"]).arg(&ca_file);
        if token {
            command.args(["--token-file", "token"]);
        }
        finish(command.args(arguments))
    };
    assert_eq!(over_tls(false, &["get", "projects"]).code, 7);
    let ran = over_tls(true, &["get", "projects"]);
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(over_tls(true, &["whoami"]).out, "ci, who may read\n");
    let ran = over_tls(true, &["apply", "-f", "seed.yaml"]);
    assert_eq!(ran.code, 7, "{ran}");
    // Nor what is secret in a guest.
    let disk = ["disk", "web", "-p", "tenant-a", "--format", "cidata", "--to", "seed.img"];
    let ran = over_tls(true, &disk);
    assert_eq!(ran.code, 7, "{ran}");
    assert!(!real.folder.path().join("seed.img").exists());
}
