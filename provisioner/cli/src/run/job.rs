//! `job`: long work, listed, and followed to its end.
//!
//! A job sends no events, so it is asked for, more seldom the longer it takes.

use std::time::{Duration, Instant};

use mezame_model::{
    ProjectName,
    api::jobs::{Job, JobKind, JobState},
};

use super::Session;
use crate::{
    command::{JobCommand, Whose},
    exit::Exit,
    failure::Failure,
    progress::Bar,
    table::Table,
    text,
};

/// Between the first two looks; each pause is half as long again.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long it is looked again where nobody answers: a restart takes less.
const PATIENCE: Duration = Duration::from_secs(180);

pub(super) async fn run(session: &Session<'_>, command: JobCommand) -> Result<Exit, Failure> {
    let client = &session.client;
    match command {
        JobCommand::List { volume, unfinished, whose } => {
            let mut jobs = client.jobs(project_of(session, whose)?).await?;
            jobs.retain(|job| {
                volume.as_ref().is_none_or(|volume| job.volumes.contains(&volume.0))
                    && !(unfinished && job.state.is_end())
            });
            list(session, &jobs)
        }
        JobCommand::Show(name) => {
            show(session, &client.job(project_of(session, name.whose)?, &name.job.0).await?)
        }
        JobCommand::Wait(name) => {
            let project = project_of(session, name.whose)?;
            let job = client.job(project, &name.job.0).await?;
            wait(session, project, job).await
        }
        JobCommand::Cancel(name) => {
            let project = project_of(session, name.whose)?;
            tell_cancelled(session, &client.cancel_job(project, &name.job.0).await?)
        }
    }
}

/// The project whose jobs are meant; none for all.
fn project_of<'a>(
    session: &'a Session<'_>,
    whose: Whose,
) -> Result<Option<&'a ProjectName>, Failure> {
    if whose.all_projects { Ok(None) } else { session.project().map(Some) }
}

/// Says a job's id, waits for its end and tells what came of it; only tells its id where `detach`
/// says so.
pub(super) async fn follow(
    session: &Session<'_>,
    project: Option<&ProjectName>,
    job: Job,
    detach: bool,
) -> Result<Exit, Failure> {
    if detach {
        return tell(session, &job);
    }
    tell_how_to_wait(session, project, &job);
    wait(session, project, job).await
}

/// Says a job's id before it is waited for: whoever stops waiting needs it.
pub(super) fn tell_how_to_wait(session: &Session<'_>, project: Option<&ProjectName>, job: &Job) {
    if job.state.is_end() {
        return;
    }
    let id = text::line(&job.id);
    let command = match project {
        Some(project) => format!("mezame job wait {id} -p {project}"),
        None => format!("mezame job wait {id} --all-projects"),
    };
    session.screen.say(&format!("{id}: it goes on by itself; '{command}' waits for it"));
}

/// Waits for a job's end and tells what came of it.
pub(super) async fn wait(
    session: &Session<'_>,
    project: Option<&ProjectName>,
    job: Job,
) -> Result<Exit, Failure> {
    let job = ended(session, project, job).await?;
    if job.state == JobState::Done {
        return tell(session, &job);
    }
    if session.screen.is_data() {
        session.screen.print_value(&job)?;
    }
    Err(Failure::Job(Box::new(job)))
}

/// Waits for a job's end.
pub(super) async fn ended(
    session: &Session<'_>,
    project: Option<&ProjectName>,
    mut job: Job,
) -> Result<Job, Failure> {
    let mut bar = Bar::new(session.screen);
    let mut pause = FIRST_PAUSE;
    while !job.state.is_end() {
        bar.show(doing(&job), job.done, job.total);
        tokio::time::sleep(pause).await;
        pause = (pause + pause / 2).min(LONGEST_PAUSE);
        job = look(session, project, &job.id).await?;
    }
    Ok(job)
}

/// Looks at a job, and again for a while where nobody answers.
async fn look(
    session: &Session<'_>,
    project: Option<&ProjectName>,
    id: &str,
) -> Result<Job, Failure> {
    let begun = Instant::now();
    loop {
        match session.client.job(project, id).await {
            Err(error) if error.is_passing() && begun.elapsed() < PATIENCE => {
                tokio::time::sleep(LONGEST_PAUSE).await;
            }
            other => return Ok(other?),
        }
    }
}

fn doing(job: &Job) -> &'static str {
    match (job.state, job.what) {
        (JobState::Running, _) if job.phase.as_deref() == Some("checking") => "checking",
        (JobState::Running, _) if job.phase.as_deref() == Some("converting") => "converting",
        (JobState::Awaiting | JobState::Uploading, _) => "sending",
        (JobState::Queued, _) => "waiting",
        (_, JobKind::Import) => "archiving",
        (_, JobKind::Verify | JobKind::Scrub) => "verifying",
        (_, JobKind::Collect) => "collecting",
        (_, JobKind::CreateVolume) => "making",
        (_, JobKind::RotateKey) => "changing keys",
        (_, JobKind::Hydrate) => "copying",
        (_, JobKind::Backup) => "backing up",
        (_, JobKind::RestoreVolume) => "restoring",
        (_, JobKind::Capture) => "capturing",
        (_, JobKind::ResizeVolume) => "making longer",
    }
}

