//! A bar for work that takes a while: one line on standard error, drawn over itself.
//!
//! Drawn only where a person looks at it: not into a file or a pipe, and not with `--quiet`. No
//! crate for it: what is needed is a dozen lines.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use crate::{screen::Screen, size};

/// Between two drawings.
const PAUSE: Duration = Duration::from_millis(100);
/// Characters of the bar.
const WIDTH: u64 = 24;

/// A bar that is gone when this is dropped.
pub struct Bar {
    is_shown: bool,
    is_drawn: bool,
    begun: Instant,
    last: Option<Instant>,
}

impl Bar {
    /// A bar where one is of use.
    pub fn new(screen: &Screen) -> Self {
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let is_shown = !screen.quiet && !is_dumb && io::stderr().is_terminal();
        Self { is_shown, is_drawn: false, begun: Instant::now(), last: None }
    }

    /// Says how far it is.
    pub fn show(&mut self, what: &str, done: u64, total: u64) {
        let is_due = self.last.is_none_or(|last| last.elapsed() >= PAUSE);
        if !self.is_shown || !is_due {
            return;
        }
        self.last = Some(Instant::now());
        self.is_drawn = true;
        let line = line(what, done, total, self.begun.elapsed());
        // A closed standard error must not end the command.
        let _ = write!(io::stderr().lock(), "\r\u{1b}[K{line}");
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.is_drawn {
            let _ = write!(io::stderr().lock(), "\r\u{1b}[K");
        }
    }
}

fn line(what: &str, done: u64, total: u64, since: Duration) -> String {
    let seconds = since.as_secs().max(1);
    let speed = format!("{}/s", size::show(done / seconds));
    if total == 0 {
        return format!("{what}  {}  {speed}", size::show(done));
    }
    let done = done.min(total);
    // As wide numbers, since a disk's bytes times a hundred may be more than 64 bits hold.
    let part = |of: u64| (u128::from(done) * u128::from(of) / u128::from(total)) as usize;
    let filled = part(WIDTH);
    let bar = "#".repeat(filled) + &".".repeat(WIDTH as usize - filled);
    format!(
        "{what}  [{bar}] {:3}%  {} of {}  {speed}",
        part(100),
        size::show(done),
        size::show(total)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_full_as_the_work_is_done() {
        let at = |done, total| line("importing", done, total, Duration::from_secs(2));
        assert_eq!(
            at(512 << 20, 1 << 30),
            "importing  [############............]  50%  512.0 MiB of 1.0 GiB  256.0 MiB/s"
        );
        assert_eq!(at(0, 0), "importing  0 B  0 B/s");
        assert!(at(u64::MAX, u64::MAX).contains("100%"));
        assert!(at(9, 3).contains("100%"));
    }
}
