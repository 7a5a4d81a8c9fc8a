//! Threads for what blocks, as work on images and volumes does: the runtime's own are for
//! connections.
//!
//! A crew has so many threads and a queue that ends: who finds it full is told so.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

/// What a thread does.
type Task = Box<dyn FnOnce() + Send>;

/// The queue is full, or the crew has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Busy;

/// Why nothing came of what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unanswered {
    /// The queue is full, or the crew has gone.
    Busy,
    /// It panicked, or all ended before it was begun.
    Gone,
}

/// Threads with one queue.
pub(crate) struct Crew {
    queue: Mutex<Option<SyncSender<Task>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Crew {
    /// So many threads, and so many tasks that wait for one.
    pub(crate) fn start(name: &str, threads: usize, waiting: usize) -> io::Result<Self> {
        let (queue, tasks) = sync_channel::<Task>(waiting);
        let tasks = Arc::new(Mutex::new(tasks));
        let mut started = Vec::new();
        for _ in 0..threads {
            let tasks = Arc::clone(&tasks);
            let thread = std::thread::Builder::new().name(name.into());
            started.push(thread.spawn(move || work(&tasks))?);
        }
        Ok(Self { queue: Mutex::new(Some(queue)), threads: Mutex::new(started) })
    }

    /// Has a thread do this once one is free.
    pub(crate) fn submit(&self, task: impl FnOnce() + Send + 'static) -> Result<(), Busy> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.as_ref().ok_or(Busy)?.try_send(Box::new(task)).map_err(|_| Busy)
    }

    /// Has a thread do this, and answers what came of it. Who has given it up before it was begun
    /// does not want it done an hour later: it is not.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        let (tell, told) = oneshot::channel();
        let task = move || {
            if tell.is_closed() {
                return;
            }
            // Who asked may be gone by now.
            let _ = tell.send(call());
        };
        self.submit(task).map_err(|Busy| Unanswered::Busy)?;
        told.await.map_err(|_| Unanswered::Gone)
    }

    /// Takes nothing more, and waits until all that was submitted is done, as long as this; whether
    /// it is. What is not is left to itself.
    pub(crate) fn finish(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            while !thread.is_finished() {
                if Instant::now() >= until {
                    return false;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            // It catches what its tasks throw.
            let _ = thread.join();
        }
        true
    }
}

fn work(tasks: &Mutex<Receiver<Task>>) {
    loop {
        let next = tasks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(task) = next else { return };
        // Whoever waits for it is told by what the task drops.
        if catch_unwind(AssertUnwindSafe(task)).is_err() {
            tracing::error!("a task panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn a_crew_does_all_that_it_took_before_it_ends() {
        let crew = Crew::start("test", 2, 8).unwrap();
        let (done, seen) = channel();
        for number in 0..4 {
            let done = done.clone();
            crew.submit(move || done.send(number).unwrap()).unwrap();
        }
        crew.submit(|| panic!("meant")).unwrap();
        assert!(crew.finish(Duration::from_secs(60)));
        drop(done);
        let mut numbers: Vec<i32> = seen.iter().collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 1, 2, 3]);
        assert_eq!(crew.submit(|| ()), Err(Busy));
    }

    #[test]
    fn a_full_queue_is_told() {
        let crew = Crew::start("test", 1, 1).unwrap();
        let (release, held) = channel::<()>();
        let (began, has_begun) = channel();
        crew.submit(move || {
            began.send(()).unwrap();
            let _ = held.recv();
        })
        .unwrap();
        has_begun.recv().unwrap();
        crew.submit(|| ()).unwrap();
        assert_eq!(crew.submit(|| ()), Err(Busy));
        // The end does not wait for ever.
        assert!(!crew.finish(Duration::from_millis(20)));
        drop(release);
    }
}
