//! The scripts that run where we can't: they use what POSIX.1-2008 has, and nothing of one shell.
//!
//! Two programs look through them by rules of their own. Both are Debian's, and the set-up installs
//! them.

use std::{path::PathBuf, process::Command};

use crate::workspace;

/// All files that begin as scripts of sh, wherever guests get them from.
fn scripts() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting =
        ["guest-agent/shell", "images/recipes"].map(|it| workspace().join(it)).to_vec();
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            let text = std::fs::read(&path).unwrap();
            let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
            if first == b"#!/bin/sh" || first == b"#!/bin/busybox sh" {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

#[test]
fn scripts_for_guests_are_of_every_shell() {
    let scripts = scripts();
    assert!(scripts.iter().any(|it| it.ends_with("guest-agent.sh")), "{scripts:?}");
    for (program, words) in [
        // SC2015 is of `a && b || c`, which they use for what it does.
        ("shellcheck", &["--norc", "--shell=sh", "--exclude=SC2015", "--"][..]),
        ("checkbashisms", &["--force", "--posix"][..]),
    ] {
        let output =
            Command::new(program).args(words).args(&scripts).output().unwrap_or_else(|error| {
                panic!("{program}: {error}; `cargo xtask setup --for test` installs it")
            });
        let said = [&output.stdout[..], &output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success() && said.trim().is_empty(), "{program}:\n{said}");
    }
}
