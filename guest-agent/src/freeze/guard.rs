//! The process that freezes, and the agent's hold on it.
//!
//! ```text
//!   agent ──pipe──► helper      the pipe's end means "thaw"; nothing is ever written to it
//!         ◄─lines── helper      one when it is frozen, or why not; one when it has thawed
//! ```
//! A process of its own, since the agent's may be killed, and since its other threads may wait for
//! the disk that is frozen. It starts before anything is frozen, and reads no file after that.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    sync::{Condvar, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use mezame_model::freeze::Done;

use super::freezer::{Freezer, Frozen, System, Thawed};

/// How long hooks may take after a thaw, together.
const HOOK_TIME: Duration = Duration::from_secs(10);
/// How much longer than the freeze may last it is listened to.
const SLACK: Duration = Duration::from_secs(2);
/// How often what does not thaw is tried, and how long after the last time.
const TRIES: (usize, Duration) = (10, Duration::from_millis(100));
/// The longest line that it may say, in bytes.
const LONGEST_LINE: u64 = 1 << 20;

/// Does the helper's work: freezes, waits until `told` ends or the time is over, and thaws.
pub fn run(
    system: &dyn System,
    bound: Duration,
    mut told: impl Read,
    mut say: impl Write,
) -> io::Result<()> {
    let until = Instant::now() + bound;
    let freezer = Freezer::new(system, HOOK_TIME);
    let alarm = Alarm::default();
    thread::scope(|scope| {
        let watch = thread::Builder::new().name("thaw".into()).stack_size(256 << 10);
        watch.spawn_scoped(scope, || alarm.thaw_at(&freezer, until))?;
        let frozen = freezer.freeze(until);
        let done = match frozen {
            Ok(Frozen { file_systems, skipped }) => Done::Frozen { file_systems, skipped },
            Err(error) => Done::Failed { reason: error.to_string() },
        };
        let said = line(&mut say, &done);
        if said.is_ok() && matches!(done, Done::Frozen { .. }) {
            // Whatever this is, it is the end.
            let _ = told.read(&mut [0]);
        }
        let thawed = thaw(&freezer);
        alarm.end();
        said.and_then(|()| line(&mut say, &thawed.into()))
    })
}

/// Thaws with some patience: what this process has frozen nobody else has a descriptor of.
fn thaw(freezer: &Freezer<'_>) -> Thawed {
    let mut thawed = freezer.thaw();
    for _ in 1..TRIES.0 {
        if thawed.left.is_empty() {
            break;
        }
        thread::sleep(TRIES.1);
        thawed.left = freezer.thaw().left;
    }
    thawed
}

fn line(say: &mut impl Write, done: &Done) -> io::Result<()> {
    let mut line = serde_json::to_vec(done).map_err(io::Error::other)?;
    line.push(b'\n');
    say.write_all(&line)?;
    say.flush()
}

/// What thaws when the time is over.
#[derive(Default)]
struct Alarm {
    is_over: Mutex<bool>,
    changed: Condvar,
}

impl Alarm {
    fn thaw_at(&self, freezer: &Freezer<'_>, until: Instant) {
        let is_over = self.is_over.lock().unwrap_or_else(PoisonError::into_inner);
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.changed.wait_timeout_while(is_over, left, |is_over| !*is_over);
        let is_over = *waited.unwrap_or_else(PoisonError::into_inner).0;
        if !is_over {
            freezer.thaw();
        }
    }

    fn end(&self) {
        *self.is_over.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }
}

/// A helper that has the guest frozen.
#[derive(Debug)]
pub struct Helper {
    child: Child,
    pipe: Option<ChildStdin>,
    lines: mpsc::Receiver<Done>,
}

