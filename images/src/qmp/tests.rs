//! The client against a real QEMU, and against what no QEMU would say.

use std::{io::Read, os::unix::net::UnixListener, process::Command, thread};

use proptest::prelude::*;

use super::*;
use crate::testing::Daemon;

const BOUND: Duration = Duration::from_secs(20);

#[test]
fn a_real_qemu_greets_answers_and_refuses() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("qmp");
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-machine", "none", "-nodefaults", "-display", "none", "-qmp"])
        .arg(format!("unix:{},server=on,wait=off", socket.display()));
    let _qemu = Daemon::start(&mut qemu, &[&socket]);
    let mut qmp = Qmp::connect(&socket, BOUND).unwrap();
    assert!(qmp.version().major >= 7, "{:?}", qmp.version());
    let status = qmp.execute("query-status", json!({})).unwrap();
    assert_eq!(status["running"], true);
    let schema = qmp.execute("query-qmp-schema", json!({})).unwrap();
    assert!(schema.as_array().unwrap().len() > 100);
    let refused = qmp.execute("no-such-command", json!({})).unwrap_err();
    assert!(matches!(&refused, QmpError::Refused { class, .. } if class == "CommandNotFound"));
    // A refusal is a reply: the connection goes on.
    qmp.execute("stop", json!({})).unwrap();
    qmp.execute("query-status", json!({})).unwrap();
    qmp.await_event("a stop", BOUND, |event| event.name == "STOP").unwrap();
    let none = qmp.await_event("nothing", Duration::from_millis(50), |_| false);
    assert!(matches!(none, Err(QmpError::Deadline { .. })));
    qmp.execute("quit", json!({})).unwrap();
    let shutdown = qmp.await_event("the end", BOUND, |event| event.name == "SHUTDOWN").unwrap();
    assert_eq!(shutdown.data["reason"], "host-qmp-quit");
}

#[test]
fn a_second_client_of_one_monitor_is_told_so_by_its_deadline() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("qmp");
    let _daemon = Daemon::storage(&socket, &[], &[]);
    let _first = Qmp::connect(&socket, BOUND).unwrap();
    let second = Qmp::connect(&socket, Duration::from_millis(200)).unwrap_err();
    assert!(matches!(second, QmpError::Deadline { .. }), "{second}");
}

const GREETING: &str = r#"{"QMP":{"version":{"qemu":{"micro":0,"minor":2,"major":7},"package":""},"capabilities":[]}}"#;

/// What the client makes of an end that says this and then waits for the client to go.
fn against(said: Vec<u8>, bound: Duration) -> Result<Value, QmpError> {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("qmp");
    let listener = UnixListener::bind(&socket).unwrap();
    let other = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // The client may go before it has read all.
        let _ = stream.write_all(&said);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let result = Qmp::connect(&socket, bound).and_then(|mut qmp| qmp.execute("x", json!({"a": 1})));
    other.join().unwrap();
    result
}

fn lines(lines: &[&str]) -> Vec<u8> {
    lines.iter().flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect()
}

#[test]
fn events_between_a_command_and_its_reply_are_not_taken_for_the_reply() {
    let event = r#"{"event":"RESUME","timestamp":{"seconds":1,"microseconds":2}}"#;
    let said = [GREETING, event, r#"{"return":{},"id":0}"#, event, r#"{"return":7,"id":1}"#];
    assert_eq!(against(lines(&said), BOUND).unwrap(), 7);
}

#[test]
fn a_qemu_that_greets_twice_is_answered_twice() {
    let said = [GREETING, GREETING, r#"{"return":{},"id":0}"#, r#"{"return":{},"id":1}"#];
    let said = [&said[..], &[r#"{"return":7,"id":2}"#]].concat();
    assert_eq!(against(lines(&said), BOUND).unwrap(), 7);
    let error = against(lines(&[GREETING; GREETINGS + 1]), BOUND).unwrap_err();
    assert!(matches!(error, QmpError::Unexpected { .. }), "{error}");
}

#[test]
fn a_reply_to_another_command_is_refused() {
    let said = [GREETING, r#"{"return":{},"id":0}"#, r#"{"return":7,"id":3}"#];
    let error = against(lines(&said), BOUND).unwrap_err();
    assert!(matches!(error, QmpError::Unexpected { .. }), "{error}");
}

#[test]
fn garbage_is_refused_and_so_is_silence() {
    let short = Duration::from_millis(200);
    for said in ["", GREETING] {
        let error = against(said.into(), short).unwrap_err();
        assert!(matches!(error, QmpError::Deadline { .. }), "{said}: {error}");
    }
    for said in ["\n", "{}\n", "[]\n", "{\"QMP\":1}\n", "\u{0}\u{1}\n", "{\"error\":{}}\n"] {
        let error = against(said.into(), BOUND).unwrap_err();
        let is_refused = matches!(error, QmpError::NotJson(_) | QmpError::Unexpected { .. });
        assert!(is_refused, "{said}: {error}");
    }
    let error = against(vec![b'x'; LONGEST_LINE + (64 << 10)], BOUND).unwrap_err();
    assert!(matches!(error, QmpError::TooLong), "{error}");
    // As deep as a parser that recurses could be sent.
    let error = against([vec![b'['; 1 << 20], vec![b'\n']].concat(), BOUND).unwrap_err();
    assert!(matches!(error, QmpError::NotJson(_)), "{error}");
}

#[test]
fn a_connection_whose_reply_is_late_takes_no_further_command() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(&lines(&[GREETING, r#"{"return":{},"id":0}"#])).unwrap();
    let mut qmp = Qmp::over(ours, Duration::from_millis(100)).unwrap();
    let late = qmp.execute("stop", json!({})).unwrap_err();
    assert!(matches!(late, QmpError::Deadline { .. }), "{late}");
    theirs.write_all(&lines(&[r#"{"return":{},"id":1}"#, r#"{"return":{},"id":2}"#])).unwrap();
    assert!(matches!(qmp.execute("cont", json!({})), Err(QmpError::Closed)));
}

#[test]
fn of_many_events_the_latest_are_kept() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let writer = thread::spawn(move || {
        let mut said = lines(&[GREETING]);
        for number in 0..EVENTS_KEPT + 5 {
            said.extend(format!("{{\"event\":\"E{number}\"}}\n").bytes());
        }
        said.extend(lines(&[r#"{"return":{},"id":0}"#]));
        theirs.write_all(&said).unwrap();
        theirs
    });
    let mut qmp = Qmp::over(ours, BOUND).unwrap();
    let first = qmp.await_event("any", BOUND, |_| true).unwrap();
    assert_eq!(first.name, "E5");
    writer.join().unwrap();
}

proptest! {
    #[test]
    fn no_line_makes_the_parser_panic(line in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Message::parse(&line);
    }

    #[test]
    fn no_object_makes_the_parser_panic(key in "QMP|return|error|event|id", value in ".{0,40}") {
        let _ = Message::parse(format!("{{\"{key}\": {value}, \"id\": 1}}").as_bytes());
    }
}
