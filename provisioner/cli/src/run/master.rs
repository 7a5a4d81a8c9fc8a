//! `volume master`: what volumes are clones of.

use mezame_model::api::volumes::Master;

use super::Session;
use crate::{
    client::error::ClientError,
    command::{MasterCommand, MasterNameArgument},
    exit::Exit,
    failure::Failure,
    size,
    table::Table,
    text,
};

pub(super) async fn run(session: &Session<'_>, command: MasterCommand) -> Result<Exit, Failure> {
    match command {
        MasterCommand::List => list(session, &session.client.masters().await?),
        MasterCommand::Delete { unused: true, .. } => delete_unused(session).await,
        MasterCommand::Delete { masters, .. } => {
            for MasterNameArgument(name) in masters {
                session.client.delete_master(&name).await?;
                session.screen.say(&format!("the master {name} is deleted"));
            }
            Ok(Exit::Success)
        }
    }
}

/// Deletes all that no volume stands on. One that is used by now stays, and no more is said of it.
async fn delete_unused(session: &Session<'_>) -> Result<Exit, Failure> {
    let masters = session.client.masters().await?;
    let (mut count, mut bytes) = (0_usize, 0_u64);
    for master in masters.iter().filter(|master| master.volumes == 0) {
        match session.client.delete_master(&master.name).await {
            Ok(()) => (count, bytes) = (count + 1, bytes.saturating_add(master.bytes)),
            Err(ClientError::Problem(problem))
                if ["master-in-use", "not-found"].contains(&problem.kind.as_str()) => {}
            Err(error) => return Err(error.into()),
        }
    }
    session.screen.say(&format!("{count} masters are deleted, which took {}", size::show(bytes)));
    Ok(Exit::Success)
}

fn list(session: &Session<'_>, masters: &[Master]) -> Result<Exit, Failure> {
    let name = |it: &Master| format!("master/{}", it.name);
    if !session.screen.wants_table(masters, "there are no masters", name)? {
        return Ok(Exit::Success);
    }
    let mut table = Table::new(["NAME", "STATE", "TAKES", "SIZE", "VOLUMES", "ENCRYPTED", "HOST"]);
    for master in masters {
        table.row([
            text::line(&master.name),
            master.state.as_str().to_owned(),
            size::show(master.bytes),
            master.size.map(size::show).unwrap_or_default(),
            master.volumes.to_string(),
            if master.encrypted { "yes" } else { "no" }.to_owned(),
            master.host.clone(),
        ]);
    }
    session.screen.print(&table.render(0))?;
    Ok(Exit::Success)
}
