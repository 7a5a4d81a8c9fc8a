//! Jobs without an archive.

use mezame_images::archive::Phase;

use super::{kept::KEPT, *};
use crate::environment::fixed::FixedEnvironment;

fn table(journal: Option<Journal>) -> (Arc<FixedEnvironment>, Arc<Jobs>) {
    let environment = Arc::new(FixedEnvironment::new());
    let jobs = Jobs::open(journal, Arc::clone(&environment) as _, 3).unwrap();
    (environment, jobs)
}

/// How long a test's records may take.
const SOON: Duration = Duration::from_secs(60);

fn project(name: &str) -> ProjectName {
    ProjectName::parse(name).unwrap()
}

fn begin(jobs: &Arc<Jobs>, project: Option<&ProjectName>, state: JobState) -> Ticket {
    jobs.begin(JobKind::Verify, project, None, state).unwrap()
}

#[test]
fn what_was_unfinished_when_the_provisioner_ended_is_told_as_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Journal::open(&folder.path().join("jobs")).unwrap();
    let (_, jobs) = table(Some(open()));
    let running = begin(&jobs, None, JobState::Queued);
    running.enter(JobState::Running);
    let done = begin(&jobs, None, JobState::Running);
    let (running_id, done_id) = (running.id().to_owned(), done.id().to_owned());
    let figures = [("chunks".to_owned(), 7)].into();
    done.finish(Ok(Outcome { figures, ..Outcome::default() }));
    // As a kill does: nobody says a word.
    std::mem::forget(running);
    jobs.close(SOON);
    std::fs::write(folder.path().join("jobs/job-torn.json"), "{").unwrap();

    let (_, again) = table(Some(open()));
    let interrupted = again.get(None, &running_id).unwrap();
    assert_eq!(interrupted.state, JobState::Interrupted);
    assert!(interrupted.ended_ms.is_some() && !interrupted.faults[0].mend.is_empty());
    assert_eq!(again.get(None, &done_id).unwrap().figures["chunks"], 7);
    assert_eq!((again.list(None).len(), again.unfinished()), (2, 0));
}

#[test]
fn whoever_asks_for_jobs_does_not_wait_for_the_disk() {
    // A pipe that nobody reads: to open it for writing blocks as a disk that hangs does.
    let folder = tempfile::tempdir().unwrap();
    let (environment, jobs) = table(Some(Journal::open(folder.path()).unwrap()));
    let _keep = environment;
    let pipe = |id: &str| {
        let path = folder.path().join(format!("{id}.new"));
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        path
    };
    let ticket = begin(&jobs, None, JobState::Queued);
    let id = ticket.id().to_owned();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut ticket = ticket;
    runtime.block_on(ticket.noted()).unwrap();
    let path = pipe(&id);
    ticket.enter(JobState::Running);
    assert_eq!(jobs.get(None, &id).unwrap().state, JobState::Running);
    assert_eq!((jobs.list(None).len(), jobs.unfinished()), (1, 1));
    jobs.cancel(None, &id).unwrap();
    ticket.finish(Err(Unfinished::Cancelled));
    assert!(!jobs.journal.as_ref().unwrap().close(Duration::from_millis(50)));
    // The thread goes on once the pipe has a reader: a pipe can't be made durable.
    let reader = std::fs::File::open(path).unwrap();
    assert!(jobs.journal.as_ref().unwrap().close(SOON));
    drop(reader);
}

#[test]
fn so_many_jobs_may_be_unfinished_and_no_more() {
    let (_, jobs) = table(None);
    let held: Vec<Ticket> = (0..3).map(|_| begin(&jobs, None, JobState::Queued)).collect();
    let refused = jobs.begin(JobKind::Collect, None, None, JobState::Queued);
    assert!(matches!(refused, Err(JobsError::TooMany { most: 3, .. })));
    drop(held);
    begin(&jobs, None, JobState::Queued).finish(Ok(Outcome::default()));
}

#[test]
fn the_oldest_that_ended_are_forgotten_in_the_journal_too() {
    let folder = tempfile::tempdir().unwrap();
    let (environment, jobs) = table(Some(Journal::open(folder.path()).unwrap()));
    for _ in 0..KEPT + 5 {
        environment.advance_ms(1);
        begin(&jobs, None, JobState::Running).finish(Ok(Outcome::default()));
    }
    assert_eq!(jobs.list(None).len(), KEPT + 1);
    jobs.close(SOON);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), KEPT + 1);
    let listed = jobs.list(None);
    assert!(listed.windows(2).all(|pair| pair[0].id > pair[1].id));
}

