//! What a person sees of the set-up: one bar at a time, and one line on each thing done.
//!
//! On standard error, so that standard output stays for results. Without a terminal there are no
//! bars, only the lines.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// One step under way.
pub(crate) struct Step {
    bar: ProgressBar,
    title: String,
}

impl Step {
    /// Begins a step whose length is not known.
    pub(crate) fn begin(title: impl Into<String>) -> Self {
        let title = title.into();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(style("{spinner} {prefix} {wide_msg:.dim} {elapsed}"));
        bar.set_prefix(title.clone());
        bar.enable_steady_tick(Duration::from_millis(120));
        if bar.is_hidden() {
            eprintln!("… {title}");
        }
        Self { bar, title }
    }

    /// From now on the step shows how much of `total` is done.
    pub(crate) fn measure(&self, total: u64) {
        self.bar.set_length(total);
        self.bar.set_style(style("{spinner} {prefix} [{bar:32}] {percent}% {wide_msg:.dim}"));
    }

    /// How far it is.
    pub(crate) fn position(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// What is happening now.
    pub(crate) fn note(&self, text: &str) {
        self.bar.set_message(text.chars().take(100).collect::<String>());
    }

    /// A line that stays.
    pub(crate) fn line(&self, text: &str) {
        if self.bar.is_hidden() {
            eprintln!("  {text}");
        } else {
            self.bar.println(format!("  {text}"));
        }
    }

    /// Ends it well.
    pub(crate) fn done(self, result: &str) {
        self.bar.finish_and_clear();
        eprintln!("✓ {}: {result}", self.title);
    }

    /// Runs a command with its output folded into the step, calling `seen` for each line, and
    /// shows the last lines of it if it fails.
    pub(crate) fn run(&self, command: &mut Command, mut seen: impl FnMut(&str)) -> Result<()> {
        let (reader, writer) = std::io::pipe().context("making a pipe")?;
        let errors = writer.try_clone().context("cloning a pipe")?;
        command.stdin(Stdio::null()).stdout(writer).stderr(errors);
        let name = format!("{command:?}");
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        // The command holds the writing ends; without them the reader would never end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.follow(child, reader, &name, &mut seen)
    }

    fn follow(
        &self,
        mut child: Child,
        output: impl Read,
        name: &str,
        seen: &mut dyn FnMut(&str),
    ) -> Result<()> {
        let mut last = std::collections::VecDeque::new();
        // Carriage returns separate the states of a bar that the command itself draws.
        for chunk in BufReader::new(output).split(b'\n') {
            let chunk = chunk.context("reading a command's output")?;
            let text = String::from_utf8_lossy(&chunk);
            let line = text.trim_end().rsplit('\r').next().unwrap_or_default();
            seen(line);
            if last.len() == 30 {
                last.pop_front();
            }
            last.push_back(line.to_owned());
        }
        let status = child.wait().context("waiting for a command")?;
        if !status.success() {
            for line in &last {
                self.line(line);
            }
            bail!("{name} ended with {status}");
        }
        Ok(())
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
