//! The client against a model of `qemu-ga`, and against what no agent would say. The real one is
//! asked in a guest, in `tests/cases/guests/frozen.rs`.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::net::{UnixListener, UnixStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use proptest::prelude::*;

use super::*;

const BOUND: Duration = Duration::from_secs(5);

/// How a model of the agent behaves.
#[derive(Default)]
struct Manner {
    /// What others had asked for, and is answered when the next one has connected.
    stale: Vec<u8>,
    /// It takes a freeze, does it and says nothing.
    is_silent: bool,
    /// It has none to freeze.
    is_bare: bool,
    /// It is at its hooks until this ends, and does nothing else meanwhile.
    is_held: Option<mpsc::Receiver<()>>,
}

/// A model of the agent: its serial port, and whether its guest is frozen.
struct Agent {
    directory: tempfile::TempDir,
    frozen: Arc<AtomicBool>,
    /// Whether it has been frozen at all.
    has_frozen: Arc<AtomicBool>,
}

impl Agent {
    fn start(manner: Manner) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join("qga")).unwrap();
        let (frozen, has_frozen) = <(Arc<AtomicBool>, Arc<AtomicBool>)>::default();
        let state = (Arc::clone(&frozen), Arc::clone(&has_frozen));
        thread::spawn(move || {
            for stream in listener.incoming() {
                // Whoever asked may go before he has heard all.
                let _ = talk(stream.unwrap(), &manner, (&state.0, &state.1));
            }
        });
        Self { directory, frozen, has_frozen }
    }

    fn client(&self) -> QemuAgent {
        QemuAgent::at(&self.directory.path().join("qga"))
    }

    fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::SeqCst)
    }
}

fn talk(
    mut stream: UnixStream,
    manner: &Manner,
    (frozen, has_frozen): (&AtomicBool, &AtomicBool),
) -> io::Result<()> {
    stream.write_all(&manner.stale)?;
    for line in BufReader::new(stream.try_clone()?).split(b'\n') {
        let line = line?;
        let from = line.iter().rposition(|byte| *byte == DELIMITER).map_or(0, |at| at + 1);
        let asked: Value = serde_json::from_slice(&line[from..])?;
        let said = match asked["execute"].as_str().unwrap() {
            "guest-sync-delimited" => {
                stream.write_all(&[DELIMITER])?;
                json!({ "return": asked["arguments"]["id"] })
            }
            "guest-fsfreeze-status" => {
                json!({ "return": if frozen.load(Ordering::SeqCst) { "frozen" } else { "thawed" } })
            }
            "guest-fsfreeze-freeze" => {
                if let Some(held) = &manner.is_held {
                    let _ = held.recv();
                }
                frozen.store(true, Ordering::SeqCst);
                has_frozen.store(true, Ordering::SeqCst);
                if manner.is_silent {
                    continue;
                }
                json!({ "return": if manner.is_bare { 0 } else { 2 } })
            }
            "guest-fsfreeze-thaw" => {
                json!({ "return": if frozen.swap(false, Ordering::SeqCst) { 2 } else { 0 } })
            }
            other => panic!("{other} is not asked for"),
        };
        // A serial port takes what nobody reads.
        let _ = writeln!(stream, "{said}");
    }
    Ok(())
}

#[test]
fn a_guest_is_frozen_and_thawed() {
    let agent = Agent::start(Manner::default());
    let client = agent.client();
    for _ in 0..2 {
        client.freeze(BOUND).unwrap();
        assert!(agent.is_frozen());
        assert!(client.thaw().unwrap());
        assert!(!agent.is_frozen());
        assert!(!client.thaw().unwrap(), "it was not frozen any more");
    }
}

#[test]
fn a_guest_that_thawed_by_itself_was_not_frozen_until_now() {
    let agent = Agent::start(Manner::default());
    let client = agent.client();
    client.freeze(BOUND).unwrap();
    agent.frozen.store(false, Ordering::SeqCst);
    assert!(!client.thaw().unwrap());
}

#[test]
fn what_was_said_to_others_is_no_answer() {
    let mut stale = br#"{"return": "frozen"}"#.to_vec();
    stale.extend(b"\n{\"return\": 9}\n\xff{\"return\": 1}\nno JSON\n{\"retu");
    let agent = Agent::start(Manner { stale, ..Manner::default() });
    let client = agent.client();
    client.freeze(BOUND).unwrap();
    assert!(client.thaw().unwrap());
}

#[test]
fn a_freeze_that_is_not_answered_is_an_error_in_time_and_is_thawed() {
    let agent = Agent::start(Manner { is_silent: true, ..Manner::default() });
    let (client, begin) = (agent.client(), Instant::now());
    let error = client.freeze(Duration::from_millis(300)).unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(3));
    assert!(error.0.contains("did not answer guest-fsfreeze-freeze"), "{error}");
    assert!(agent.has_frozen.load(Ordering::SeqCst));
    // It was told so when it was late, and has done it.
    assert!(!client.thaw().unwrap());
    assert!(!agent.is_frozen());
}

