//! Work on the whole archive that begins by itself, at the times of the settings: garbage collection,
//! and the reading of all packs.
//!
//! What a run comes to is the job's, as if an operator had asked for it. A time that came while this
//! process did not run is not made up for. When something is due is pure ([`Task::is_due`]).

use std::{sync::Arc, time::Duration};

use mezame_model::api::jobs::Job;

use super::{Images, ImagesError, part::Part};
use crate::{
    environment::Environment, fault::chain, schedules::when::When, settings::images::ImageSettings,
};

/// Between two looks at the clock, which may be set.
const TICK: Duration = Duration::from_secs(20);
/// When one that could not begin is tried again.
const AGAIN_MS: u64 = 10 * 60_000;

/// What is done by itself.
pub(crate) struct Upkeep {
    images: Arc<Part>,
    environment: Arc<dyn Environment>,
    tasks: Vec<Task>,
}

/// One kind of it.
struct Task {
    work: Work,
    when: When,
    due_ms: Option<u64>,
    /// The job that was begun last.
    last: Option<String>,
}

#[derive(Debug, Clone, Copy)]
enum Work {
    Collect,
    Verify,
}

impl Work {
    async fn begin(self, images: &Arc<Images>) -> Result<Job, ImagesError> {
        match self {
            Self::Collect => images.begin_collect().await,
            Self::Verify => images.begin_scrub().await,
        }
    }
}

impl Task {
    /// Its time has come. The first look only says when that is; a clock that was set back brings it
    /// nearer.
    fn is_due(&mut self, now_ms: u64) -> bool {
        if self.due_ms.is_some_and(|due| due <= now_ms) {
            return true;
        }
        let next = self.when.next_after(now_ms);
        self.due_ms = self.due_ms.into_iter().chain(next).min();
        false
    }

    /// Whether what was begun last has not ended.
    fn is_at_work(&self, images: &Images) -> bool {
        let last = self.last.as_ref().and_then(|id| images.job(None, id).ok());
        last.is_some_and(|job| job.ended_ms.is_none())
    }

    /// It was begun now, or could not be.
    fn was_tried(&mut self, now_ms: u64, is_begun: bool) {
        let again = (!is_begun).then_some(now_ms.saturating_add(AGAIN_MS));
        self.due_ms = self.when.next_after(now_ms).into_iter().chain(again).min();
    }
}

impl Upkeep {
    /// What the settings wish; times that can't be read, which they were looked at for, are none.
    pub(crate) fn of(
        settings: &ImageSettings,
        images: Arc<Part>,
        environment: Arc<dyn Environment>,
    ) -> Self {
        let named = [(Work::Collect, &settings.collect), (Work::Verify, &settings.verify)];
        let tasks = named.into_iter().filter_map(|(work, text)| {
            let when = When::parse(text.as_deref()?).ok()?;
            Some(Task { work, when, due_ms: None, last: None })
        });
        Self { images, environment, tasks: tasks.collect() }
    }

    /// Does it, for ever.
    pub(crate) async fn run(mut self) {
        loop {
            self.tick().await;
            tokio::time::sleep(TICK).await;
        }
    }

    /// Looks at the clock once.
    pub(crate) async fn tick(&mut self) {
        let now = self.environment.now_ms();
        for task in &mut self.tasks {
            if !task.is_due(now) {
                continue;
            }
            let work = task.work;
            let begun = match self.images.images().await {
                Ok(images) if task.is_at_work(&images) => {
                    task.was_tried(now, true);
                    tracing::info!(?work, "the last run is at work still: this one is left out");
                    continue;
                }
                Ok(images) => work.begin(&images).await,
                Err(error) => Err(error),
            };
            task.was_tried(now, begun.is_ok());
            match begun {
                Ok(job) => {
                    tracing::info!(?work, job = job.id, "work on the archive has begun");
                    task.last = Some(job.id);
                }
                Err(error) => {
                    let error = chain(&error);
                    tracing::warn!(
                        ?work,
                        error,
                        "work on the archive can't begin, and is tried again"
                    );
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 60 * 60_000;

    fn task(when: &str) -> Task {
        Task { work: Work::Collect, when: When::parse(when).unwrap(), due_ms: None, last: None }
    }

    #[test]
    fn it_is_due_at_its_times_and_not_at_the_start() {
        let mut task = task("every 6h");
        assert!(!task.is_due(100 * HOUR));
        assert!(!task.is_due(102 * HOUR - 1));
        assert!(task.is_due(102 * HOUR));
        task.was_tried(102 * HOUR, true);
        assert!(!task.is_due(102 * HOUR + AGAIN_MS));
        assert!(task.is_due(108 * HOUR + 5));
    }

    #[test]
    fn what_could_not_begin_is_tried_again_soon() {
        let mut task = task("every 6h");
        assert!(!task.is_due(1));
        assert!(task.is_due(6 * HOUR));
        task.was_tried(6 * HOUR, false);
        assert!(!task.is_due(6 * HOUR + AGAIN_MS - 1));
        assert!(task.is_due(6 * HOUR + AGAIN_MS));
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nothing_waiting() {
        let mut task = task("every 6h");
        assert!(!task.is_due(1000 * HOUR));
        assert!(!task.is_due(10 * HOUR));
        assert!(task.is_due(12 * HOUR));
    }
}
