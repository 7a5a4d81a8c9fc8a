//! `backup schedule`: when volumes are backed up by themselves, and what is kept.

use mezame_model::api::schedules::{Keep, Schedule, ScheduleView};

use super::{
    Session,
    freezing::{self, freezing_of},
};
use crate::{
    command::{CreateScheduleArguments, ScheduleCommand},
    exit::Exit,
    failure::Failure,
    table::Table,
    text,
};

pub(super) async fn run(session: &Session<'_>, command: ScheduleCommand) -> Result<Exit, Failure> {
    let (client, project) = (&session.client, session.project()?);
    match command {
        ScheduleCommand::Create(arguments) => create(session, arguments).await,
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
            session.screen.say(&format!("the schedule {} is deleted", name.name.0));
            Ok(Exit::Success)
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
        keep: Keep {
            last: arguments.keep_last,
            hourly: arguments.keep_hourly,
            daily: arguments.keep_daily,
            weekly: arguments.keep_weekly,
            monthly: arguments.keep_monthly,
            yearly: arguments.keep_yearly,
        },
        freeze: freezing_of(arguments.freeze),
        paused: arguments.pause,
    };
    let (name, project) = (arguments.name.name.0, session.project()?);
    told(session, &session.client.put_schedule(project, &name, &spec).await?)
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
    let mut table = Table::new(["NAME", "VOLUMES", "WHEN", "NEXT", "LAST", "DONE", "FAILURES"]);
    for schedule in schedules {
        table.row([
            schedule.name.clone(),
            schedule.spec.volumes.join(", "),
            schedule.spec.when.clone(),
            due(schedule),
            last(schedule),
            schedule.done_ms.map(text::timestamp).unwrap_or_default(),
            schedule.failures.to_string(),
        ]);
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
        ("Monitor", spec.qmp.display().to_string()),
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
