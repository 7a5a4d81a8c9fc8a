//! `volume pool`: what volumes lie on.

use mezame_model::api::volumes::{NewPool, Pool, PoolDiskState};

use super::Session;
use crate::{command::PoolCommand, exit::Exit, failure::Failure, size, table::Table, text};

pub(super) async fn run(session: &Session<'_>, command: PoolCommand) -> Result<Exit, Failure> {
    match command {
        PoolCommand::Create { pool, take_over } => {
            let made = session.client.create_pool(&pool.0, &NewPool { take_over }).await?;
            if session.screen.is_data() {
                session.screen.print_value(&made)?;
                return Ok(Exit::Success);
            }
            session.screen.say(&format!("the pool {} is at {}", made.name, place(&made)));
            for disk in made.disks.iter().filter(|disk| disk.state == PoolDiskState::Away) {
                let why = disk.why.as_deref().map(text::line).unwrap_or_default();
                let disk = text::line(&disk.disk);
                session.screen.say(&format!("{disk} can't be read, and was not taken in: {why}"));
            }
            Ok(Exit::Success)
        }
        PoolCommand::List => list(session, &session.client.pools().await?),
    }
}

/// Where a pool is, for people.
fn place(pool: &Pool) -> String {
    match &pool.directory {
        Some(directory) => text::line(&directory.display().to_string()),
        None => {
            let is_ours = |state| matches!(state, PoolDiskState::Free | PoolDiskState::Taken);
            let ours = pool.disks.iter().filter(|disk| is_ours(disk.state)).count();
            format!("{ours} of {} {}", pool.disks.len(), pool.kind.as_str())
        }
    }
}

fn list(session: &Session<'_>, pools: &[Pool]) -> Result<Exit, Failure> {
    let name = |it: &Pool| format!("pool/{}", it.name);
    if !session.screen.wants_table(pools, "there are no pools", name)? {
        return Ok(Exit::Success);
    }
    let bytes = |bytes: Option<u64>| bytes.map(size::show).unwrap_or_default();
    let headings = ["NAME", "DEFAULT", "HOST", "PLACE", "SIZE", "USED", "FREE", "STATE"];
    let mut table = Table::new(headings);
    let mut disks = Table::new(["POOL", "DISK", "SIZE", "STATE", "VOLUME", "WHY"]);
    for pool in pools {
        table.row([
            pool.name.clone(),
            if pool.is_default { "yes" } else { "" }.to_owned(),
            pool.host.clone(),
            place(pool),
            bytes(pool.size),
            bytes(pool.used),
            bytes(pool.free),
            pool.why.clone().unwrap_or_else(|| "there".into()),
        ]);
        for disk in &pool.disks {
            disks.row([
                pool.name.clone(),
                disk.disk.clone(),
                bytes(disk.size),
                disk.state.as_str().into(),
                disk.volume.clone().unwrap_or_default(),
                disk.why.clone().unwrap_or_default(),
            ]);
        }
    }
    let mut out = table.render(0);
    if !disks.is_empty() {
        out += &format!("\n{}", disks.render(0));
    }
    session.screen.print(&out)?;
    Ok(Exit::Success)
}
