//! `watch`: events as they happen, across lost connections.

use std::time::Duration;

use mezame_model::{
    Generation,
    api::{Event, Kind},
};

use super::Session;
use crate::{
    client::{error::ClientError, events::EventStream},
    command::WatchArguments,
    exit::Exit,
    failure::{Failure, chain},
    kind_name::lower,
    screen::Format,
    text,
};

/// Between two attempts to connect: doubled each time, up to the greater.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// A stream of events that connects anew where the last one ended.
///
/// Several events may have one generation, and a connection may be lost between them. So it goes
/// on from the generation before the last one, and passes over what was seen of that.
pub(super) struct Following<'session> {
    session: &'session Session<'session>,
    /// The generation of the last event, or where it began.
    last: Generation,
    /// How many events of that generation were seen; none at the beginning.
    seen: usize,
    /// How many of them are to be passed over after a new connection.
    skip: usize,
    stream: Option<EventStream>,
    wait: Duration,
}

impl<'session> Following<'session> {
    /// Begins after a generation, or now. Fails if the first connection does.
    pub(super) async fn begin(
        session: &'session Session<'session>,
        after: Option<Generation>,
    ) -> Result<Self, ClientError> {
        let last = match after {
            Some(after) => after,
            None => now(session).await?,
        };
        let stream = Some(session.client.events(Some(last)).await?);
        Ok(Self { session, last, seen: 0, skip: 0, stream, wait: BACKOFF.0 })
    }

    /// The next event; none once when a lost connection was made anew (something may have
    /// happened meanwhile). Fails where connecting anew would not help.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            let Some(stream) = &mut self.stream else {
                tokio::time::sleep(self.wait).await;
                self.wait = (self.wait * 2).min(BACKOFF.1);
                if self.connect().await? {
                    return Ok(None);
                }
                continue;
            };
            match stream.next().await {
                Some(Ok(event)) if self.is_new(&event) => {
                    self.wait = BACKOFF.0;
                    return Ok(Some(event));
                }
                Some(Ok(_)) => {}
                Some(Err(error @ ClientError::Answer(_))) => return Err(error),
                Some(Err(_)) | None => {
                    self.stream = None;
                    self.session.screen.say("mezame: the connection was lost; connecting anew");
                }
            }
        }
    }

    fn is_new(&mut self, event: &Event) -> bool {
        if event.generation != self.last {
            self.skip = 0;
            self.seen = 0;
            self.last = event.generation;
        } else if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.seen += 1;
        true
    }

    /// Whether there is a stream again.
    async fn connect(&mut self) -> Result<bool, ClientError> {
        let after = match self.seen {
            0 => self.last,
            _ => Generation(self.last.0.saturating_sub(1)),
        };
        match self.session.client.events(Some(after)).await {
            Ok(stream) => {
                self.skip = self.seen;
                self.stream = Some(stream);
                Ok(true)
            }
            Err(ClientError::Problem(problem)) if problem.status == GONE => {
                self.session.screen.say("mezame: what happened meanwhile is no longer kept");
                (self.last, self.seen) = (now(self.session).await?, 0);
                Ok(false)
            }
            Err(error) if error.exit() == Exit::Unreachable => Ok(false),
            Err(error) if error.exit() == Exit::Failure => {
                self.session.screen.say(&format!("mezame: {}", chain(&error)));
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

/// HTTP's status for events that are no longer kept.
const GONE: u16 = 410;

/// The generation of now. Asked for, so that nothing is missed if the first connection is lost
/// before its first event.
async fn now(session: &Session<'_>) -> Result<Generation, ClientError> {
    Ok(session.client.list(Kind::Project, None).await?.generation)
}

pub(super) async fn run(session: &Session<'_>, arguments: WatchArguments) -> Result<Exit, Failure> {
    let mut events = Following::begin(session, arguments.after).await?;
    session.screen.say(&format!("watching from generation {} on; end with Ctrl-C", events.last));
    loop {
        let event = match (&mut events.stream, arguments.once) {
            (Some(stream), true) => match stream.next().await {
                Some(event) => Some(event?),
                None => return Ok(Exit::Success),
            },
            _ => events.next().await?,
        };
        let Some(event) = event else { continue };
        let is_wanted =
            session.project.as_ref().is_none_or(|project| project.as_str() == event.project);
        if is_wanted {
            show(session, &event)?;
        }
    }
}

fn show(session: &Session<'_>, event: &Event) -> Result<(), Failure> {
    let screen = session.screen;
    let text = match screen.format {
        Format::Json => {
            format!("{}\n", serde_json::to_string(event).map_err(std::io::Error::from)?)
        }
        Format::Yaml => {
            format!("---\n{}", serde_yaml::to_string(event).map_err(std::io::Error::other)?)
        }
        Format::Name => format!("{}/{}\n", lower(event.kind), text::line(&event.name)),
        Format::Table | Format::Wide | Format::Seed => {
            let place = match event.kind {
                Kind::Project => event.name.clone(),
                _ => format!("{}/{}", event.project, event.name),
            };
            let line = format!(
                "{}  {:>6}  {:<19}  {:<8}  {}  {}",
                text::timestamp(event.at_ms),
                event.generation,
                text::line(&event.what),
                lower(event.kind),
                text::line(&place),
                text::line(&event.detail),
            );
            format!("{}\n", line.trim_end())
        }
    };
    screen.print(&text)?;
    Ok(())
}
