//! `cargo xtask fuzz`: random and mutated inputs for everything that reads what a stranger wrote.
//!
//! The targets under `tests/fuzz` are built with the compiler's coverage instrumentation and
//! libFuzzer; both work with a stable tool chain, since no sanitizer is asked for (the parsers
//! are safe Rust: what can go wrong in them is a panic, a loop, or a broken promise, which the
//! targets check). Frames are run by the program in the kernel, against a model; there is no
//! coverage to be had of that.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::{build, kept::Kept, workspace};

/// Something that reads what a stranger wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum Target {
    /// A guest's request: bytes to reply
    Request,
    /// An operator's seed: text to documents to admission
    SeedYaml,
    /// User-data in the agent: MIME, gzip, base64
    Mime,
    /// `#cloud-config` in the agent
    CloudConfig,
    /// A guest's DNS message, and a resolver's answer
    Dns,
    /// A guest's DHCPv4 and BOOTP
    Dhcp4,
    /// A guest's DHCPv6
    Dhcp6,
    /// A guest's router solicitations
    Neighbour,
    /// What lies in an archive's store: packs, records, chunks, lists
    Archive,
    /// The head of a disk that somebody brings: qcow2, VMDK, VHDX
    DiskHead,
    /// How a guest has divided its disk
    Partitions,
    /// What a server of blocks says to who pulls a backup
    Nbd,
    /// A guest's frames in the kernel, against a model
    Frames,
}

/// What is to be run.
#[derive(Debug, clap::Args)]
pub(crate) struct Wanted {
    /// How many inputs each target gets
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    executions: u64,
    /// Which targets; all of them without
    targets: Vec<Target>,
}

/// How many inputs each target gets in `cargo xtask test`: some seconds in all.
const SHORT: u64 = 50_000;

/// The only platform that the agent's static build, and so the whole project, is built on.
const PLATFORM: &str = "x86_64-unknown-linux-gnu";

/// What cargo-fuzz asks the compiler for, without a sanitizer.
const INSTRUMENTED: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

impl Target {
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The longest input, in bytes: room for several documents or requests.
    fn longest(self) -> usize {
        match self {
            // A read's reply alone is over 4 KiB.
            Self::Mime | Self::DiskHead | Self::Partitions | Self::Nbd => 8192,
            _ => 4096,
        }
    }

    /// Builds its program, and gives the program's path.
    fn build(self) -> Result<PathBuf> {
        let kept = Kept::open("fuzz")?;
        let mut cargo = build::cargo("build");
        cargo.arg("--release").arg("--target-dir").arg(kept.directory());
        let program = if self == Self::Frames {
            cargo.args(["--package", "mezame-ebpf-loader", "--example", "fuzz_frames"]);
            PathBuf::from("release/examples/fuzz_frames")
        } else {
            let name = self.name();
            cargo
                .args(["--target", PLATFORM, "--bin", &name])
                .current_dir(workspace().join("tests/fuzz"))
                .env("RUSTFLAGS", INSTRUMENTED);
            Path::new(PLATFORM).join("release").join(name)
        };
        build::run(&mut cargo)?;
        kept.take(&program, Path::new("fuzz/programs"))
    }

    /// Runs its program on so many inputs; an error says that one of them was too much for it, and
    /// the output where that one is kept.
    fn run(self, program: &Path, executions: u64) -> Result<()> {
        if self == Self::Frames {
            return build::run(Command::new(program).arg(executions.to_string()));
        }
        let name = self.name();
        let sources = workspace().join("tests/fuzz");
        let (found, crashes) = (folder().join("found").join(&name), folder().join("crashes"));
        for made in [&found, &crashes] {
            fs::create_dir_all(made).with_context(|| format!("making {}", made.display()))?;
        }
        let mut fuzz = Command::new(program);
        fuzz.arg(format!("-runs={executions}"))
            .arg(format!("-max_len={}", self.longest()))
            .arg(format!("-dict={}/dictionaries/{name}.dict", sources.display()))
            .arg(format!("-artifact_prefix={}/{name}-", crashes.display()))
            // A parser that takes longer has a loop that is not bounded well.
            .args([
                "-timeout=10",
                "-rss_limit_mb=2048",
                "-verbosity=0",
                "-print_funcs=0",
                "-print_final_stats=1",
            ])
            .arg(&found)
            .arg(sources.join("corpus").join(&name));
        build::run(&mut fuzz)
    }
}

/// Runs the targets one after the other.
pub(crate) fn run(wanted: &Wanted) -> Result<()> {
    let all = Target::value_variants();
    let targets = if wanted.targets.is_empty() { all } else { &wanted.targets };
    for target in targets {
        eprintln!("{}: {} executions", target.name(), wanted.executions);
        target.run(&target.build()?, wanted.executions)?;
    }
    Ok(())
}

/// A short run of each target, as one check each: its name and what it does.
pub(crate) fn short() -> impl Iterator<Item = (String, impl FnOnce() -> Result<()>)> {
    Target::value_variants().iter().map(|target| {
        let check = move || target.run(&target.build()?, SHORT);
        (format!("{SHORT} executions of the fuzz target {}", target.name()), check)
    })
}

/// Where what they find and what they fail on lie.
fn folder() -> PathBuf {
    build::target().join("fuzz")
}
