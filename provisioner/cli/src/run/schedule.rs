//! `backup schedule`: when volumes are backed up by themselves, and what is kept.

use mezame_model::api::schedules::{Keep, Schedule, ScheduleView};

use super::{
    Session,
    freezing::{self, freezing_of},
    told::told as say,
};
use crate::{
    client::{Precondition, error::ClientError},
    command::{CreateScheduleArguments, ScheduleCommand, SetScheduleArguments},
    exit::Exit,
    failure::Failure,
    screen::Format,
    table::Table,
    text,
};

pub(super) async fn run(session: &Session<'_>, command: ScheduleCommand) -> Result<Exit, Failure> {
    let (client, project) = (&session.client, session.project()?);
    match command {
        ScheduleCommand::Create(arguments) => create(session, arguments).await,
        ScheduleCommand::Set(arguments) => set(session, arguments).await,
        ScheduleCommand::List => list(session, &client.schedules(project).await?),
        ScheduleCommand::Show(name) => {
            show(session, &client.schedule(project, &name.name.0).await?)
        }
        ScheduleCommand::Pause(name) => {
            told(session, &client.pace_schedule(project, &name.name.0, true).await?)
        }
        ScheduleCommand::Resume(name) => {
            told(session, &client.pace_schedule(project, &name.name.0, false).await?)
        }
        ScheduleCommand::Delete(name) => {
            client.delete_schedule(project, &name.name.0).await?;
            let name = &name.name.0;
            say(session, name, "deleted", &format!("the schedule {name} is deleted"))
        }
    }
}

async fn create(
    session: &Session<'_>,
    arguments: CreateScheduleArguments,
) -> Result<Exit, Failure> {
    let spec = Schedule {
        volumes: arguments.volumes.into_iter().map(|volume| volume.0).collect(),
        qmp: arguments.qmp,
        when: arguments.when,
        keep: arguments.keep.into(),
        freeze: freezing_of(arguments.freeze),
        paused: arguments.pause,
    };
    let (name, project) = (arguments.name.name.0, session.project()?);
    let made = session.client.put_schedule(project, &name, &spec, &Precondition::Absent).await;
    told(session, &made.map_err(|error| is_there(error, &name))?)
}

/// A refusal to make one under a name that is in use, as what it is.
fn is_there(mut error: ClientError, name: &str) -> ClientError {
    if let ClientError::Problem(problem) = &mut error
        && problem.status == 412
    {
        (problem.kind, problem.status) = ("exists".into(), 409);
        problem.title = "There is a schedule of this name".into();
        problem.detail =
            format!("change it by 'mezame backup schedule set {name}', or take another");
    }
    error
}

async fn set(session: &Session<'_>, arguments: SetScheduleArguments) -> Result<Exit, Failure> {
    let (name, project) = (arguments.name.name.0.clone(), session.project()?);
    let before = session.client.schedule(project, &name).await?.spec;
    let spec = changed(before, arguments);
    told(session, &session.client.put_schedule(project, &name, &spec, &Precondition::Exists).await?)
}

/// A schedule with what is named changed.
fn changed(before: Schedule, named: SetScheduleArguments) -> Schedule {
    let volumes: Vec<String> = named.volumes.into_iter().map(|volume| volume.0).collect();
    let kept = before.keep;
    let frozen = if named.no_freeze { None } else { before.freeze.clone() };
    let keep = Keep {
        last: named.keep_last.unwrap_or(kept.last),
        hourly: named.keep_hourly.unwrap_or(kept.hourly),
        daily: named.keep_daily.unwrap_or(kept.daily),
        weekly: named.keep_weekly.unwrap_or(kept.weekly),
        monthly: named.keep_monthly.unwrap_or(kept.monthly),
        yearly: named.keep_yearly.unwrap_or(kept.yearly),
    };
    Schedule {
        volumes: if volumes.is_empty() { before.volumes.clone() } else { volumes },
        qmp: named.qmp.or_else(|| before.qmp.clone().filter(|_| !named.qmp_as_opened)),
        when: named.when.unwrap_or_else(|| before.when.clone()),
        keep,
        freeze: freezing_of(named.freeze).or(frozen),
        paused: before.paused,
    }
}

/// What it does next.
fn told(session: &Session<'_>, schedule: &ScheduleView) -> Result<Exit, Failure> {
    if session.screen.is_data() {
        session.screen.print_value(schedule)?;
        return Ok(Exit::Success);
    }
    session.screen.say(&format!("the schedule {} is due {}", schedule.name, due(schedule)));
    Ok(Exit::Success)
}

fn due(schedule: &ScheduleView) -> String {
    schedule.next_ms.map_or_else(|| "never: it is paused".into(), text::timestamp)
}

/// The last time, in a word.
fn last(schedule: &ScheduleView) -> String {
    schedule.last.as_ref().map(|run| run.outcome.clone()).unwrap_or_default()
}