fn tell(session: &Session<'_>, job: &Job) -> Result<Exit, Failure> {
    let screen = session.screen;
    if screen.is_data() {
        screen.print_value(job)?;
        return Ok(Exit::Success);
    }
    match (&job.image, job.state) {
        (Some(image), JobState::Done) if matches!(job.what, JobKind::Import | JobKind::Capture) => {
            screen.print(&format!("{image}\n"))?;
        }
        (_, state) if !state.is_end() => screen.print(&format!("{}\n", job.id))?,
        _ => {}
    }
    screen.say(&format!("{} {}{}", job.what.as_str(), job.state.as_str(), figures(job)));
    for fault in &job.faults {
        screen.say(&format!("  {}: {}", text::line(&fault.path), text::line(&fault.message)));
    }
    Ok(Exit::Success)
}

fn figures(job: &Job) -> String {
    let figures = job.figures.iter().map(|(name, number)| format!("{} {number}", text::line(name)));
    let figures = figures.collect::<Vec<_>>().join(", ");
    if figures.is_empty() { String::new() } else { format!(": {figures}") }
}

fn tell_cancelled(session: &Session<'_>, job: &Job) -> Result<Exit, Failure> {
    if session.screen.is_data() {
        session.screen.print_value(job)?;
        return Ok(Exit::Success);
    }
    let said = match job.state {
        JobState::Cancelled => format!("{} is cancelled", job.id),
        state if state.is_end() => format!("{} had ended: {}", job.id, state.as_str()),
        _ => format!("{} ends as soon as it can", job.id),
    };
    session.screen.say(&said);
    Ok(Exit::Success)
}

/// The volumes that a job is about, or its image.
fn about(job: &Job) -> String {
    if job.volumes.is_empty() {
        return job.image.clone().unwrap_or_default();
    }
    job.volumes.join(", ")
}

fn list(session: &Session<'_>, jobs: &[Job]) -> Result<Exit, Failure> {
    let screen = session.screen;
    let name = |it: &Job| format!("job/{}", it.id);
    if !screen.wants_table(jobs, "there is no long work", name)? {
        return Ok(Exit::Success);
    }
    let mut table =
        Table::new(["ID", "WHAT", "PROJECT", "STATE", "DONE", "CREATED", "ABOUT", "WHY"]);
    for job in jobs {
        let why = job.faults.first().map(|fault| fault.message.clone());
        table.row([
            job.id.clone(),
            job.what.as_str().to_owned(),
            job.project.clone().unwrap_or_default(),
            job.state.as_str().to_owned(),
            done(job),
            text::timestamp(job.created_ms),
            about(job),
            why.unwrap_or_default(),
        ]);
    }
    screen.print(&table.render(0))?;
    Ok(Exit::Success)
}

/// How far it is.
fn done(job: &Job) -> String {
    match job.total {
        0 => String::new(),
        total => format!("{}%", u128::from(job.done.min(total)) * 100 / u128::from(total)),
    }
}

fn show(session: &Session<'_>, job: &Job) -> Result<Exit, Failure> {
    if session.screen.is_data() {
        session.screen.print_value(job)?;
        return Ok(Exit::Success);
    }
    let mut out = String::new();
    for (what, said) in [
        ("Id", job.id.clone()),
        ("What", job.what.as_str().into()),
        ("Project", job.project.clone().unwrap_or_default()),
        ("State", job.state.as_str().into()),
        ("At", job.phase.clone().unwrap_or_default()),
        ("Done", done(job)),
        ("Created", text::timestamp(job.created_ms)),
        ("Ended", job.ended_ms.map(text::timestamp).unwrap_or_default()),
        ("Volumes", job.volumes.join(", ")),
        ("Image", job.image.clone().unwrap_or_default()),
        ("Backups", job.backups.join(", ")),
        ("Came to", figures(job).trim_start_matches(": ").to_owned()),
    ] {
        if !said.is_empty() {
            out += &format!("{:<13}{}\n", format!("{what}:"), text::line(&said));
        }
    }
    for fault in &job.faults {
        let (path, message) = (text::line(&fault.path), text::line(&fault.message));
        out += &format!("{:<13}{path}: {message}\n", "Fault:");
        if !fault.mend.is_empty() {
            out += &format!("{:<13}{}\n", "Mend:", text::line(&fault.mend));
        }
    }
    session.screen.print(&out)?;
    Ok(Exit::Success)
}
