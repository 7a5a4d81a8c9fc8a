//! The agent killed after each note that it makes in its ledger: whatever the point, the next runs
//! end in the same state, and nothing that says once has run twice.

use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use mezame_tests::wait::{self, SOON};
use serde_json::json;

use super::{Guest, ROOT};

/// So long one run is watched.
const BOUND: Duration = Duration::from_secs(60);

const USER_DATA: &str = r#"Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/cloud-config

write_files:
- {path: 'C:\srv\one', content: one}
- {path: 'C:\srv\log', content: 'line.', append: true}
- {path: 'C:\srv\log', content: 'line.', append: true}
--b
Content-Type: text/x-shellscript

rem cmd
echo x>>"%MEZAME_ROOT%\ran-first"
--b
Content-Type: text/x-shellscript

rem cmd
echo x>>"%MEZAME_ROOT%\ran-second"
--b--
"#;

#[test]
fn killed_after_each_note_it_ends_in_the_same_state_and_runs_nothing_twice() {
    let guest = Guest::with(&json!({"user_data": USER_DATA}));
    let ledger = guest.file("ProgramData/Mezame/GuestAgent/ledger");
    let whole = to_the_end(&guest);
    assert!(whole > 8, "{whole} notes");
    let expected = end(&guest);
    let mut interrupted = 0;
    for notes in 0..whole {
        guest.new_root();
        kill_at(&guest, &ledger, notes);
        to_the_end(&guest);
        assert_eq!(end(&guest), expected, "killed after {notes} of {whole} notes");
        for script in ["ran-first", "ran-second"] {
            let runs = guest.text(script).lines().count();
            assert!(runs <= 1, "{script} ran {runs} times, killed after {notes} notes");
            interrupted += usize::from(runs == 0);
        }
    }
    println!("{whole} kills, {interrupted} scripts cut off");
    // A script that was cut off is not run again, but of the two most come to their end.
    assert!(interrupted * 3 <= usize::try_from(whole).unwrap() * 2, "{interrupted} of {whole}");
    let [rsa, ed25519] = &guest.keys;
    for (user, key) in [("ops", rsa), ("dev", ed25519)] {
        // So many in so short a time are more than the service takes: what waits is sent by the
        // next run.
        wait::until(&format!("{user}'s password"), SOON, || {
            guest.run();
            let is_the_one = guest.has_password(user, &guest.password(user, key));
            anyhow::ensure!(is_the_one, "the operator has another one");
            Ok(())
        })
        .unwrap();
    }
}

/// Runs until nothing is left to be done, and gives how many notes the ledger has.
fn to_the_end(guest: &Guest) -> u64 {
    for _ in 0..4 {
        let run = guest.run();
        let reboots = guest.record()["next_name"].is_string();
        if run["report"]["outcome"] == "unchanged" && !reboots {
            let ledger = guest.file("ProgramData/Mezame/GuestAgent/ledger");
            return notes_in(&ledger);
        }
    }
    panic!("it came to no end");
}

fn notes_in(ledger: &Path) -> u64 {
    let bytes = std::fs::read(ledger).unwrap_or_default();
    bytes.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Runs the agent, and kills it as soon as its ledger has this many notes.
fn kill_at(guest: &Guest, ledger: &Path, notes: u64) {
    let words = ["C:\\guest-agent.exe", "--root", ROOT, "run", "--timeout", "60"];
    let mut command = guest.wine.bare_command(&words);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let until = Instant::now() + BOUND;
    while notes_in(ledger) < notes && child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "it did not come to {notes} notes");
        std::thread::yield_now();
    }
    // Even at its end by itself nothing is wrong: the last notes come in a row.
    let _ = child.kill();
    child.wait().unwrap();
}

/// All that is the same however often it was cut off.
fn end(guest: &Guest) -> Vec<String> {
    let record = guest.record();
    let shared = "ProgramData/ssh/administrators_authorized_keys";
    let mut end: Vec<String> = ["srv/one", "srv/log", shared, "Users/dev/.ssh/authorized_keys"]
        .iter()
        .map(|path| guest.text(path))
        .collect();
    end.extend(["users", "administrators", "name", "next_name"].map(|key| record[key].to_string()));
    end
}
