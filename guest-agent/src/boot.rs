//! One run of the agent, and the loop of runs: discover → fetch → plan → apply → report.
//!
//! ```text
//!   discover ──► fetch ──► plan ──► apply ──► report ──► watch ─┐
//!      ▲           │ 503: as long as it asks                    │ changed: a live run
//!      └── backoff ┘          ┌── lost connection ◄─────────────┤
//!                             └── backoff, way opened anew ─────┘
//! ```
//! A change of the network that was taken back is done once more after a while: see [`retry`].

pub mod attempts;
pub mod discover;
mod retry;
pub mod run;

use std::time::{Duration, Instant};

use mezame_model::Report;

use self::{
    retry::Retry,
    run::{Agent, RunError},
};
use crate::{
    backoff::Backoff,
    freeze::orders,
    plan::Mode,
    platform::Platform,
    settings::Settings,
    source::{Fetched, SourceError},
};

/// How long a watch waits at the server.
const WATCH: Duration = Duration::from_secs(60);

/// How long it waits there while something is still to be sent or to be fetched.
const WATCH_SOON: Duration = Duration::from_secs(5);

/// An answer "not changed" that comes sooner is no watch: a server that ends, or one that can't.
const TOO_SOON: Duration = Duration::from_secs(1);

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
    /// Whether a step failed for want of the service, so that it may succeed soon.
    pub lost_service: bool,
    /// Whether a change of the network was taken back.
    pub rolled_back: bool,
    /// Why the guest is rebooted now, if it is.
    pub reboot: Option<String>,
}

/// Runs once: until the document was applied, or the time is over.
pub fn run_once(
    settings: &Settings,
    platform: &dyn Platform,
    timeout: Option<Duration>,
    say: &mut dyn FnMut(&str),
) -> Result<Finished, RunError> {
    let mut agent = Agent::open(settings, platform)?;
    recover(platform, say);
    clear_stale_routes(platform, say);
    // One that is beyond what the clock can say never comes.
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let (mut path, fetched) = first_document(settings, platform, deadline, say)?;
    let finished = agent.apply(&mut path, &fetched, Mode::Boot);
    path.close(platform);
    let finished = finished?;
    reboot(platform, &finished, say);
    Ok(finished)
}

/// Runs, and then for ever: applies each change of the document as soon as it comes.
pub fn watch(
    settings: &Settings,
    platform: &dyn Platform,
    say: &mut dyn FnMut(&str),
    done: &mut dyn FnMut(&Finished),
) -> Result<(), RunError> {
    // Before anything is written: the state may lie on what a killed agent has left frozen.
    orders::recover(settings, say);
    let mut agent = Agent::open(settings, platform)?;
    recover(platform, say);
    clear_stale_routes(platform, say);
    let orders = orders::start(settings, say);
    let (mut path, mut fetched) = first_document(settings, platform, None, say)?;
    let mut mode = Mode::Boot;
    let (mut retry, mut applied) = (Retry::new(), String::new());
    loop {
        let finished = agent.apply(&mut path, &fetched, mode)?;
        // Not before: an address that the way went from may be gone by then.
        orders.follow(&path.source);
        done(&finished);
        let is_new = std::mem::replace(&mut applied, fetched.etag.clone()) != fetched.etag;
        retry.after_run(finished.rolled_back, is_new, Instant::now(), random());
        if reboot(platform, &finished, say) {
            return Ok(());
        }
        mode = Mode::Live;
        let last = (fetched, &finished);
        fetched = next_document(&mut agent, &mut path, &orders, platform, last, &mut retry, say);
        // A live run begins with what woke it.
        path.source.begin_at(Instant::now());
    }
}

/// Takes back or completes what a killed run has left; where that fails, the way may be there all
/// the same.
fn recover(platform: &dyn Platform, say: &mut dyn FnMut(&str)) {
    match platform.complete_restarts() {
        Ok(false) => {}
        Ok(true) => say("a run was cut off before a service read its settings: it was restarted"),
        Err(error) => say(&format!("a service that a run has written for can't begin: {error}")),
    }
    match platform.recover_network() {
        Ok(false) => {}
        Ok(true) => say("a run was cut off while it changed the network: that was taken back"),
        Err(error) => say(&format!("a cut-off change of the network can't be taken back: {error}")),
    }
}

/// An image may hold the routes of the network that it was made in: they would hide the service.
fn clear_stale_routes(platform: &dyn Platform, say: &mut dyn FnMut(&str)) {
    match platform.clear_stale_routes() {
        Ok(gone) => {
            gone.iter().for_each(|route| say(&format!("a stale route was taken away: {route}")));
        }
        Err(error) => say(&format!("stale routes can't be looked for: {error}")),
    }
}

/// Reboots the guest where a run asks for it. False where nothing of the kind happens.
fn reboot(platform: &dyn Platform, finished: &Finished, say: &mut dyn FnMut(&str)) -> bool {
    let Some(why) = &finished.reboot else { return false };
    say(&format!("this guest is rebooted: {why}"));
    match platform.reboot(why) {
        Ok(()) => true,
        Err(error) => {
            say(&format!("it can't be rebooted: {error}"));
            false
        }
    }
}

