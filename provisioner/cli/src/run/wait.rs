//! `wait`: until an instance is configured, has posted a password, or is gone.
//!
//! Woken by events, never by a clock: the state is looked at again when something happened to the
//! instance, or when the connection had been lost.

use mezame_model::{
    api::{Kind, StoredReport},
    report::Outcome,
};

use super::{Session, reports, reset, watch::Following};
use crate::{
    client::error::ClientError,
    command::{Condition, WaitArguments},
    exit::Exit,
    failure::Failure,
    kind_name::Name,
};

pub(super) async fn run(session: &Session<'_>, arguments: WaitArguments) -> Result<Exit, Failure> {
    let name = session.name(Kind::Instance, &arguments.name)?;
    let about = |source| Failure::About { name: Box::new(name.clone()), source };
    let waiting = until(session, &name, arguments.condition);
    match tokio::time::timeout(arguments.timeout, waiting).await {
        Ok(end) => end.map_err(about),
        Err(_) => {
            session.screen.complain(&format!(
                "mezame: {name} was not {} within {} s",
                words(arguments.condition),
                arguments.timeout.as_secs_f32()
            ));
            Ok(Exit::TimedOut)
        }
    }
}

fn words(condition: Condition) -> &'static str {
    match condition {
        Condition::Configured => "configured",
        Condition::Password => "given a password",
        Condition::Deleted => "deleted",
    }
}

async fn until(
    session: &Session<'_>,
    name: &Name,
    condition: Condition,
) -> Result<Exit, ClientError> {
    let mut events = Following::begin(session, None).await?;
    loop {
        if let Some(exit) = look(session, name, condition).await? {
            return Ok(exit);
        }
        loop {
            match events.next().await? {
                Some(event) if !name.is_of(&event) => {}
                Some(_) | None => break,
            }
        }
    }
}

/// How the wait ends, if it does now.
async fn look(
    session: &Session<'_>,
    name: &Name,
    condition: Condition,
) -> Result<Option<Exit>, ClientError> {
    let resource = match session.client.fetch(name).await {
        Ok(tagged) => tagged.resource,
        Err(ClientError::Problem(problem))
            if problem.status == 404 && condition == Condition::Deleted =>
        {
            session.screen.say(&format!("{name} is gone"));
            return Ok(Some(Exit::Success));
        }
        Err(error) => return Err(error),
    };
    match condition {
        Condition::Deleted => Ok(None),
        Condition::Password => {
            let passwords = session.client.passwords(name).await?;
            let is_answered = reset::pending(&resource.status).is_empty();
            Ok((is_answered && !passwords.is_empty()).then(|| {
                session.screen.say(&format!("{name} has a password"));
                Exit::Success
            }))
        }
        Condition::Configured => {
            let stored = session.client.reports(name).await?;
            // A report of an instance that had this name before does not count.
            let id = resource.status["id"].as_str();
            let last = stored
                .iter()
                .find(|stored| id.is_none_or(|id| stored.report.instance_id.as_str() == id));
            Ok(last.map(|last| verdict(session, name, last)))
        }
    }
}

fn verdict(session: &Session<'_>, name: &Name, last: &StoredReport) -> Exit {
    if last.report.outcome == Outcome::Failed {
        let steps = reports::steps(last, session.screen.message_color);
        session.screen.complain(&format!("mezame: {name} failed\n{}", steps.trim_end()));
        return Exit::Failure;
    }
    let took = last.report.configured_ms.map(|ms| format!(" in {ms} ms")).unwrap_or_default();
    session.screen.say(&format!("{name} is configured{took}"));
    Exit::Success
}
