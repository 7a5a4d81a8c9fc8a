//! Orders to freeze: from a program of the host by the freeze socket to the guest that waits for
//! them, and back. See `freezer.rs` and `orders.rs`.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use mezame_model::freeze::{
    Answer, Asking, Done, Order, OrderId, Standing, Told, Unanswered, Wanted,
};

use tokio::sync::oneshot;

use super::arena::{Arena, Client, until};
use crate::{fixture, freezer::FreezeServer, sandbox};

const FREEZE: Wanted = Wanted::Freeze { bound_ms: 20_000 };

/// The freeze socket; it ends with this.
struct Desk {
    directory: tempfile::TempDir,
    _server: FreezeServer,
    end: Option<oneshot::Sender<()>>,
    at_work: Option<JoinHandle<()>>,
}

impl Drop for Desk {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(at_work) = self.at_work.take() {
            at_work.join().unwrap();
        }
    }
}

impl Desk {
    fn open(arena: &Arena) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let opened = {
            let _entered = runtime.enter();
            FreezeServer::open(&arena.serving, &path(directory.path()))
        };
        let (end, ended) = oneshot::channel();
        let at_work = thread::spawn(move || {
            let _ = runtime.block_on(ended);
        });
        let (end, at_work) = (Some(end), Some(at_work));
        Self { directory, _server: opened.unwrap(), end, at_work }
    }

    fn connect(&self) -> BufReader<UnixStream> {
        let stream = UnixStream::connect(path(self.directory.path())).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        BufReader::new(stream)
    }
}

fn path(directory: &Path) -> std::path::PathBuf {
    directory.join("freeze.sock")
}

fn ask(by: &mut BufReader<UnixStream>, number: usize, wanted: Wanted) -> Told {
    let asking = Asking { instance: fixture::instance_id(number), wanted };
    let line = serde_json::to_string(&asking).unwrap();
    writeln!(by.get_mut(), "{line}").unwrap();
    told(by)
}

