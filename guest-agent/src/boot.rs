//! One run of the agent, and the loop of runs: discover → fetch → plan → apply → report.
//!
//! ```text
//!   discover ──► fetch ──► plan ──► apply ──► report ──► watch ─┐
//!      ▲           │ 503: as long as it asks                    │ changed: a live run
//!      └── backoff ┴───────── lost connection ◄─────────────────┘
//! ```

pub mod discover;
pub mod run;

use std::time::{Duration, Instant};

use mezame_model::Report;

use self::run::{Agent, RunError};
use crate::{
    backoff::Backoff,
    plan::Mode,
    platform::Platform,
    settings::Settings,
    source::{Fetched, SourceError},
};

/// How long a watch waits at the server.
const WATCH: Duration = Duration::from_secs(60);

/// The first and the longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(10));

/// What a run brought.
#[derive(Debug, Clone)]
pub struct Finished {
    /// As it was reported.
    pub report: Report,
    /// From the first reply to the end of the configuration, scripts excluded.
    pub reply_to_configured: Option<Duration>,
    /// Whether the service has taken the report.
    pub reported: bool,
}

/// Runs once: until the document was applied, or the time is over.
pub fn run_once(
    settings: &Settings,
    platform: &dyn Platform,
    timeout: Option<Duration>,
    say: &mut dyn FnMut(&str),
) -> Result<Finished, RunError> {
    let mut agent = Agent::open(settings, platform)?;
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let (mut path, fetched) = first_document(settings, platform, deadline, say)?;
    let finished = agent.apply(&mut path, &fetched, Mode::Boot)?;
    path.close(platform);
    Ok(finished)
}

/// Runs, and then for ever: applies each change of the document as soon as it comes.
pub fn watch(
    settings: &Settings,
    platform: &dyn Platform,
    say: &mut dyn FnMut(&str),
    done: &mut dyn FnMut(&Finished),
) -> Result<(), RunError> {
    let mut agent = Agent::open(settings, platform)?;
    let (mut path, mut fetched) = first_document(settings, platform, None, say)?;
    let mut mode = Mode::Boot;
    let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
    loop {
        done(&agent.apply(&mut path, &fetched, mode)?);
        mode = Mode::Live;
        backoff.reset();
        fetched = loop {
            // A report or a password that was lost goes first: the service is there again.
            if agent.has_mail() && agent.send_mail(&mut path).is_err() {
                pause(&mut backoff, None, None);
                continue;
            }
            match path.source.document(Some((&fetched.etag, WATCH))) {
                Ok(None) => backoff.reset(),
                Ok(Some(next)) => {
                    // A live run begins with the change that woke it.
                    path.source.begin_at(Instant::now());
                    break next;
                }
                Err(error) => {
                    say(&format!("{error}; trying again"));
                    let asked = retry_after(&error);
                    pause(&mut backoff, asked, None);
                    // The addresses of the guest may have changed under the connection.
                    path.source.disconnect();
                }
            }
        };
    }
}

/// A plan for what would be done now, without doing it.
pub fn dry_run(
    settings: &Settings,
    platform: &dyn Platform,
    timeout: Option<Duration>,
    say: &mut dyn FnMut(&str),
) -> Result<String, RunError> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let (mut path, fetched) = first_document(settings, platform, deadline, say)?;
    let plan = run::look(settings, platform, &mut path.source, &fetched)?;
    path.close(platform);
    Ok(plan.to_string())
}

/// Tries every device until one leads to a document.
fn first_document(
    settings: &Settings,
    platform: &dyn Platform,
    deadline: Option<Instant>,
    say: &mut dyn FnMut(&str),
) -> Result<(discover::Path, Fetched), RunError> {
    let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
    let mut last_words = String::new();
    loop {
        let error = match discover::attempt(settings, platform) {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        let words = error.to_string();
        if words != last_words {
            say(&format!("{words}; waiting"));
            last_words = words;
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(RunError::Discover(error));
        }
        pause(&mut backoff, error.retry_after(), deadline);
    }
}

fn retry_after(error: &SourceError) -> Option<Duration> {
    match error {
        SourceError::NotReady { retry_after } => *retry_after,
        _ => None,
    }
}

fn pause(backoff: &mut Backoff, retry_after: Option<Duration>, deadline: Option<Instant>) {
    let mut random = [0; 8];
    // Without randomness only the jitter is lost.
    let _ = getrandom::fill(&mut random);
    let wait = backoff.next(u64::from_ne_bytes(random), retry_after);
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    std::thread::sleep(left.map_or(wait, |left| wait.min(left)));
}
