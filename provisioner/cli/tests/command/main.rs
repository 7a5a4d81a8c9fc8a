//! The real binary against a fake control plane: what it prints, sends, and exits with.

// A test that can't go on is to stop.
#![allow(clippy::unwrap_used)]

mod connection;
mod documents;
mod fake;
mod people;
mod real;
mod streams;
mod terminal;

use std::{
    path::Path,
    process::{Command, Stdio},
};

use fake::Fake;

/// What a run of the command came to.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}--- messages\n{}--- exit {}", self.out, self.err, self.code)
    }
}

/// The command with nothing of the tester's own environment.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mezame"));
    command
        .env_clear()
        .env("HOME", folder)
        .env("PATH", "/usr/bin:/bin")
        .current_dir(folder)
        .stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub(crate) fn finish(command: &mut Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        code: output.status.code().unwrap(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Runs it against the fake's socket, in the fake's folder.
pub(crate) fn run(fake: &Fake, arguments: &[&str]) -> Ran {
    let mut command = command(fake.path());
    command.env("MEZAME_SERVER", format!("unix:{}", fake.socket().display())).args(arguments);
    finish(&mut command)
}

/// Writes a file into the fake's folder.
pub(crate) fn write(fake: &Fake, name: &str, text: impl AsRef<[u8]>) {
    let path = fake.path().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}