impl Helper {
    /// Starts one, and waits until it has frozen: then there is a helper, whose drop thaws. Where it
    /// ends without having said that it has thawed, `gone` is called at once, on another thread.
    pub fn start(
        command: &mut Command,
        bound: Duration,
        gone: impl FnOnce() + Send + 'static,
    ) -> (Done, Option<Self>) {
        let failed = |reason: String| (Done::Failed { reason }, None);
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = match pipes.spawn() {
            Ok(child) => child,
            Err(error) => return failed(format!("the agent can't start its helper: {error}")),
        };
        let (sender, lines) = mpsc::channel();
        let (pipe, output) = (child.stdin.take(), child.stdout.take());
        thread::spawn(move || {
            let bounded =
                output.into_iter().flat_map(|it| BufReader::new(it.take(LONGEST_LINE)).lines());
            let mut has_thawed = false;
            for line in bounded.map_while(Result::ok) {
                let Ok(done) = serde_json::from_str(&line) else { break };
                has_thawed = matches!(done, Done::Thawed { .. });
                // Nobody may listen any more; that it thaws matters all the same.
                let _ = sender.send(done);
            }
            if !has_thawed {
                gone();
            }
        });
        let mut helper = Self { child, pipe, lines };
        match helper.lines.recv_timeout(bound + SLACK) {
            Ok(done @ Done::Frozen { .. }) => (done, Some(helper)),
            Ok(done) => {
                helper.thaw();
                (done, None)
            }
            Err(_) => {
                helper.thaw();
                failed("the agent's helper did not say whether it has frozen".into())
            }
        }
    }

