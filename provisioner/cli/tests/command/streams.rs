//! `watch` and `wait`: events, lost connections, time.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdout, Stdio},
};

use mezame_model::{
    Generation, InstanceId,
    api::{Event, Kind, StoredReport},
    report::{Outcome, Report, StepReport},
};
use serde_json::json;

use crate::{command, fake::Fake, run};

fn event(generation: u64, name: &str, what: &str) -> Event {
    Event {
        generation: Generation(generation),
        at_ms: 1_795_435_200_000,
        project: "demo".into(),
        kind: Kind::Instance,
        name: name.into(),
        what: what.into(),
        detail: "by \u{1b}[1mguest".into(),
    }
}

/// A command that runs while the test goes on. Ended when dropped.
struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    fn start(fake: &Fake, arguments: &[&str]) -> Self {
        let mut child = command(fake.path())
            .env("MEZAME_SERVER", fake.socket())
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        line
    }

    fn end(mut self) -> (i32, String) {
        let mut err = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (self.child.wait().unwrap().code().unwrap(), err)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn events_are_shown_as_they_happen_and_after_a_lost_connection() {
    let fake = Fake::start();
    fake.contents().history = vec![event(4, "old", "created"), event(5, "web", "created")];
    let mut watch = Running::start(&fake, &["watch", "--after", "4"]);
    assert_eq!(
        watch.line(),
        "2026-11-23T12:00:00Z       5  created              instance  demo/web  by \\u{1b}[1mguest\n"
    );
    fake.happen(event(6, "web", "reported"));
    assert!(watch.line().contains("     6  reported"));
    // What happens while the connection is lost is told after it was made anew, also what is of
    // the generation that was seen last, and nothing twice.
    let missed = [event(6, "web", "reported"), event(6, "web", "password"), event(7, "web", "x")];
    fake.contents().history.extend(missed);
    fake.cut_streams();
    assert!(watch.line().contains("     6  password"));
    assert!(watch.line().contains("     7  x"));
    let asked = fake.contents().asked.clone();
    assert_eq!(asked, ["GET /v1/events?after=4", "GET /v1/events?after=5"]);
}

#[test]
fn events_of_other_projects_are_left_out_and_programs_get_one_object_a_line() {
    let fake = Fake::start();
    let mut other = event(1, "x", "created");
    other.project = "other".into();
    fake.contents().history = vec![other, event(2, "web", "created")];
    let mut watch =
        Running::start(&fake, &["watch", "--after", "0", "-p", "demo", "-o", "json", "--once"]);
    let seen: Event = serde_json::from_str(&watch.line()).unwrap();
    assert_eq!(seen, event(2, "web", "created"));
    fake.cut_streams();
    assert_eq!(watch.line(), "");
    assert_eq!(watch.end_code(), 0);
}

impl Running {
    fn end_code(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap()
    }
}

fn with_an_instance() -> Fake {
    let fake = Fake::start();
    fake.put(Kind::Project, json!({"name": "demo"}), json!({}));
    fake.put(
        Kind::Instance,
        json!({"project": "demo", "name": "web"}),
        json!({"id": "i-0123456789abcdef0"}),
    );
    fake
}

fn report(id: &str, outcome: Outcome) -> StoredReport {
    StoredReport {
        at_ms: 0,
        report: Report {
            instance_id: InstanceId::parse(id).unwrap(),
            agent: "0.1.0".into(),
            boot_id: "b".into(),
            run: 1,
            outcome,
            steps: vec![StepReport {
                step: "script".into(),
                outcome,
                reason: "script-exit".into(),
                detail: "exit 3".into(),
                milliseconds: 1,
            }],
            configured_ms: Some(99),
            total_ms: 100,
            host_keys: Vec::new(),
        },
    }
}

#[test]
fn a_wait_ends_when_the_guest_reports_and_not_by_a_report_of_its_predecessor() {
    let fake = with_an_instance();
    fake.contents().reports = vec![report("i-fffffffffffffffff", Outcome::Done)];
    let wait = Running::start(&fake, &["wait", "web", "-p", "demo", "--timeout", "60s"]);
    fake.happen(event(3, "other", "reported"));
    fake.contents().reports.insert(0, report("i-0123456789abcdef0", Outcome::Done));
    fake.happen(event(4, "web", "reported"));
    assert_eq!(wait.end(), (0, "instance demo/web is configured in 99 ms\n".into()));
}

#[test]
fn a_wait_fails_when_the_guest_does_and_when_the_time_runs_out() {
    let fake = with_an_instance();
    let ran = run(&fake, &["wait", "web", "-p", "demo", "--timeout", "50ms"]);
    assert_eq!(ran.code, 9);
    assert!(ran.err.contains("was not configured within 0.05 s"), "{ran}");
    fake.contents().reports = vec![report("i-0123456789abcdef0", Outcome::Failed)];
    let ran = run(&fake, &["wait", "web", "-p", "demo"]);
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("script-exit"), "{ran}");
    let ran = run(&fake, &["wait", "nope", "-p", "demo"]);
    assert_eq!(ran.code, 4, "{ran}");
    let ran = run(&fake, &["wait", "nope", "-p", "demo", "--for", "deleted"]);
    assert_eq!(ran.code, 0, "{ran}");
}

#[test]
fn reports_are_followed_from_the_oldest_on_and_each_is_shown_once() {
    let fake = with_an_instance();
    let at = |ms: u64| {
        let mut stored = report("i-0123456789abcdef0", Outcome::Done);
        stored.at_ms += ms;
        stored
    };
    fake.contents().reports = vec![at(1), at(0)];
    let mut follow = Running::start(&fake, &["reports", "web", "-p", "demo", "-f", "-o", "json"]);
    let mut next = || serde_json::from_str::<StoredReport>(&follow.line()).unwrap();
    assert_eq!([next(), next()], [at(0), at(1)]);
    // Of another instance's, and of its own without a new one, nothing is told.
    fake.happen(event(3, "other", "reported"));
    fake.happen(event(4, "web", "updated"));
    fake.contents().reports.insert(0, at(2));
    fake.happen(event(5, "web", "reported"));
    assert_eq!(next(), at(2));
    // What came while the connection was lost is told when it was made anew.
    fake.contents().reports.insert(0, at(3));
    fake.cut_streams();
    assert_eq!(next(), at(3));
    let mut people = Running::start(&fake, &["reports", "web", "-p", "demo", "--follow"]);
    assert!(people.line().contains("  done       run "), "a line for people");
}
