//! Backups of a guest that is frozen for them, with a QEMU that has nothing to boot, and a socket that
//! answers as a metadata-server does whose guest has our agent, or none.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
};

use super::*;

const FROZEN: &str = r#"{"done":{"frozen":{"file_systems":["/"],"skipped":["/efi: FAT"]}}}"#;
const THAWED: &str = r#"{"done":{"thawed":{"was_frozen":true}}}"#;
const NOT_YET: &str = r#"{"done":{"failed":{"reason":"not yet"}}}"#;
const NO_AGENT: &str = r#"{"no":"no-agent"}"#;

/// A metadata-server's freeze socket.
#[derive(Clone)]
struct Server {
    /// All that was asked.
    asked: Arc<Mutex<Vec<Value>>>,
    has_agent: Arc<AtomicBool>,
    /// How many thaws fail.
    stubborn: Arc<AtomicUsize>,
}

impl Server {
    fn listen(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let has_agent = Arc::new(true.into());
        let server = Self { asked: Arc::default(), has_agent, stubborn: Arc::default() };
        let serving = server.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let serving = serving.clone();
                std::thread::spawn(move || serving.serve(stream.unwrap()));
            }
        });
        server
    }

    fn serve(&self, stream: UnixStream) {
        let mut write = stream.try_clone().unwrap();
        for line in BufReader::new(stream).lines() {
            let asked: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let is_thaw = asked["wanted"] == "thaw";
            let less = |left: usize| left.checked_sub(1).filter(|_| is_thaw);
            let is_stubborn = self.stubborn.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
            let answer = match self.has_agent.load(Ordering::SeqCst) {
                false => NO_AGENT,
                true if is_stubborn.is_ok() => NOT_YET,
                true if is_thaw => THAWED,
                true => FROZEN,
            };
            self.asked.lock().unwrap().push(asked);
            writeln!(write, "{answer}").unwrap();
        }
    }

    fn asked(&self) -> Vec<Value> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

impl Site {
    /// One with the instance `web`, whose guest runs on the volume `web`.
    async fn with_guest() -> (Self, Server, Machine, String) {
        let site = Self::open().await;
        site.plane().apply(seed()).await;
        let server = Server::listen(&site.path("freeze.sock"));
        site.made(json!({ "id": "web", "size": 2 << 20 })).await;
        let start = site.start("web").await;
        let machine = Machine::start(&site.path(""), "web", &[&start]);
        let shown = site.plane().get("/v1/projects/p/instances/web").await.json();
        let id = shown["status"]["id"].as_str().unwrap_or_else(|| panic!("{shown}")).to_owned();
        (site, server, machine, id)
    }

    async fn backed_up(&self, machine: &Machine, freeze: Value) -> Value {
        let mut order = json!({ "volumes": ["web"], "qmp": machine.socket });
        if !freeze.is_null() {
            order["freeze"] = freeze;
        }
        self.done("backups", order).await
    }

    /// The newest backup.
    async fn newest(&self) -> Value {
        self.plane().get("/v1/projects/p/backups").await.json()[0].clone()
    }

    /// Notes a backup for which this instance was to be frozen, as one that is at work does.
    fn leave_note(&self, machine: &Machine, instance: &str) {
        let (agent, qmp) = (json!({ "instance": instance }), &machine.socket);
        let note = json!({ "what": "backup", "volumes": ["web"], "qmp": qmp, "agent": agent });
        std::fs::write(self.path("run/backup-web.left"), note.to_string()).unwrap();
    }

    fn notes(&self) -> usize {
        let entries = std::fs::read_dir(self.path("run")).unwrap().map(|it| it.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|it| it == "left")).count()
    }
}

impl Machine {
    /// Marks its guest as frozen by a backup, as a process that was killed has left it.
    fn freeze(&mut self) {
        let mark = json!({ "driver": "null-co", "node-name": "backup_frozen", "size": 0 });
        self.tell("blockdev-add", mark);
    }

    fn is_frozen(&mut self) -> bool {
        let nodes = self.tell("query-named-block-nodes", json!({}));
        nodes.as_array().unwrap().iter().any(|node| node["node-name"] == "backup_frozen")
    }
}

