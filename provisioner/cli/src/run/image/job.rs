//! Long work: followed to its end, or listed.
//!
//! A job sends no events, so it is asked for, more seldom the longer it takes.

use std::time::{Duration, Instant};

use mezame_model::{
    ProjectName,
    api::images::{ImageJob, ImageWork, JobState},
};

use super::Session;
use crate::{exit::Exit, failure::Failure, progress::Bar, table::Table, text};

/// Between the first two looks; each pause is half as long again.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long it is looked again where nobody answers: a restart takes less.
const PATIENCE: Duration = Duration::from_secs(180);

/// Says a job's id, waits for its end and tells what came of it; only tells its id where `detach`
/// says so.
pub(in crate::run) async fn follow(
    session: &Session<'_>,
    project: Option<&ProjectName>,
    job: ImageJob,
    detach: bool,
) -> Result<Exit, Failure> {
    if detach {
        return tell(session, &job);
    }
    tell_how_to_wait(session, project, &job);
    wait(session, project, job).await
}

/// Says a job's id before it is waited for: whoever stops waiting needs it.
pub(in crate::run) fn tell_how_to_wait(
    session: &Session<'_>,
    project: Option<&ProjectName>,
    job: &ImageJob,
) {
    if job.state.is_end() {
        return;
    }
    let id = text::line(&job.id);
    let command = match project {
        Some(project) => format!("mezame image jobs {id} -p {project}"),
        None => format!("mezame image archive jobs {id}"),
    };
    session.screen.say(&format!("{id}: it goes on by itself; '{command}' waits for it"));
}

/// Waits for a job's end and tells what came of it.
pub(super) async fn wait(
    session: &Session<'_>,
    project: Option<&ProjectName>,
    job: ImageJob,
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
pub(in crate::run) async fn ended(
    session: &Session<'_>,
    project: Option<&ProjectName>,
    mut job: ImageJob,
) -> Result<ImageJob, Failure> {
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
) -> Result<ImageJob, Failure> {
    let begun = Instant::now();
    loop {
        match session.client.image_job(project, id).await {
            Err(error) if error.is_passing() && begun.elapsed() < PATIENCE => {
                tokio::time::sleep(LONGEST_PAUSE).await;
            }
            other => return Ok(other?),
        }
    }
}

fn doing(job: &ImageJob) -> &'static str {
    match (job.state, job.what) {
        (JobState::Running, _) if job.phase.as_deref() == Some("checking") => "checking",
        (JobState::Running, _) if job.phase.as_deref() == Some("converting") => "converting",
        (JobState::Awaiting | JobState::Uploading, _) => "sending",
        (JobState::Queued, _) => "waiting",
        (_, ImageWork::Import) => "archiving",
        (_, ImageWork::Verify | ImageWork::Scrub) => "verifying",
        (_, ImageWork::Collect) => "collecting",
        (_, ImageWork::CreateVolume) => "making",
        (_, ImageWork::RotateKey) => "changing keys",
        (_, ImageWork::Hydrate) => "copying",
        (_, ImageWork::Backup) => "backing up",
        (_, ImageWork::RestoreVolume) => "restoring",
        (_, ImageWork::Capture) => "capturing",
        (_, ImageWork::ResizeVolume) => "making longer",
    }
}

fn tell(session: &Session<'_>, job: &ImageJob) -> Result<Exit, Failure> {
    let screen = session.screen;
    if screen.is_data() {
        screen.print_value(job)?;
        return Ok(Exit::Success);
    }
    match (&job.image, job.state) {
        (Some(image), JobState::Done)
            if matches!(job.what, ImageWork::Import | ImageWork::Capture) =>
        {
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

fn figures(job: &ImageJob) -> String {
    let figures = job.figures.iter().map(|(name, number)| format!("{} {number}", text::line(name)));
    let figures = figures.collect::<Vec<_>>().join(", ");
    if figures.is_empty() { String::new() } else { format!(": {figures}") }
}

pub(in crate::run) fn tell_cancelled(
    session: &Session<'_>,
    job: &ImageJob,
) -> Result<Exit, Failure> {
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
fn about(job: &ImageJob) -> String {
    if job.volumes.is_empty() {
        return job.image.clone().unwrap_or_default();
    }
    job.volumes.join(", ")
}

pub(super) fn list(session: &Session<'_>, jobs: &[ImageJob]) -> Result<Exit, Failure> {
    let screen = session.screen;
    let name = |it: &ImageJob| format!("job/{}", it.id);
    if !screen.wants_table(jobs, "there is no long work", name)? {
        return Ok(Exit::Success);
    }
    let mut table =
        Table::new(["ID", "WHAT", "PROJECT", "STATE", "DONE", "CREATED", "ABOUT", "WHY"]);
    for job in jobs {
        let done = match job.total {
            0 => String::new(),
            total => format!("{}%", u128::from(job.done.min(total)) * 100 / u128::from(total)),
        };
        let why = job.faults.first().map(|fault| fault.message.clone());
        table.row([
            job.id.clone(),
            job.what.as_str().to_owned(),
            job.project.clone().unwrap_or_default(),
            job.state.as_str().to_owned(),
            done,
            text::timestamp(job.created_ms),
            about(job),
            why.unwrap_or_default(),
        ]);
    }
    screen.print(&table.render(0))?;
    Ok(Exit::Success)
}
