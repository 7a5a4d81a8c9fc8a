//! Programs that are run beside us: they end with our process, none is waited for without a bound, and
//! none waits for us to read what it says.
//!
//! What one says is in a file in memory that can't grow: a program that says more goes on, and the rest
//! is lost. Through a pipe it would stand still once that is full.

mod starter;

use std::{
    fs::File,
    io::{self, Seek},
    os::unix::fs::FileExt,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    fcntl::{FcntlArg, SealFlag, fcntl},
    sys::memfd::{MFdFlags, memfd_create},
};

pub(crate) use starter::start;

/// How much of what a program says is kept, in bytes.
const MOST_WORDS: u64 = 64 << 10;

/// How long qemu-img may take for what is done to one file's head or tables. It takes seconds, unless what
/// the file is on hangs.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long one that was killed is waited for.
const KILLED: Duration = Duration::from_secs(10);

/// What a program says.
#[derive(Debug)]
pub(crate) struct Words(File);

impl Words {
    /// Nothing yet.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
        let file = File::from(memfd_create("words", flags)?);
        file.set_len(MOST_WORDS)?;
        let seals = SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_SEAL;
        fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
        Ok(Self(file))
    }

    /// Where the program is to say it.
    pub(crate) fn writer(&self) -> io::Result<Stdio> {
        Ok(self.0.try_clone()?.into())
    }

    /// What it has said until now.
    pub(crate) fn bytes(&self) -> io::Result<Vec<u8>> {
        // It writes by the same place in the file.
        let length = (&self.0).stream_position()?.min(MOST_WORDS);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.0.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Its first words as text; what can't be read was not said.
    pub(crate) fn text(&self) -> String {
        let bytes = self.bytes().unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim().chars().take(2048).collect()
    }
}

/// How a program that was run ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) output: Vec<u8>,
    pub(crate) said: String,
}

/// qemu-img with this command, which reads nothing unless it is told to.
pub(crate) fn qemu_img(command: &str) -> Command {
    let mut qemu_img = Command::new("qemu-img");
    qemu_img.arg(command).stdin(Stdio::null());
    qemu_img
}

/// Runs a program to its end, for ten minutes at most.
///
/// # Errors
/// [`io::ErrorKind::TimedOut`]; it was killed then.
pub(crate) fn run(command: Command) -> io::Result<Ran> {
    run_within(command, PATIENCE)
}

fn run_within(mut command: Command, bound: Duration) -> io::Result<Ran> {
    let (output, said) = (Words::new()?, Words::new()?);
    command.stdout(output.writer()?).stderr(said.writer()?);
    let mut child = start(command)?;
    match ended_within(&mut child, bound) {
        Ok(Some(status)) => Ok(Ran { status, output: output.bytes()?, said: said.text() }),
        ended => {
            kill(&mut child);
            Err(ended.err().unwrap_or_else(|| io::ErrorKind::TimedOut.into()))
        }
    }
}

/// Kills it, unless it has ended. One that the kernel can't end, since a device does not answer, is not
/// waited for.
pub(crate) fn kill(child: &mut Child) {
    // What fails is that it has ended.
    let _ = child.kill();
    let _ = ended_within(child, KILLED);
}

/// How a program ended, if it does in time.
pub(crate) fn ended_within(child: &mut Child, bound: Duration) -> io::Result<Option<ExitStatus>> {
    let begin = Instant::now();
    loop {
        let status = child.try_wait()?;
        if status.is_some() || begin.elapsed() > bound {
            return Ok(status);
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null());
        command
    }

    #[test]
    fn a_program_that_does_not_end_is_not_waited_for_and_is_killed() {
        let mut command = Command::new("sleep");
        command.arg("600");
        let mut child = start(command).unwrap();
        let begin = Instant::now();
        assert_eq!(ended_within(&mut child, Duration::from_millis(20)).unwrap(), None);
        kill(&mut child);
        assert!(child.try_wait().unwrap().is_some());
        let late = run_within(shell("exec sleep 600"), Duration::from_millis(20)).unwrap_err();
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        assert!(begin.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_program_that_can_not_be_started_is_an_error() {
        assert!(start(Command::new("/none/such")).is_err());
        assert!(run(Command::new("/none/such")).is_err());
    }

    #[test]
    fn what_a_program_says_is_told_as_far_as_it_is_kept_and_it_waits_for_nobody() {
        let ran = run(shell("echo answer; echo ' why ' >&2; exit 3")).unwrap();
        assert_eq!((&*ran.output, &*ran.said), (&b"answer\n"[..], "why"));
        assert_eq!(ran.status.code(), Some(3));
        let talkative = "head -c 1000000 /dev/zero | tr '\\0' x >&2; echo done";
        let ran = run_within(shell(talkative), Duration::from_secs(60)).unwrap();
        assert_eq!((&*ran.output, ran.said.len()), (&b"done\n"[..], 2048));
    }
}
