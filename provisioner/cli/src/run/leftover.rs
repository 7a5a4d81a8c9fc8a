//! `volume leftover`: old contents that restores in place have kept.

use mezame_model::api::volumes::Leftover;

use super::Session;
use crate::{command::LeftoverCommand, exit::Exit, failure::Failure, size, table::Table, text};

pub(super) async fn run(session: &Session<'_>, command: LeftoverCommand) -> Result<Exit, Failure> {
    match command {
        LeftoverCommand::List => list(session, &session.client.leftovers().await?),
        LeftoverCommand::Delete { files } => {
            for it in files {
                let deleted = session.client.delete_leftover(&it.pool, &it.file).await?;
                let doubt = deleted.doubt.map(|doubt| {
                    format!(", and a copy of its keys' encrypted form may be left: {doubt}")
                });
                let doubt = text::line(&doubt.unwrap_or_default());
                session.screen.say(&format!("{}/{} is deleted{doubt}", it.pool, it.file));
            }
            Ok(Exit::Success)
        }
    }
}

fn list(session: &Session<'_>, leftovers: &[Leftover]) -> Result<Exit, Failure> {
    let name = |it: &Leftover| format!("{}/{}", it.pool, it.file);
    if !session.screen.wants_table(leftovers, "nothing is left", name)? {
        return Ok(Exit::Success);
    }
    let mut table = Table::new(["FILE", "TAKES", "VOLUME", "KNOWN", "HOST"]);
    for it in leftovers {
        table.row([
            text::line(&name(it)),
            size::show(it.bytes),
            it.volume.clone(),
            if it.known { "yes" } else { "no" }.to_owned(),
            it.host.clone(),
        ]);
    }
    session.screen.print(&table.render(0))?;
    Ok(Exit::Success)
}