/// Waits until there is something to do: another document, or this one once more.
fn next_document(
    agent: &mut Agent<'_>,
    path: &mut discover::Path,
    orders: &orders::Way,
    platform: &dyn Platform,
    (fetched, finished): (Fetched, &Finished),
    retry: &mut Retry,
    say: &mut dyn FnMut(&str),
) -> Fetched {
    let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
    loop {
        // A report or a password that was lost goes first: the service is there again. One that
        // it can't take now must not keep a new key waiting.
        let sent = !agent.has_mail() || agent.send_mail(path).is_ok();
        if !sent {
            pause(&mut backoff, None, None);
        }
        let wait = if sent && !finished.lost_service { WATCH } else { WATCH_SOON };
        let left = retry.left(Instant::now());
        if left.is_some_and(|left| left.is_zero()) {
            say("a change of the network that was taken back is tried again");
            return fetched;
        }
        // Whole seconds are what the service counts in.
        let wait = left.map_or(wait, |left| wait.min(left + Duration::from_secs(1)));
        let asked = Instant::now();
        let answer = path.source.document(Some((&fetched.etag, wait)));
        if !matches!(answer, Err(SourceError::Http(_))) {
            retry.answered();
        }
        match answer {
            Ok(Some(next)) if next.etag != fetched.etag => return next,
            Ok(_) if asked.elapsed() < TOO_SOON => pause(&mut backoff, None, None),
            Ok(_) if is_to_run_again(finished, platform, retry) => return fetched,
            Ok(_) if sent => backoff.reset(),
            Ok(_) => {}
            Err(error) => {
                say(&format!("{error}; trying again"));
                pause(&mut backoff, retry_after(&error), None);
                // The addresses of the guest may have changed under the connection, and so may
                // its devices.
                path.source.disconnect();
                if matches!(error, SourceError::Http(_)) {
                    retry.unanswered(Instant::now());
                    path.find_again(platform);
                    orders.follow(&path.source);
                }
            }
        }
    }
}

/// Whether the same document is done once more, for what the last run could not do or tell.
fn is_to_run_again(finished: &Finished, platform: &dyn Platform, retry: &Retry) -> bool {
    // The SSH server may have made its keys after the last report.
    let keys = platform.host_keys();
    let told = finished.report.host_keys.iter().map(|it| &it.public_key);
    (finished.lost_service || !keys.iter().eq(told)) && retry.lets_run(Instant::now())
}

/// A plan for what would be done now, without doing it.
pub fn dry_run(
    settings: &Settings,
    platform: &dyn Platform,
    timeout: Option<Duration>,
    say: &mut dyn FnMut(&str),
) -> Result<String, RunError> {
    // One that is beyond what the clock can say never comes.
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let (mut path, fetched) = first_document(settings, platform, deadline, say)?;
    let plan = run::look(settings, platform, &mut path.source, &fetched);
    path.close(platform);
    Ok(plan?.to_string())
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
    let wait = backoff.next(random(), retry_after);
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    std::thread::sleep(left.map_or(wait, |left| wait.min(left)));
}

/// Without randomness only the jitter is lost.
fn random() -> u64 {
    let mut random = [0; 8];
    let _ = getrandom::fill(&mut random);
    u64::from_ne_bytes(random)
}

#[cfg(test)]
mod tests {
    use mezame_model::report::Outcome;

    use super::*;
    use crate::platform::fake::Fake;

    #[test]
    fn a_network_that_waits_is_not_tried_sooner_for_a_lost_service_or_a_new_key() {
        let report = Report {
            instance_id: mezame_model::InstanceId::parse("i-0123456789abcdef0").unwrap(),
            agent: String::new(),
            boot_id: String::new(),
            run: 1,
            outcome: Outcome::Failed,
            steps: Vec::new(),
            configured_ms: None,
            total_ms: 0,
            host_keys: Vec::new(),
        };
        let finished = |lost_service| Finished {
            report: report.clone(),
            reply_to_configured: None,
            reported: true,
            lost_service,
            rolled_back: true,
            reboot: None,
        };
        let (fake, mut retry, now) = (Fake::new("boot", Vec::new()), Retry::new(), Instant::now());
        assert!(is_to_run_again(&finished(true), &fake, &retry), "nothing waits");
        assert!(!is_to_run_again(&finished(false), &fake, &retry));
        retry.after_run(true, true, now, 0);
        assert!(!is_to_run_again(&finished(true), &fake, &retry));
        fake.change(|state| state.host_keys = vec!["ssh-ed25519 AAAA".into()]);
        assert!(!is_to_run_again(&finished(false), &fake, &retry));
        retry.after_run(false, false, now, 0);
        assert!(is_to_run_again(&finished(false), &fake, &retry));
    }
}
