//! The scripts that run where we can't: they use what POSIX.1-2008 has, and nothing of one shell.
//!
//! Two programs look through them by rules of their own. Both are Debian's, and the set-up installs
//! them.

use std::{path::PathBuf, process::Command};

use crate::workspace;

/// All files that begin as scripts of sh, wherever guests get them from.
fn scripts() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = ["guest-agent/shell", "guest-agent/initramfs", "images/recipes"]
        .map(|it| workspace().join(it))
        .to_vec();
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
    for expected in ["guest-agent.sh", "keyscript", "mezame-unlock.sh"] {
        assert!(scripts.iter().any(|it| it.ends_with(expected)), "{expected}: {scripts:?}");
    }
    for (program, words) in [
        // SC2015 is of `a && b || c`, which they use for what it does; SC1091 of files that they read
        // and that are only there where they run.
        ("shellcheck", &["--norc", "--shell=sh", "--exclude=SC2015,SC1091", "--"][..]),
        ("checkbashisms", &["--force", "--posix"][..]),
    ] {
        assert_clean(program, words, &scripts);
    }
}

/// dracut reads its modules' set-up by bash, and nobody else does.
#[test]
fn what_dracut_reads_is_sound_bash() {
    let module = workspace().join("guest-agent/initramfs/dracut/module-setup.sh");
    assert_clean("shellcheck", &["--norc", "--shell=bash", "--"], &[module]);
}

fn assert_clean(program: &str, words: &[&str], scripts: &[PathBuf]) {
    let output = Command::new(program).args(words).args(scripts).output().unwrap_or_else(|error| {
        panic!("{program}: {error}; `cargo xtask setup --for test` installs it")
    });
    let said = [&output.stdout[..], &output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.trim().is_empty(), "{program}:\n{said}");
}