fn told(by: &mut BufReader<UnixStream>) -> Told {
    let mut line = String::new();
    by.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

/// The agent of a guest.
struct Agent {
    client: Client,
    token: String,
    tag: String,
}

impl Agent {
    fn of(arena: &Arena, number: u32) -> Self {
        let mut client = arena.connect(number).unwrap();
        let ttl = "X-aws-ec2-metadata-token-ttl-seconds: 600\r\n";
        let token = client.ask("PUT", "/latest/api/token", ttl).body;
        Self { client, token, tag: "NONE".into() }
    }

    /// The next order that stands.
    fn next(&mut self) -> Order {
        loop {
            let path = format!("/mezame/v1/freeze?watch={}&timeout=60", self.tag);
            let token = format!("X-aws-ec2-metadata-token: {}\r\n", self.token);
            let reply = self.client.ask("GET", &path, &token);
            assert_eq!(reply.status, 200, "{}", reply.body);
            self.tag = reply.header("etag").unwrap().replace('"', "");
            if let Some(order) = serde_json::from_str::<Standing>(&reply.body).unwrap().order {
                return order;
            }
        }
    }

    fn answer(&mut self, id: OrderId, done: Done) -> u16 {
        let body = serde_json::to_string(&Answer { id, done }).unwrap();
        self.client.send(&format!(
            "POST /mezame/v1/freeze HTTP/1.1\r\nHost: 169.254.169.254\r\n\
             X-aws-ec2-metadata-token: {}\r\nContent-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        ));
        self.client.reply().unwrap().status
    }
}

fn frozen() -> Done {
    Done::Frozen { file_systems: vec!["/".into()], skipped: Vec::new() }
}

const THAWED: Done = Done::Thawed { was_frozen: true };

#[test]
fn an_order_reaches_a_waiting_agent_at_once_and_its_answer_whoever_asked() {
    sandbox::enter();
    let arena = Arena::new();
    let attachment = arena.serve(1);
    let desk = Desk::open(&arena);
    std::thread::scope(|scope| {
        let orders = scope.spawn(|| {
            let mut agent = Agent::of(&arena, 1);
            let freeze = agent.next();
            let got = Instant::now();
            assert_eq!(agent.answer(freeze.id, frozen()), 204);
            assert_eq!(agent.answer(freeze.id, frozen()), 409, "it was answered");
            let thaw = agent.next();
            assert_eq!(agent.answer(OrderId(1), THAWED), 409, "no such order stands");
            assert_eq!(agent.answer(thaw.id, THAWED), 204);
            (freeze, thaw, got)
        });
        until("the agent waits", || attachment.watches.now() == 1);
        let (mut by, begin) = (desk.connect(), Instant::now());
        assert_eq!(ask(&mut by, 1, FREEZE), Told::Done(frozen()));
        assert_eq!(ask(&mut by, 1, Wanted::Thaw), Told::Done(THAWED));
        let (freeze, thaw, got) = orders.join().unwrap();
        assert_eq!((freeze.wanted, thaw.wanted), (FREEZE, Wanted::Thaw));
        assert!(got - begin < Duration::from_secs(2), "{:?}", got - begin);
    });
}

#[test]
fn who_goes_away_before_the_thaw_has_the_guest_thawed_all_the_same() {
    sandbox::enter();
    let arena = Arena::new();
    let attachment = arena.serve(1);
    let desk = Desk::open(&arena);
    std::thread::scope(|scope| {
        let last = scope.spawn(|| {
            let mut agent = Agent::of(&arena, 1);
            let freeze = agent.next();
            agent.answer(freeze.id, frozen());
            agent.next().wanted
        });
        until("the agent waits", || attachment.watches.now() == 1);
        let (mut by, mut other) = (desk.connect(), desk.connect());
        assert_eq!(ask(&mut by, 1, FREEZE), Told::Done(frozen()));
        assert_eq!(ask(&mut other, 1, FREEZE), Told::No(Unanswered::Busy));
        assert_eq!(ask(&mut by, 1, FREEZE), Told::No(Unanswered::Busy), "it is frozen");
        drop(by);
        assert_eq!(last.join().unwrap(), Wanted::Thaw);
    });
}

#[test]
fn without_an_agent_that_waits_who_asks_is_told_so_within_seconds() {
    sandbox::enter();
    let arena = Arena::new();
    arena.serve(1);
    let desk = Desk::open(&arena);
    let (mut by, begin) = (desk.connect(), Instant::now());
    assert_eq!(ask(&mut by, 1, FREEZE), Told::No(Unanswered::NoAgent));
    assert!(begin.elapsed() < Duration::from_secs(15));
    assert_eq!(ask(&mut by, 2, FREEZE), Told::No(Unanswered::NoSuchInstance));
    for wanted in [Wanted::Freeze { bound_ms: 0 }, Wanted::Freeze { bound_ms: u32::MAX }] {
        assert_eq!(ask(&mut by, 1, wanted), Told::No(Unanswered::Malformed));
    }
    // Nothing of it stands any more.
    let mut agent = Agent::of(&arena, 1);
    let path = "/mezame/v1/freeze";
    let token = format!("X-aws-ec2-metadata-token: {}\r\n", agent.token);
    assert_eq!(agent.client.ask("GET", path, &token).body, r#"{"order":null}"#);
}

#[test]
fn a_guest_answers_for_itself_alone() {
    sandbox::enter();
    let arena = Arena::new();
    let attachment = arena.serve(1);
    arena.serve(2);
    let desk = Desk::open(&arena);
    std::thread::scope(|scope| {
        let order = scope.spawn(|| {
            let mut agent = Agent::of(&arena, 1);
            let order = agent.next();
            // Another guest that has learned the number somehow.
            assert_eq!(Agent::of(&arena, 2).answer(order.id, frozen()), 409);
            let reason = "a hook failed".to_owned();
            agent.answer(order.id, Done::Failed { reason })
        });
        until("the agent waits", || attachment.watches.now() == 1);
        let mut by = desk.connect();
        let told = ask(&mut by, 1, FREEZE);
        assert!(matches!(told, Told::Done(Done::Failed { .. })), "{told:?}");
        assert_eq!(order.join().unwrap(), 204);
    });
}

#[test]
fn an_agent_that_takes_an_order_and_says_nothing_is_late() {
    sandbox::enter();
    let arena = Arena::new();
    let attachment = arena.serve(1);
    let desk = Desk::open(&arena);
    std::thread::scope(|scope| {
        let silent = scope.spawn(|| Agent::of(&arena, 1).next());
        until("the agent waits", || attachment.watches.now() == 1);
        let mut by = desk.connect();
        let wanted = Wanted::Freeze { bound_ms: 1000 };
        assert_eq!(ask(&mut by, 1, wanted), Told::No(Unanswered::Late));
        silent.join().unwrap();
    });
}

#[test]
fn what_is_no_question_is_said_to_be_none_and_what_has_no_end_is_cut() {
    sandbox::enter();
    let arena = Arena::new();
    let desk = Desk::open(&arena);
    let mut by = desk.connect();
    for line in ["", "{}", "no JSON", r#"{"instance":"../..","wanted":"thaw"}"#] {
        writeln!(by.get_mut(), "{line}").unwrap();
        assert_eq!(told(&mut by), Told::No(Unanswered::Malformed), "{line}");
    }
    // It may be cut while it is written.
    let _ = by.get_mut().write_all(&[b'x'; 64 << 10]);
    let mut line = String::new();
    assert!(!matches!(by.read_line(&mut line), Ok(1..)), "{line}");
}
