//! The count of what passed, failed and was skipped, and the reasons.

use std::{process::ExitCode, time::Instant};

use anyhow::Result;

/// All results so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    passed: usize,
    failed: Vec<Entry>,
    skipped: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    reason: String,
}

impl Tally {
    /// Runs one check, and says whether it passed.
    pub(crate) fn check(&mut self, name: &str, check: impl FnOnce() -> Result<()>) -> bool {
        eprintln!("── {name}");
        let begin = Instant::now();
        match check() {
            Ok(()) => {
                eprintln!("✓ {name} ({:.1} s)", begin.elapsed().as_secs_f32());
                self.pass();
                true
            }
            Err(error) => {
                eprintln!("✗ {name}: {error:#}");
                self.fail(name, &format!("{error:#}"));
                false
            }
        }
    }

    /// One more passed.
    pub(crate) fn pass(&mut self) {
        self.passed += 1;
    }

    /// One more failed.
    pub(crate) fn fail(&mut self, name: &str, reason: &str) {
        self.failed.push(Entry { name: name.into(), reason: reason.into() });
    }

    /// One more was not run.
    pub(crate) fn skip(&mut self, name: &str, reason: &str) {
        self.skipped.push(Entry { name: name.into(), reason: reason.into() });
    }

    /// Whether anything failed.
    pub(crate) fn has_failures(&self) -> bool {
        !self.failed.is_empty()
    }

    /// Lists what failed and what was skipped, and ends with the count.
    pub(crate) fn close(self) -> ExitCode {
        for (word, entries) in [("failed", &self.failed), ("skipped", &self.skipped)] {
            for entry in entries {
                println!("{word}: {}: {}", entry.name, entry.reason);
            }
        }
        println!("{}", self.summary());
        if self.has_failures() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }

    /// The closing line.
    fn summary(&self) -> String {
        format!(
            "{} passed, {} failed, {} skipped",
            self.passed,
            self.failed.len(),
            self.skipped.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closing_line_counts_everything_once() {
        let mut tally = Tally::default();
        assert!(tally.check("good", || Ok(())));
        assert!(!tally.check("bad", || anyhow::bail!("no")));
        tally.skip("later", "not today");
        assert_eq!(tally.summary(), "1 passed, 1 failed, 1 skipped");
        assert!(tally.has_failures());
    }
}