#[test]
fn a_long_job_is_told_of_when_it_ends_and_a_busy_project_pushes_out_its_own_alone() {
    let (environment, jobs) = table(None);
    let (busy, calm) = (project("busy"), project("calm"));
    let long = begin(&jobs, Some(&busy), JobState::Running);
    let quiet = begin(&jobs, Some(&calm), JobState::Running);
    let (long_id, quiet_id) = (long.id().to_owned(), quiet.id().to_owned());
    quiet.finish(Ok(Outcome::default()));
    let mut first = None;
    for _ in 0..KEPT {
        environment.advance_ms(1);
        let short = begin(&jobs, Some(&busy), JobState::Running);
        first.get_or_insert(short.id().to_owned());
        short.finish(Ok(Outcome::default()));
    }
    environment.advance_ms(1);
    long.finish(Ok(Outcome::default()));
    begin(&jobs, Some(&busy), JobState::Running).finish(Ok(Outcome::default()));
    assert_eq!(jobs.get(None, &long_id).map(|job| job.state), Some(JobState::Done));
    assert_eq!(jobs.get(None, &quiet_id).map(|job| job.state), Some(JobState::Done));
    assert!(jobs.get(None, &first.unwrap()).is_none());
}

#[test]
fn what_ended_in_a_project_that_is_no_more_is_forgotten_in_the_journal_too() {
    let folder = tempfile::tempdir().unwrap();
    let (_, jobs) = table(Some(Journal::open(folder.path()).unwrap()));
    let (gone, there) = (project("gone"), project("there"));
    for whose in [Some(&gone), Some(&there), None] {
        begin(&jobs, whose, JobState::Running).finish(Ok(Outcome::default()));
    }
    jobs.forget_projects(|project| project == "there");
    assert_eq!((jobs.list(Some(&gone)).len(), jobs.list(Some(&there)).len()), (0, 1));
    jobs.close(SOON);
    assert_eq!((jobs.list(None).len(), std::fs::read_dir(folder.path()).unwrap().count()), (2, 2));
}

#[test]
fn a_job_whose_owner_says_nothing_has_failed() {
    let (_, jobs) = table(None);
    let ticket = begin(&jobs, None, JobState::Running);
    let id = ticket.id().to_owned();
    drop(ticket);
    let job = jobs.get(None, &id).unwrap();
    assert_eq!((job.state, job.faults.len()), (JobState::Failed, 1));
}

#[test]
fn a_job_is_seen_and_ended_by_its_project_alone() {
    let (_, jobs) = table(None);
    let (web, other) = (project("web"), project("other"));
    let ticket = begin(&jobs, Some(&web), JobState::Running);
    let id = ticket.id().to_owned();
    assert!(jobs.get(Some(&other), &id).is_none() && jobs.cancel(Some(&other), &id).is_none());
    assert!(!ticket.ticker().is_cancelled());
    assert_eq!((jobs.list(Some(&web)).len(), jobs.list(Some(&other)).len()), (1, 0));
    jobs.cancel(Some(&web), &id).unwrap();
    assert!(ticket.ticker().is_cancelled());
    ticket.finish(Err(Unfinished::Cancelled));
    assert_eq!(jobs.get(None, &id).unwrap().state, JobState::Cancelled);
}

#[test]
fn a_file_is_taken_once_and_not_for_ever() {
    let (environment, jobs) = table(None);
    let web = project("web");
    let await_file = || {
        let ticket = begin(&jobs, Some(&web), JobState::Awaiting);
        let id = ticket.id().to_owned();
        ticket.leave();
        id
    };
    let id = await_file();
    let taken = Ticket::take(&jobs, &web, &id).unwrap();
    assert!(matches!(Ticket::take(&jobs, &web, &id), Err(JobsError::NotAwaiting { .. })));
    taken.finish(Ok(Outcome::default()));
    let late = await_file();
    environment.advance_ms(AWAITED_MS + 1);
    assert!(matches!(Ticket::take(&jobs, &web, &late), Err(JobsError::NotAwaiting { .. })));
    assert_eq!(jobs.get(None, &late).unwrap().state, JobState::Failed);
    let dropped = await_file();
    assert_eq!(jobs.cancel(None, &dropped).unwrap().state, JobState::Cancelled);
}

#[test]
fn what_the_end_cuts_short_is_interrupted_and_nothing_begins_after_it() {
    let (_, jobs) = table(None);
    let running = begin(&jobs, None, JobState::Running);
    let id = running.id().to_owned();
    jobs.end();
    assert!(running.ticker().is_cancelled());
    running.finish(Err(Unfinished::Cancelled));
    assert_eq!(jobs.get(None, &id).unwrap().state, JobState::Interrupted);
    let refused = jobs.begin(JobKind::Collect, None, None, JobState::Queued);
    assert!(matches!(refused, Err(JobsError::Ending)));
}

#[test]
fn how_far_a_job_is_is_told() {
    let (_, jobs) = table(None);
    let ticket = begin(&jobs, None, JobState::Running);
    ticket.ticker().tell(Progress { done: 5, total: 9, written: 1 });
    let job = ticket.shown().unwrap();
    assert_eq!((job.done, job.total, job.phase), (5, 9, None));
    ticket.enter(JobState::Queued);
    let job = ticket.shown().unwrap();
    assert_eq!((job.done, job.total), (0, 0));
    ticket.enter(JobState::Running);
    ticket.ticker().enter(Phase::Converting);
    ticket.ticker().tell(Progress { done: 2, total: 4, written: 0 });
    let job = ticket.shown().unwrap();
    assert_eq!((job.done, job.phase.as_deref()), (2, Some("converting")));
    ticket.finish(Ok(Outcome::default()));
}