/// A guest whose freeze takes longer than anybody waits: what ends it, and its client.
fn held() -> (Agent, QemuAgent, mpsc::Sender<()>) {
    let (let_go, held) = mpsc::channel();
    let agent = Agent::start(Manner { is_held: Some(held), ..Manner::default() });
    let client = agent.client();
    let error = client.freeze(Duration::from_millis(300)).unwrap_err();
    assert!(error.0.contains("did not answer guest-fsfreeze-freeze"), "{error}");
    // It hears nothing while it is at it, by whatever way.
    client.thaw().unwrap_err();
    assert!(agent.client().thaw().is_err());
    (agent, client, let_go)
}

#[test]
fn a_freeze_that_ends_when_nobody_asks_any_more_is_thawed_all_the_same() {
    let (agent, client, let_go) = held();
    // The last try was long ago, and the process is gone.
    drop(client);
    let begin = Instant::now();
    drop(let_go);
    while !agent.has_frozen.load(Ordering::SeqCst) || agent.is_frozen() {
        assert!(begin.elapsed() < Duration::from_secs(60), "it is frozen for ever");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_freeze_that_ends_late_thaws_by_itself_and_whoever_repeats_the_thaw_hears_of_it() {
    let (agent, client, let_go) = held();
    let again = client.freeze(Duration::from_millis(300)).unwrap_err();
    assert!(again.0.contains("did not answer"), "{again}");
    drop(let_go);
    assert!(!client.thaw().unwrap(), "it was not frozen as it was to be");
    assert!(!agent.is_frozen());
    client.freeze(BOUND).unwrap();
    assert!(agent.is_frozen() && client.thaw().unwrap());
}

#[test]
fn a_guest_without_a_file_system_of_its_own_is_not_said_to_be_frozen() {
    let agent = Agent::start(Manner { is_bare: true, ..Manner::default() });
    let client = agent.client();
    let error = client.freeze(BOUND).unwrap_err();
    assert!(error.0.contains("no file system"), "{error}");
    client.thaw().unwrap();
    assert!(!agent.is_frozen());
}

#[test]
fn where_nobody_answers_nothing_is_frozen_and_a_thaw_has_nothing_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("qga");
    let listener = UnixListener::bind(&socket).unwrap();
    let (client, begin) = (QemuAgent::at(&socket), Instant::now());
    let error = client.freeze(Duration::from_millis(300)).unwrap_err();
    assert!(error.0.contains("no qemu-ga answers"), "{error}");
    assert!(!client.thaw().unwrap());
    drop(listener);
    let error = client.freeze(Duration::from_millis(300)).unwrap_err();
    assert!(error.0.contains("can't be connected to"), "{error}");
    assert!(!client.thaw().unwrap());
    assert!(begin.elapsed() < Duration::from_secs(3));
    // Of one that was not asked to freeze by us nothing is known.
    assert!(QemuAgent::at(&socket).thaw().is_err());
}

#[test]
fn what_an_earlier_process_froze_is_thawed_and_not_frozen_by_the_next() {
    let agent = Agent::start(Manner::default());
    agent.client().freeze(BOUND).unwrap();
    let next = agent.client();
    let error = next.freeze(BOUND).unwrap_err();
    assert!(error.0.contains("somebody else"), "{error}");
    assert!(agent.is_frozen());
    assert!(agent.client().thaw().unwrap());
    assert!(!agent.is_frozen());
}

/// What the client makes of an end that says this and then waits for the client to go.
fn against(said: Vec<u8>, bound: Duration) -> FreezeError {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("qga");
    let listener = UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // The client may go before it has read all.
        let _ = stream.write_all(&said);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    QemuAgent::at(&socket).freeze(bound).unwrap_err()
}

#[test]
fn a_line_without_an_end_and_lines_without_one_are_given_up() {
    for said in [vec![b'x'; 1 << 20], b"{}\n".repeat(1 << 16)] {
        let error = against(said, Duration::from_secs(60));
        assert!(error.0.contains("no answer"), "{error}");
    }
}

#[test]
fn a_guests_words_are_bounded_and_control_no_terminal() {
    let told = words(&format!("\x1b[2J\n{}", "long ".repeat(1000)));
    assert!(told.starts_with(" [2J "));
    assert!(told.chars().count() <= 240);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_it_says_the_end_is_an_error(said in proptest::collection::vec(any::<u8>(), 0..300)) {
        against(said, Duration::from_millis(20));
    }
}