#[tokio::test]
async fn a_backup_asks_the_instances_agent_and_says_what_came_of_it() {
    let (site, server, machine, id) = Site::with_guest().await;
    let freeze = json!({ "instance": "web", "within_ms": 4000 });
    let job = site.backed_up(&machine, freeze.clone()).await;
    assert_eq!(job["state"], "done", "{job}");
    assert!(job["figures"]["frozen-us"].as_u64().unwrap() > 0, "{job}");
    let wanted = json!({ "instance": id, "wanted": { "freeze": { "bound_ms": 4000 } } });
    assert_eq!(server.asked(), [wanted, json!({ "instance": id, "wanted": "thaw" })]);
    let made = site.newest().await;
    let told = (&made["consistency"], &made["left_out"], &made["why_crash"]);
    assert_eq!(told, (&json!("application"), &json!("/efi: FAT"), &Value::Null));

    // Where there is no agent it is told, and is no failure unless it is to be.
    server.has_agent.store(false, Ordering::SeqCst);
    let job = site.backed_up(&machine, freeze).await;
    assert_eq!(job["state"], "done", "{job}");
    let made = site.newest().await;
    assert_eq!(made["why_crash"], "no agent in the guest asks for orders", "{made}");
    assert_eq!((&made["consistency"], &made["left_out"]), (&json!("crash"), &Value::Null));
    let required = json!({ "instance": "web", "required": true });
    let job = site.backed_up(&machine, required.clone()).await;
    assert_eq!((&job["state"], &job["backups"]), (&json!("failed"), &Value::Null), "{job}");
    assert_eq!(job["faults"][0]["path"], "freeze");
    assert!(job["faults"][0]["message"].as_str().unwrap().contains("asks for orders"), "{job}");
    assert_eq!(site.newest().await, made);
    let capture = json!({ "name": "now", "qmp": machine.socket, "freeze": required });
    let job = site.done("volumes/web/capture", capture.clone()).await;
    assert_eq!((&job["state"], &job["image"]), (&json!("failed"), &Value::Null), "{job}");
    assert_eq!(job["faults"][0]["path"], "freeze");
    // What was given up has taken nothing from the next one.
    let job = site.backed_up(&machine, Value::Null).await;
    assert_eq!(job["state"], "done", "{job}");
    let made = site.newest().await;
    assert_eq!(made["read"], "incremental");
    assert_eq!(made["why_crash"], "nobody was asked to freeze the guest");
    server.has_agent.store(true, Ordering::SeqCst);
    let job = site.done("volumes/web/capture", capture).await;
    let path = format!("/v1/projects/p/images/{}", job["image"].as_str().unwrap());
    let labels = site.plane().get(&path).await.json()["labels"].clone();
    assert_eq!(labels["capture.state"], "application", "{labels}");
    assert_eq!(labels["capture.left-out"], "/efi: FAT");
    assert_eq!(site.notes(), 0);
}

#[tokio::test]
async fn a_guest_that_a_killed_process_has_left_frozen_is_thawed_by_the_agent_of_its_note() {
    let (site, server, mut machine, id) = Site::with_guest().await;
    // A backup that comes before it is settled, and asks nobody itself, has no guest stay frozen.
    site.leave_note(&machine, &id);
    machine.freeze();
    let job = site.backed_up(&machine, Value::Null).await;
    assert_eq!(job["state"], "done", "{job}");
    let thaw = json!({ "instance": id, "wanted": "thaw" });
    assert_eq!(server.asked(), std::slice::from_ref(&thaw));
    assert!(!machine.is_frozen());
    assert_eq!(site.notes(), 0);

    site.leave_note(&machine, &id);
    machine.freeze();
    let site = site.again().await;
    let begin = Instant::now();
    while site.notes() > 0 {
        assert!(begin.elapsed() < BOUND, "what was left is not ended");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.asked(), [thaw]);
    assert!(!machine.is_frozen());
}

#[tokio::test]
async fn a_guest_that_does_not_thaw_is_asked_again_by_the_same_process() {
    let (site, server, mut machine, id) = Site::with_guest().await;
    // As often as a point in time tries, and once more.
    server.stubborn.store(7, Ordering::SeqCst);
    let job = site.backed_up(&machine, json!({ "instance": "web" })).await;
    assert_eq!((&job["state"], &job["backups"]), (&json!("failed"), &Value::Null), "{job}");
    assert!(job["faults"][0]["message"].as_str().unwrap().contains("FROZEN"), "{job}");
    assert!(!machine.is_frozen());
    assert_eq!(server.asked().last(), Some(&json!({ "instance": id, "wanted": "thaw" })));
    assert_eq!((server.stubborn.load(Ordering::SeqCst), site.notes()), (0, 0));
    let job = site.backed_up(&machine, Value::Null).await;
    assert_eq!(job["state"], "done", "{job}");
}

#[tokio::test]
async fn a_socket_of_qemus_agent_that_is_another_guests_is_not_used() {
    let (site, _, mut machine, _) = Site::with_guest().await;
    // Whoever listens there is asked nothing.
    let other = site.path("other.qga");
    let listener = UnixListener::bind(&other).unwrap();
    listener.set_nonblocking(true).unwrap();
    let job = site.backed_up(&machine, json!({ "guest_agent": other })).await;
    assert_eq!((&job["state"], &job["faults"][0]["path"]), (&json!("failed"), &json!("freeze")));
    assert!(job["faults"][0]["message"].as_str().unwrap().contains("has no serial port"), "{job}");
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
    assert_eq!(site.notes(), 0);
    // By another name, too, one of this QEMU's is.
    let own = site.path("web.qga");
    let address = json!({ "type": "unix", "data": { "path": own } });
    let data = json!({ "addr": address, "server": true, "wait": false });
    let backend = json!({ "type": "socket", "data": data });
    machine.tell("chardev-add", json!({ "id": "qga", "backend": backend }));
    let alias = site.path("alias.qga");
    std::os::unix::fs::symlink(&own, &alias).unwrap();
    let job = site.backed_up(&machine, json!({ "guest_agent": alias })).await;
    assert_eq!(job["state"], "done", "{job}");
    // Nobody listens in a guest that is none.
    let why = site.newest().await["why_crash"].as_str().unwrap().to_owned();
    assert!(why.contains("no qemu-ga answers"), "{why}");
}
