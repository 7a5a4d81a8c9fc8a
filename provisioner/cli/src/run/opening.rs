//! What QEMU is to be started with, asked for until it is told.
//!
//! Guests are started by scripts, many at once after a host has started: what passes is waited for
//! here, for as long as the caller says. Whoever asks twice is answered twice, so no call is too much.

use std::{io::IsTerminal, path::Path, time::Duration};

use mezame_model::api::volumes::{Monitor, VolumeStart};
use tokio::time::Instant;

use super::Session;
use crate::{client::error::ClientError, failure::Failure, text};

/// Between the first two tries, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// Asks for it, before any key is handed out looking where it would go.
pub(super) async fn started(
    session: &Session<'_>,
    id: &str,
    monitor: &Monitor,
    secrets_dir: Option<&Path>,
    wait: Duration,
) -> Result<VolumeStart, Failure> {
    let (client, project) = (&session.client, session.project()?);
    let is_for_people = !session.screen.is_data() || std::io::stdout().is_terminal();
    match secrets_dir {
        Some(folder) => check(folder)?,
        None if is_for_people => {
            let known = asked(session, id, wait, async || client.volume(project, id).await).await?;
            if known.encrypted {
                return Err(Failure::NoSecretsFolder { volume: id.into() });
            }
        }
        None => {}
    }
    Ok(asked(session, id, wait, async || client.open_volume(project, id, monitor).await).await?)
}

/// That files can be made in a folder.
fn check(folder: &Path) -> Result<(), Failure> {
    let at = |source| Failure::Output { path: folder.to_owned(), source };
    tempfile::Builder::new().prefix(".mezame-").tempfile_in(folder).map(drop).map_err(at)
}

/// Asks, and again where that may help.
async fn asked<T>(
    session: &Session<'_>,
    id: &str,
    wait: Duration,
    ask: impl AsyncFnMut() -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let told = |error: &ClientError| {
        let why = text::line(&error.to_string());
        session.screen.say(&format!("{id} can't be opened yet, and is asked for again: {why}"));
    };
    until_told(wait, FIRST_PAUSE, told, ask).await
}

async fn until_told<T>(
    wait: Duration,
    mut pause: Duration,
    mut say: impl FnMut(&ClientError),
    mut ask: impl AsyncFnMut() -> Result<T, ClientError>,
) -> Result<T, ClientError> {
    let begun = Instant::now();
    let mut is_said = false;
    loop {
        match ask().await {
            Err(error) if passes(&error) && begun.elapsed() + pause <= wait => {
                if !std::mem::replace(&mut is_said, true) {
                    say(&error);
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            other => return other,
        }
    }
}

/// Whether it may go better soon. Work on the volume ends, too.
fn passes(error: &ClientError) -> bool {
    error.is_passing() || matches!(error, ClientError::Problem(problem) if problem.kind == "busy")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, status: u16) -> ClientError {
        let problem = serde_json::json!({ "type": kind, "title": "no", "status": status });
        ClientError::Problem(serde_json::from_value(problem).unwrap())
    }

    /// What comes of these answers, the last one again and again; how often was asked, and told.
    async fn ask(
        wait: Duration,
        answers: &[Option<(&str, u16)>],
    ) -> (Result<(), ClientError>, usize, usize) {
        let (mut asked, mut told) = (0, 0);
        let answer = async || {
            let at = answers[asked.min(answers.len() - 1)];
            asked += 1;
            at.map_or(Ok(()), |(kind, status)| Err(problem(kind, status)))
        };
        let done = until_told(wait, Duration::from_millis(1), |_| told += 1, answer).await;
        (done, asked, told)
    }

    #[tokio::test]
    async fn what_passes_is_asked_for_again_and_said_once() {
        let minute = Duration::from_secs(60);
        let answers = [Some(("too-many", 429)), Some(("busy", 409)), None];
        let (done, asked, told) = ask(minute, &answers).await;
        assert!(done.is_ok());
        assert_eq!((asked, told), (3, 1));
    }

    #[tokio::test]
    async fn what_does_not_pass_is_told_at_once_and_what_does_not_end_after_the_wait() {
        for kind in ["half-restored", "volume-in-use", "not-ready"] {
            let (done, asked, _) = ask(Duration::from_secs(60), &[Some((kind, 409))]).await;
            assert!(done.is_err() && asked == 1, "{kind}: {asked}");
        }
        let (done, asked, _) = ask(Duration::from_millis(20), &[Some(("busy", 409))]).await;
        assert!(done.is_err() && (2..30).contains(&asked), "{asked}");
        let (done, asked, told) = ask(Duration::ZERO, &[Some(("busy", 409))]).await;
        assert_eq!((done.is_err(), asked, told), (true, 1, 0));
    }

    #[test]
    fn a_folder_that_nothing_can_be_written_to_is_seen_before_keys_are_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        check(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(check(&folder.path().join("none")).is_err());
    }
}