fn list(session: &Session<'_>, schedules: &[ScheduleView]) -> Result<Exit, Failure> {
    let screen = session.screen;
    let name = |it: &ScheduleView| format!("schedule/{}", it.name);
    if !screen.wants_table(schedules, "there are no schedules", name)? {
        return Ok(Exit::Success);
    }
    let is_wide = screen.format == Format::Wide;
    let columns = ["NAME", "VOLUMES", "WHEN", "NEXT", "LAST", "DONE", "FAILURES"];
    let further = if is_wide { &["WAITS FOR", "WHY"][..] } else { &[] };
    let mut table = Table::new(columns.iter().chain(further).copied());
    for schedule in schedules {
        let row = [
            schedule.name.clone(),
            schedule.spec.volumes.join(", "),
            schedule.spec.when.clone(),
            due(schedule),
            last(schedule),
            schedule.done_ms.map(text::timestamp).unwrap_or_default(),
            schedule.failures.to_string(),
        ];
        let why = schedule.last.as_ref().and_then(|run| run.why.clone()).unwrap_or_default();
        let further = [schedule.waiting.clone().unwrap_or_default(), why];
        table.row(row.into_iter().chain(further.into_iter().filter(|_| is_wide)));
    }
    screen.print(&table.render(0))?;
    Ok(Exit::Success)
}

fn show(session: &Session<'_>, schedule: &ScheduleView) -> Result<Exit, Failure> {
    if session.screen.is_data() {
        session.screen.print_value(schedule)?;
        return Ok(Exit::Success);
    }
    let (spec, run) = (&schedule.spec, schedule.last.as_ref());
    let mut out = String::new();
    for (what, said) in [
        ("Name", schedule.name.clone()),
        ("Project", schedule.project.clone()),
        ("Volumes", spec.volumes.join(", ")),
        ("Monitor", monitor(spec)),
        ("When", spec.when.clone()),
        ("Keep", keep(spec.keep)),
        ("Freeze", spec.freeze.as_ref().map(freezing::shown).unwrap_or_default()),
        ("Next", due(schedule)),
        ("Waits for", schedule.waiting.clone().unwrap_or_default()),
        ("Done", schedule.done_ms.map(text::timestamp).unwrap_or_default()),
        ("Last", run.map(|it| text::timestamp(it.at_ms)).unwrap_or_default()),
        ("Outcome", last(schedule)),
        ("Job", run.and_then(|it| it.job.clone()).unwrap_or_default()),
        ("Why", run.and_then(|it| it.why.clone()).unwrap_or_default()),
        ("Dropped", run.map(|it| it.dropped.to_string()).unwrap_or_default()),
        ("Failures", schedule.failures.to_string()),
    ] {
        if !said.is_empty() {
            out += &format!("{:<13}{}\n", format!("{what}:"), text::line(&said));
        }
    }
    session.screen.print(&out)?;
    Ok(Exit::Success)
}

fn monitor(spec: &Schedule) -> String {
    spec.qmp.as_ref().map_or_else(|| "as opened".into(), |qmp| qmp.display().to_string())
}

fn keep(keep: Keep) -> String {
    let Keep { last, hourly, daily, weekly, monthly, yearly } = keep;
    let all = [
        ("last", last),
        ("hourly", hourly),
        ("daily", daily),
        ("weekly", weekly),
        ("monthly", monthly),
        ("yearly", yearly),
    ];
    let kept: Vec<String> = all
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    if kept.is_empty() { "all".into() } else { kept.join(", ") }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use mezame_model::api::freezing::Freezing;

    use super::*;
    use crate::command::{BackupCommand, Command, CommandLine};

    #[test]
    fn what_is_not_named_of_a_schedule_stays_its_pause_too() {
        let keep = Keep { last: 3, daily: 7, ..Keep::default() };
        let before = Schedule {
            volumes: vec!["web".into(), "data".into()],
            qmp: Some("/run/web.qmp".into()),
            when: "02:30".into(),
            keep,
            freeze: Some(Freezing { instance: Some("web".into()), ..Freezing::default() }),
            paused: true,
        };
        let set = |words: &[&str]| {
            let words = ["mezame", "backup", "schedule", "set", "nightly"].iter().chain(words);
            let Command::Backup(BackupCommand::Schedule(ScheduleCommand::Set(named))) =
                CommandLine::parse_from(words).command
            else {
                panic!("another command");
            };
            changed(before.clone(), named)
        };
        assert_eq!(set(&[]), before);
        let keep = Keep { daily: 14, last: 0, ..keep };
        let longer = set(&["--keep-daily", "14", "--keep-last", "0"]);
        assert_eq!(longer, Schedule { keep, ..before.clone() });
        let moved = set(&["web", "--when", "every 6h", "--qmp", "/run/x"]);
        let volumes = vec!["web".to_owned()];
        let (when, qmp) = ("every 6h".to_owned(), Some("/run/x".into()));
        assert_eq!(moved, Schedule { volumes, when, qmp, ..before.clone() });
        assert_eq!(set(&["--qmp-as-opened"]), Schedule { qmp: None, ..before.clone() });
        assert_eq!(set(&["--no-freeze"]), Schedule { freeze: None, ..before.clone() });
        let other = set(&["--instance", "db"]);
        assert_eq!(other.freeze.unwrap().instance.as_deref(), Some("db"));
    }
}
