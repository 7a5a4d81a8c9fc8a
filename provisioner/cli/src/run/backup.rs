//! `backup`: points in time of volumes, and new volumes out of them.

use mezame_model::api::{
    jobs::JobState,
    volumes::{Backup, NewBackup, NewVolume, PruneBackups},
};

use super::{
    Session,
    freezing::freezing_of,
    job, schedule,
    told::{SPACE, told},
    volume::limits_of,
};
use crate::{
    command::{BackupCommand, CreateBackupArguments, PruneArguments, RestoreArguments},
    exit::Exit,
    failure::Failure,
    screen::Format,
    size,
    table::Table,
    text,
};

pub(super) async fn run(session: &Session<'_>, command: BackupCommand) -> Result<Exit, Failure> {
    let (client, project) = (&session.client, session.project()?);
    match command {
        BackupCommand::Create(arguments) => create(session, arguments).await,
        BackupCommand::List { volume } => {
            let volume = volume.as_ref().map(|volume| volume.0.as_str());
            list(session, &client.backups(project, volume).await?)
        }
        BackupCommand::Show(name) => show(session, &client.backup(project, &name.backup.0).await?),
        BackupCommand::Delete(name) => {
            client.delete_backup(project, &name.backup.0).await?;
            let id = &name.backup.0;
            told(session, id, "deleted", &format!("{id} is deleted{SPACE}"))
        }
        BackupCommand::Prune(arguments) => prune(session, arguments).await,
        BackupCommand::Restore(arguments) => restore(session, arguments).await,
        BackupCommand::Schedule(command) => schedule::run(session, command).await,
    }
}

async fn create(session: &Session<'_>, arguments: CreateBackupArguments) -> Result<Exit, Failure> {
    let (client, project) = (&session.client, session.project()?);
    let new = NewBackup {
        volumes: arguments.volumes.into_iter().map(|volume| volume.0).collect(),
        qmp: arguments.qmp,
        full: arguments.full,
        name: arguments.name,
        freeze: freezing_of(arguments.freeze),
    };
    let begun = client.back_up(project, &new).await?;
    if arguments.detach.detach {
        return job::follow(session, Some(project), begun, true).await;
    }
    job::tell_how_to_wait(session, Some(project), &begun);
    let job = job::ended(session, Some(project), begun).await?;
    let mut made = Vec::with_capacity(job.backups.len());
    for id in &job.backups {
        made.push(client.backup(project, id).await?);
    }
    // Also of one that failed in part: what is there is told.
    if job.state == JobState::Done || !made.is_empty() {
        list(session, &made)?;
    }
    if job.state == JobState::Done { Ok(Exit::Success) } else { Err(Failure::Job(Box::new(job))) }
}

async fn prune(session: &Session<'_>, arguments: PruneArguments) -> Result<Exit, Failure> {
    let PruneArguments { volume, keep, dry_run } = arguments;
    let (client, project) = (&session.client, session.project()?);
    let wanted = PruneBackups { volume: volume.0, keep: keep.into() };
    // What is deleted can't be shown afterwards.
    let all = match session.screen.is_data() {
        true => Vec::new(),
        false => client.backups(project, Some(&wanted.volume)).await?,
    };
    let mut pruned = client.prune_backups(project, &wanted, dry_run).await?;
    let failed = |faults: Vec<_>| {
        if faults.is_empty() { Ok(Exit::Success) } else { Err(Failure::Pruned(faults)) }
    };
    if session.screen.is_data() {
        session.screen.print_value(&pruned)?;
        return failed(std::mem::take(&mut pruned.faults));
    }
    let gone: Vec<Backup> =
        all.into_iter().filter(|backup| pruned.dropped.contains(&backup.id)).collect();
    if !gone.is_empty() {
        list(session, &gone)?;
    }
    let done = if dry_run { "would be deleted" } else { "are deleted" };
    let (kept, dropped) = (pruned.kept.len(), pruned.dropped.len());
    let all = kept + dropped + pruned.faults.len();
    session.screen.say(&format!("{dropped} of {all} backups {done}"));
    failed(pruned.faults)
}

async fn restore(session: &Session<'_>, arguments: RestoreArguments) -> Result<Exit, Failure> {
    let (client, project) = (&session.client, session.project()?);
    // An image that is no backup is not what is meant.
    let backup = client.backup(project, &arguments.backup.backup.0).await?;
    let new = NewVolume {
        id: arguments.to.0,
        image: Some(backup.id),
        pool: arguments.pool,
        class: arguments.class.0,
        flush_ms: arguments.flush_interval,
        size: arguments.size,
        encrypted: arguments.encrypted,
        limits: limits_of(&arguments.limits),
    };
    let begun = client.create_volume(project, &new).await?;
    job::follow(session, Some(project), begun, arguments.detach.detach).await
}

fn list(session: &Session<'_>, backups: &[Backup]) -> Result<Exit, Failure> {
    let screen = session.screen;
    let name = |it: &Backup| format!("backup/{}", it.id);
    if !screen.wants_table(backups, "there are no backups", name)? {
        return Ok(Exit::Success);
    }
    let is_wide = screen.format == Format::Wide;
    let columns = ["VOLUME", "TAKEN", "ID", "SIZE", "CONSISTENCY", "READ", "FREEZE", "SCHEDULE"];
    let mut table = Table::new(columns.into_iter().chain(is_wide.then_some("NAME")));
    for backup in backups {
        let row = [
            backup.volume.clone(),
            text::timestamp(backup.taken_ms),
            backup.id.clone(),
            size::show(backup.size),
            backup.consistency.clone(),
            read(backup, is_wide).to_owned(),
            freeze(backup),
            backup.schedule.clone().unwrap_or_default(),
        ];
        let name = is_wide.then(|| backup.name.clone().unwrap_or_default());
        table.row(row.into_iter().chain(name));
    }
    screen.print(&table.render(0))?;
    Ok(Exit::Success)
}

/// What was read, and where there is room why that was all.
fn read(backup: &Backup, is_wide: bool) -> &str {
    let short = backup.read.split_once(':').map_or(&*backup.read, |(what, _)| what);
    if is_wide { &backup.read } else { short }
}

/// Why its guest was not frozen, or what of it was not.
fn freeze(backup: &Backup) -> String {
    let left_out = backup.left_out.as_ref().map(|it| format!("without {it}"));
    text::line(backup.why_crash.as_ref().or(left_out.as_ref()).map_or("", String::as_str))
}

fn show(session: &Session<'_>, backup: &Backup) -> Result<Exit, Failure> {
    if session.screen.is_data() {
        session.screen.print_value(backup)?;
        return Ok(Exit::Success);
    }
    let mut out = String::new();
    for (what, said) in [
        ("Id", backup.id.clone()),
        ("Name", backup.name.clone().unwrap_or_default()),
        ("Volume", backup.volume.clone()),
        ("Taken", text::timestamp(backup.taken_ms)),
        ("Point", backup.point.clone()),
        ("Consistency", backup.consistency.clone()),
        ("Not frozen", backup.why_crash.clone().unwrap_or_default()),
        ("Left out", backup.left_out.clone().unwrap_or_default()),
        ("Read", backup.read.clone()),
        ("Schedule", backup.schedule.clone().unwrap_or_default()),
        ("Size", format!("{} ({} bytes)", size::show(backup.size), backup.size)),
    ] {
        if !said.is_empty() {
            out += &format!("{:<13}{}\n", format!("{what}:"), text::line(&said));
        }
    }
    session.screen.print(&out)?;
    Ok(Exit::Success)
}
