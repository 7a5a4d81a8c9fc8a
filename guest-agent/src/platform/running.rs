//! A program while it runs: its output is read, kept in a file and bounded, and it is ended when
//! its time is over. The same on each system; how a program is started and ended is not.

use std::{
    fs::File,
    io::{Read, Write},
    process::{Child, ExitStatus},
    sync::mpsc,
    time::{Duration, Instant},
};

/// How much output of a script is kept, in bytes; more is counted and thrown away.
pub(super) const MAX_OUTPUT: usize = 1 << 20;
/// How much of its end is given to the report, in bytes.
const TAIL: usize = 2048;
/// How long the pipes of a program that has ended are read while something holds them open.
const LINGER: Duration = Duration::from_millis(500);
/// How long they are read while something goes on writing into them.
const TALK: Duration = Duration::from_secs(2);

/// How a program came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// By itself, or by somebody else's hand.
    Ended(ExitStatus),
    /// By the agent, since it ran too long.
    TimedOut,
    /// The system does not say.
    Lost,
}

/// Reads both outputs until they are closed or the time is over; then `finish` ends the program
/// with all that it started. Gives the end of the output, too.
pub(super) fn wait(
    mut child: Child,
    log: Option<File>,
    timeout: Option<Duration>,
    finish: impl FnOnce(&mut Child),
) -> (End, String) {
    let (sender, receiver) = mpsc::sync_channel::<Vec<u8>>(16);
    let mut pipes: Vec<Box<dyn Read + Send>> = Vec::new();
    pipes.extend(child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    pipes.extend(child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>));
    for mut pipe in pipes {
        let sender = sender.clone();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 16 * 1024];
            while let Ok(length @ 1..) = pipe.read(&mut buffer) {
                // Nobody listens any more: what a daemon still says is read all the same, since a
                // closed pipe would end it.
                let _ = sender.send(buffer[..length].to_vec());
            }
        });
    }
    drop(sender);
    // One that is beyond what the clock can say never comes.
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut output = Output { log, kept: 0, dropped: 0, tail: Vec::new() };
    let mut status = None;
    let mut ended = None;
    loop {
        match receiver.recv_timeout(Duration::from_millis(10)) {
            // The same where it never stops talking.
            Ok(_) if ended.is_some_and(|ended: Instant| ended.elapsed() > TALK) => break,
            Ok(bytes) => output.take(&bytes),
            // Both ends are closed: only the status is missing.
            Err(mpsc::RecvTimeoutError::Disconnected) if status.is_some() => break,
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                std::thread::sleep(Duration::from_millis(1));
            }
            // A daemon that the script started keeps the pipes open: the script itself is over,
            // and what it had written is read.
            Err(mpsc::RecvTimeoutError::Timeout)
                if ended.is_some_and(|ended: Instant| ended.elapsed() > LINGER) =>
            {
                break;
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
        }
        if status.is_none() {
            status = child.try_wait().ok().flatten();
            ended = status.map(|_| Instant::now());
        }
        if status.is_none() && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            finish(&mut child);
            return (End::TimedOut, output.finish());
        }
    }
    (status.map_or(End::Lost, End::Ended), output.finish())
}

struct Output {
    log: Option<File>,
    kept: usize,
    dropped: usize,
    tail: Vec<u8>,
}

impl Output {
    fn take(&mut self, bytes: &[u8]) {
        let room = MAX_OUTPUT.saturating_sub(self.kept).min(bytes.len());
        if let Some(log) = &mut self.log {
            // A full disk must not end the script.
            let _ = log.write_all(&bytes[..room]);
        }
        self.kept += room;
        self.dropped += bytes.len() - room;
        self.tail.extend_from_slice(bytes);
        let surplus = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..surplus);
    }

    fn finish(mut self) -> String {
        if self.dropped > 0
            && let Some(log) = &mut self.log
        {
            let _ = writeln!(log, "\n[{} further bytes were not kept]", self.dropped);
        }
        String::from_utf8_lossy(&self.tail).into_owned()
    }
}
