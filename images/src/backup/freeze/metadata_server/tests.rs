//! The client against a socket that says what the metadata-server may say, and what it may not. The
//! real one is asked in `tests/cases/guests/frozen.rs`.

use std::{
    io::{BufRead, BufReader},
    os::unix::net::UnixListener,
    sync::mpsc,
};

use super::*;

const BOUND: Duration = Duration::from_secs(5);
const FROZEN: &str = r#"{"done":{"frozen":{"file_systems":["/"],"skipped":[]}}}"#;
const THAWED: &str = r#"{"done":{"thawed":{"was_frozen":true}}}"#;

/// A socket that answers one line after the other with these, over all connections; none is a
/// connection that ends. And what it was asked.
fn server(
    said: &'static [Option<&'static str>],
) -> (tempfile::TempDir, MetadataServer, mpsc::Receiver<Asking>) {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("freeze.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let (asked, questions) = mpsc::channel();
    thread::spawn(move || {
        let mut said = said.iter();
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            for line in BufReader::new(&stream).lines().map_while(Result::ok) {
                // Whoever asked may have seen enough.
                let _ = asked.send(serde_json::from_str(&line).unwrap());
                let Some(Some(said)) = said.next() else { break };
                let _ = writeln!(&stream, "{said}");
            }
        }
    });
    let instance = InstanceId::parse("i-0123456789abcdef0").unwrap();
    (directory, MetadataServer::at(&socket, instance), questions)
}

#[test]
fn a_guest_is_frozen_and_thawed_by_one_connection() {
    let (_directory, agent, questions) = server(&[Some(FROZEN), Some(THAWED)]);
    agent.freeze(BOUND).unwrap();
    assert!(agent.thaw().unwrap());
    assert!(!agent.thaw().unwrap(), "nothing is asked any more");
    assert_eq!(questions.recv().unwrap().wanted, Wanted::Freeze { bound_ms: 5000 });
    assert_eq!(questions.recv().unwrap().wanted, Wanted::Thaw);
    assert!(questions.try_recv().is_err());
}

#[test]
fn without_an_agent_the_reason_is_told_and_there_is_nothing_to_thaw() {
    let (_directory, agent, questions) = server(&[Some(r#"{"no":"no-agent"}"#)]);
    let error = agent.freeze(BOUND).unwrap_err();
    assert_eq!(error.0, "no agent in the guest asks for orders");
    assert!(!agent.thaw().unwrap());
    assert_eq!(questions.try_iter().count(), 1);
}

#[test]
fn an_agent_that_can_not_says_why() {
    const CAN_NOT: &str = r#"{"done":{"failed":{"reason":"a hook\u001b failed"}}}"#;
    const NONE: &str = r#"{"done":{"thawed":{"was_frozen":false}}}"#;
    let (_directory, agent, _questions) = server(&[Some(CAN_NOT), Some(NONE)]);
    assert_eq!(agent.freeze(BOUND).unwrap_err().0, "a hook  failed");
    assert!(!agent.thaw().unwrap());
}

#[test]
fn an_agent_that_can_not_thaw_what_it_has_frozen_is_asked_until_it_can() {
    const FAILED: &str = r#"{"done":{"failed":{"reason":"/b was not frozen: EIO"}}}"#;
    const STILL: &str = r#"{"done":{"failed":{"reason":"still frozen: /a: EIO"}}}"#;
    const NONE: &str = r#"{"done":{"thawed":{"was_frozen":false}}}"#;
    let (_directory, agent, _questions) =
        server(&[Some(FAILED), Some(STILL), Some(STILL), Some(NONE)]);
    agent.freeze(BOUND).unwrap_err();
    for _ in 0..2 {
        assert_eq!(agent.thaw().unwrap_err().0, "still frozen: /a: EIO");
    }
    assert!(!agent.thaw().unwrap());
}

#[test]
fn what_was_left_out_is_told_in_words_that_are_bounded() {
    let skipped: Vec<String> = (0..100).map(|at| format!("/{at} (zfs):\u{1b} why")).collect();
    let done = Done::Frozen { file_systems: vec!["/".into()], skipped };
    let said: &'static str = serde_json::to_string(&Told::Done(done)).unwrap().leak();
    let (_directory, agent, _questions) = server(Box::leak(Box::new([Some(said), Some(THAWED)])));
    let left_out = agent.freeze(BOUND).unwrap();
    assert_eq!((left_out.len(), &*left_out[1]), (MOST_LEFT_OUT, "/1 (zfs):  why"));
}

#[test]
fn a_guest_that_nothing_is_heard_of_any_more_has_thawed_when_its_time_is_over() {
    let (_directory, agent, _questions) = server(&[Some(FROZEN), None, None]);
    let (begin, bound) = (Instant::now(), Duration::from_secs(2));
    agent.freeze(bound).unwrap();
    // By the connection that it was frozen by, and by another one.
    agent.thaw().unwrap_err();
    assert!(!agent.thaw().unwrap());
    assert!(begin.elapsed() >= bound + SLACK);
}

#[test]
fn what_is_no_answer_is_an_error() {
    for said in
        ["", "{}", "no JSON", THAWED, r#"{"done":{"frozen":{"file_systems":[],"skipped":[]}}}"#]
    {
        let (_directory, agent, _questions) = server(Box::leak(Box::new([Some(said)])));
        agent.freeze(BOUND).unwrap_err();
    }
}

#[test]
fn a_freeze_for_no_time_or_for_hours_is_not_asked_for() {
    let (_directory, agent, questions) = server(&[]);
    for bound in [Duration::ZERO, Duration::from_secs(3600), Duration::MAX] {
        agent.freeze(bound).unwrap_err();
    }
    assert!(questions.try_recv().is_err());
}