    /// Has it thaw; what it says last of all, or none where it does not end in time or says nothing.
    pub fn thaw(&mut self) -> Option<Done> {
        self.pipe = None;
        let until = Instant::now() + HOOK_TIME + SLACK;
        let mut last = None;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(Done::Frozen { .. }) => {}
                Ok(done) => last = Some(done),
                Err(mpsc::RecvTimeoutError::Timeout) => return None,
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    let _ = self.child.wait();
                    return last;
                }
            }
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // It thaws by itself, and is none of ours any more where it takes long.
        self.pipe = None;
        let _ = self.child.try_wait();
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::freeze::{
        freezer::{Moment, Refusal},
        mounts::{Found, Mount},
    };

    /// One file system.
    #[derive(Default)]
    struct Disk {
        frozen: Mutex<bool>,
        /// How often it does not thaw.
        stubborn: Mutex<usize>,
    }

    impl Disk {
        fn is_frozen(&self) -> bool {
            *self.frozen.lock().unwrap()
        }
    }

    impl System for Disk {
        fn hooks(&self) -> Result<Vec<std::path::PathBuf>, String> {
            Ok(Vec::new())
        }
        fn call(&self, _: &std::path::Path, _: Moment, _: Instant) -> Result<(), String> {
            Ok(())
        }
        fn mounts(&self) -> Result<Found, String> {
            let root = Mount { path: "/".into(), device: (8, 1), kind: "ext4".into() };
            Ok(Found { to_freeze: vec![root], passed_over: Vec::new() })
        }
        fn note(&self, _: &[Mount]) -> Result<(), String> {
            Ok(())
        }
        fn sync(&self) {}
        fn freeze(&self, _: &Mount) -> Result<(), Refusal> {
            *self.frozen.lock().unwrap() = true;
            Ok(())
        }
        fn thaw(&self, _: &Mount) -> Result<bool, String> {
            let mut stubborn = self.stubborn.lock().unwrap();
            if let Some(less) = stubborn.checked_sub(1) {
                *stubborn = less;
                return Err("EIO".into());
            }
            Ok(std::mem::replace(&mut *self.frozen.lock().unwrap(), false))
        }
    }

    fn said(output: &mut impl BufRead) -> Done {
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    #[test]
    fn the_end_of_the_pipe_thaws() {
        let disk = Disk::default();
        let ((told, pipe), (ours, theirs)) =
            (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        thread::scope(|scope| {
            scope.spawn(|| run(&disk, Duration::from_secs(60), told, theirs).unwrap());
            let mut output = BufReader::new(ours);
            assert!(matches!(said(&mut output), Done::Frozen { .. }));
            assert!(disk.is_frozen());
            // As when the agent is killed.
            drop(pipe);
            assert_eq!(said(&mut output), Done::Thawed { was_frozen: true });
        });
        assert!(!disk.is_frozen());
    }

    #[test]
    fn the_end_of_the_time_thaws_though_nobody_says_anything() {
        let disk = Disk::default();
        let ((told, pipe), (ours, theirs)) =
            (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        thread::scope(|scope| {
            scope.spawn(|| run(&disk, Duration::from_millis(500), told, theirs).unwrap());
            let mut output = BufReader::new(ours);
            assert!(matches!(said(&mut output), Done::Frozen { .. }));
            let begin = Instant::now();
            while disk.is_frozen() {
                assert!(begin.elapsed() < Duration::from_secs(20));
                thread::sleep(Duration::from_millis(5));
            }
            drop(pipe);
            assert_eq!(said(&mut output), Done::Thawed { was_frozen: false });
        });
    }

    #[test]
    fn what_does_not_thaw_is_tried_again_and_said_where_it_never_does() {
        for (stubborn, is_thawed) in [(3, true), (usize::MAX, false)] {
            let disk = Disk { stubborn: stubborn.into(), ..Disk::default() };
            let mut said = Vec::new();
            run(&disk, Duration::from_secs(60), io::empty(), &mut said).unwrap();
            assert_eq!(disk.is_frozen(), !is_thawed);
            let last: Done =
                serde_json::from_slice(said.trim_ascii().rsplit(|it| *it == b'\n').next().unwrap())
                    .unwrap();
            let failed = Done::Failed { reason: "still frozen: /: EIO".into() };
            let thawed = Done::Thawed { was_frozen: false };
            assert_eq!(last, if is_thawed { thawed } else { failed });
        }
    }

    #[test]
    fn a_helper_that_has_thawed_is_not_taken_for_dead() {
        let mut command = Command::new("/bin/sh");
        let thawed = r#"{"thawed":{"was_frozen":true}}"#;
        let frozen = r#"{"frozen":{"file_systems":["/"],"skipped":[]}}"#;
        command.args(["-c", &format!("echo '{frozen}'; cat; echo '{thawed}'")]);
        let (sender, gone) = mpsc::channel();
        let told = move || sender.send(()).unwrap();
        let (_, helper) = Helper::start(&mut command, Duration::from_secs(20), told);
        assert_eq!(helper.unwrap().thaw(), Some(Done::Thawed { was_frozen: true }));
        // The thread that would say so has ended without.
        let ended = gone.recv_timeout(Duration::from_secs(20));
        assert_eq!(ended, Err(mpsc::RecvTimeoutError::Disconnected));
    }

    #[test]
    fn a_helper_that_dies_has_not_said_that_it_thawed() {
        let frozen = r#"{"frozen":{"file_systems":["/"],"skipped":[]}}"#;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &format!("echo '{frozen}'")]);
        let (sender, gone) = mpsc::channel();
        let (soon, told) = (Duration::from_secs(20), sender.clone());
        let (done, helper) = Helper::start(&mut command, soon, move || told.send(()).unwrap());
        assert!(matches!(done, Done::Frozen { .. }));
        // Before anybody asks it to thaw.
        gone.recv_timeout(soon).unwrap();
        assert_eq!(helper.unwrap().thaw(), None);
        let mut command = Command::new("/bin/sh");
        command.args(["-c", "echo no"]);
        let (done, helper) = Helper::start(&mut command, soon, move || sender.send(()).unwrap());
        assert!(matches!(done, Done::Failed { .. }) && helper.is_none());
        gone.recv_timeout(soon).unwrap();
        let (done, _) = Helper::start(&mut Command::new("/no/such"), soon, || {});
        assert!(matches!(done, Done::Failed { .. }));
    }
}
