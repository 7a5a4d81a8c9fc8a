//! The demo: two real guests with the same IP and the same MAC, in two tenants' networks, boot and
//! configure themselves from `169.254.169.254`.
//!
//! Run by `cargo xtask demo`, which builds and sets up what this needs. It touches nothing of the
//! host's network, and leaves nothing behind however it ends: see [`mezame_tests`].

mod guests;
mod result;
mod seed;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use mezame_tests::Lab;

use guests::Guests;
use result::DemoResult;
use seed::Seed;

/// Two real guests with the same IP and MAC configure themselves.
#[derive(Debug, Parser)]
struct Arguments {
    /// End with one line of JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(result) if result.ok => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("The demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<DemoResult> {
    let progress = Progress::new();
    progress.at("starting a hypervisor of the demo's own");
    let lab = Lab::start()?;
    let mut seed = Seed::prepare(lab.directory())?;

    progress.at("applying the operator's seed (examples/two-tenants)");
    let shown = lab.operator.apply_file(seed.directory())?;
    progress.lines(&shown);

    progress.at("booting two guests with the same IP and the same MAC");
    let mut guests = Guests::boot(&lab, &seed)?;
    guests.until_configured(&lab, &progress)?;

    progress.at("logging in with each tenant's key, and with the other's");
    let results = guests.log_in(&seed)?;

    progress.at("adding a key while the guest runs");
    let live_key_ms = guests.add_key_live(&lab, &mut seed)?;

    progress.done();
    let result = DemoResult::new(results, live_key_ms);
    println!("{}", result::table(&result, &seed));
    if arguments.json {
        println!("{}", serde_json::to_string(&result).context("writing the result")?);
    }
    Ok(result)
}

/// What the person sees while it runs; on standard error.
struct Progress {
    bar: ProgressBar,
    begin: Instant,
}

impl Progress {
    fn new() -> Self {
        let bar = ProgressBar::new_spinner();
        bar.set_style(
            ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}")
                .unwrap_or_else(|_| ProgressStyle::default_spinner()),
        );
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar, begin: Instant::now() }
    }

    /// Says what happens now.
    fn at(&self, what: &str) {
        self.line(&format!("{:6.1} s  {what}", self.begin.elapsed().as_secs_f32()));
        self.bar.set_message(what.to_owned());
    }

    /// A line that stays.
    fn line(&self, text: &str) {
        if self.bar.is_hidden() {
            eprintln!("{text}");
        } else {
            self.bar.println(text);
        }
    }

    /// What a command showed.
    fn lines(&self, text: &str) {
        for line in text.lines() {
            self.line(&format!("          {line}"));
        }
    }

    fn done(&self) {
        self.bar.finish_and_clear();
    }
}
