//! Long work that needs no file: verifying an image, and an operator's care of the whole archive.

use std::{collections::BTreeMap, sync::Arc};

use mezame_images::archive::{
    Archive, ImageId, ObjectName, Viewer, pack::PackFault, verify::Verified,
};
use mezame_model::{
    ProjectName,
    api::jobs::{Job, JobKind, JobState},
};

use super::{Images, ImagesError, KeyLookup, fault::of_archive};
use crate::{
    fault::{chain, plain},
    jobs::{Outcome, Ticker, Unfinished},
};

/// Places or packs that a job names; more are only counted.
const NAMED: usize = 100;

impl Images {
    /// Has all of an image read. `projects` is held.
    pub(crate) async fn begin_verify(
        self: &Arc<Self>,
        project: &ProjectName,
        id: ImageId,
    ) -> Result<Job, ImagesError> {
        let who = project.clone();
        // One that may not be seen is told at once.
        self.ask(move |archive, keys| {
            Ok(archive.view(id, Viewer::Project(&who), &|it: &ProjectName| keys(it)).map(drop)?)
        })
        .await?;
        let who = project.clone();
        let verify = move |archive: &Archive, keys: &KeyLookup, ticker: &Ticker| {
            let image = archive.view(id, Viewer::Project(&who), &|it: &ProjectName| keys(it));
            let verified = image.and_then(|image| archive.verify(&image, ticker));
            told(verified.map_err(|error| of_archive(&error))?)
        };
        self.begin(JobKind::Verify, Some(project), Some(id.to_string()), verify).await
    }

    /// Has garbage collected.
    pub(crate) async fn begin_collect(self: &Arc<Self>) -> Result<Job, ImagesError> {
        self.ask(|_, _| Ok(())).await?;
        self.begin(JobKind::Collect, None, None, |archive, _, ticker| {
            let swept = archive.gc(ticker).map_err(|error| of_archive(&error))?;
            let figures = [
                ("deleted", swept.deleted),
                ("freed", swept.freed),
                ("copied", swept.copied),
                ("waiting", swept.waiting),
                ("ended", swept.ended),
                ("unread", swept.unread.len() as u64),
            ];
            let mend = "'mezame image archive verify' looks at all packs";
            let unread = swept.unread.iter().take(NAMED);
            let faults =
                unread.map(|pack| plain(pack.as_str(), "it can't be read", mend)).collect();
            Ok(Outcome { figures: named(&figures), faults, ..Outcome::default() })
        })
        .await
    }

    /// Has all packs read.
    pub(crate) async fn begin_scrub(self: &Arc<Self>) -> Result<Job, ImagesError> {
        self.ask(|_, _| Ok(())).await?;
        self.begin(JobKind::Scrub, None, None, |archive, _, ticker| {
            let damaged = archive.verify_packs(ticker).map_err(|error| of_archive(&error))?;
            let figures = named(&[("damaged", damaged.len() as u64)]);
            let place = |(pack, why): &(ObjectName, PackFault)| {
                let command = format!("'mezame image archive quarantine --add {pack}'");
                let mend = format!("{command} keeps new images from counting on it");
                plain(pack.as_str(), chain(why), &mend)
            };
            let faults: Vec<_> = damaged.iter().take(NAMED).map(place).collect();
            let outcome = Outcome { figures, faults, ..Outcome::default() };
            if damaged.is_empty() { Ok(outcome) } else { Err(Unfinished::Failed(outcome)) }
        })
        .await
    }

    async fn begin(
        self: &Arc<Self>,
        what: JobKind,
        project: Option<&ProjectName>,
        image: Option<String>,
        work: impl FnOnce(&Archive, &KeyLookup, &Ticker) -> Result<Outcome, Unfinished> + Send + 'static,
    ) -> Result<Job, ImagesError> {
        let mut ticket = self.jobs.begin(what, project, image, JobState::Queued)?;
        ticket.noted().await?;
        let job = ticket.shown()?;
        let images = Arc::clone(self);
        let task = move || {
            use mezame_images::archive::Watch;
            if ticket.ticker().is_cancelled() {
                return ticket.finish(Err(Unfinished::Cancelled));
            }
            ticket.enter(JobState::Running);
            let archive = images.for_jobs.archive().map_err(|error| {
                Unfinished::from(plain("archive", chain(&error), "ask the operator"))
            });
            let result = archive.and_then(|it| work(&it, &images.keys, ticket.ticker()));
            ticket.finish(result);
        };
        // As many may wait as jobs may be; where the end has come the ticket tells so.
        let _ = self.workers.submit(task);
        Ok(job)
    }
}

/// What a verification found, as a job's outcome.
fn told(verified: Verified) -> Result<Outcome, Unfinished> {
    let figures = named(&[("chunks", verified.chunks), ("damaged", verified.damaged)]);
    let mend = "import or back up the same disk again, which puts a sound copy beside it";
    let place = |fault: &mezame_images::archive::verify::Fault| {
        plain(&format!("offset {}", fault.offset), chain(&fault.why), mend)
    };
    let faults = verified.faults.iter().take(NAMED).map(place).collect();
    let outcome = Outcome { figures, faults, ..Outcome::default() };
    if verified.damaged == 0 { Ok(outcome) } else { Err(Unfinished::Failed(outcome)) }
}

fn named(figures: &[(&str, u64)]) -> BTreeMap<String, u64> {
    figures.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
}
