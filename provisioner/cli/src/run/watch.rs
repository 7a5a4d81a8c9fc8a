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
pub(super) struct Following<'session> {
    session: &'session Session<'session>,
    after: Generation,
    stream: Option<EventStream>,
    wait: Duration,
}

impl<'session> Following<'session> {
    /// Begins after a generation, or now. Fails if the first connection does.
    pub(super) async fn begin(
        session: &'session Session<'session>,
        after: Option<Generation>,
    ) -> Result<Self, ClientError> {
        let after = match after {
            Some(after) => after,
            // So that nothing is missed if the first connection is lost before its first event.
            None => session.client.list(Kind::Project, None).await?.generation,
        };
        let stream = session.client.events(Some(after)).await?;
        Ok(Self { session, after, stream: Some(stream), wait: BACKOFF.0 })
    }

    /// The next event; none once when a lost connection was made anew (something may have
    /// happened meanwhile). Fails where connecting anew would not help.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            match &mut self.stream {
                Some(stream) => match stream.next().await {
                    Some(Ok(event)) => {
                        self.after = self.after.max(event.generation);
                        self.wait = BACKOFF.0;
                        return Ok(Some(event));
                    }
                    Some(Err(error @ ClientError::Answer(_))) => return Err(error),
                    Some(Err(_)) | None => {
                        self.stream = None;
                        self.session.screen.say("mezame: the connection was lost; connecting anew");
                    }
                },
                None => {
                    tokio::time::sleep(self.wait).await;
                    self.wait = (self.wait * 2).min(BACKOFF.1);
                    match self.session.client.events(Some(self.after)).await {
                        Ok(stream) => {
                            self.stream = Some(stream);
                            return Ok(None);
                        }
                        Err(error) if error.exit() == Exit::Unreachable => {}
                        Err(error @ ClientError::Problem(_)) if error.exit() != Exit::Failure => {
                            return Err(error);
                        }
                        Err(error) => {
                            self.session.screen.say(&format!("mezame: {}", chain(&error)));
                        }
                    }
                }
            }
        }
    }
}

pub(super) async fn run(session: &Session<'_>, arguments: WatchArguments) -> Result<Exit, Failure> {
    let mut events = Following::begin(session, arguments.after).await?;
    session.screen.say(&format!("watching from generation {} on; end with Ctrl-C", events.after));
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
