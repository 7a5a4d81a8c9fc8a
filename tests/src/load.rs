//! Guests that ask again and again over connections that stay open, while something happens to
//! the server.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Instant,
};

use anyhow::{Context, Result, ensure};

use crate::{
    http::Connection,
    namespace_guest::{Dial, NamespaceGuest},
};

/// One answer, or the want of one.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When the request was begun.
    pub sent: Instant,
    /// When the answer was there.
    pub ended: Instant,
    /// The body, or why there was none.
    pub answer: Result<String, String>,
}

/// Load under way: each guest keeps one connection busy.
#[derive(Debug)]
pub struct Load {
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: String,
    wanted: usize,
    begun: AtomicUsize,
    good: AtomicUsize,
    stop: AtomicBool,
    samples: Mutex<Vec<Sample>>,
}

impl Load {
    /// Begins `wanted` requests for a path in all, spread over these guests.
    pub fn begin(guests: &[Arc<NamespaceGuest>], path: &str, wanted: usize) -> Self {
        let shared = Arc::new(Shared {
            path: path.into(),
            wanted,
            begun: AtomicUsize::new(0),
            good: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            samples: Mutex::default(),
        });
        let threads = guests
            .iter()
            .map(|guest| {
                let (guest, shared) = (Arc::clone(guest), Arc::clone(&shared));
                std::thread::spawn(move || shared.ask(&guest))
            })
            .collect();
        Self { threads, shared }
    }

    /// How many good answers came so far.
    pub fn good(&self) -> usize {
        self.shared.good.load(Ordering::Relaxed)
    }

    /// Waits until all requests have ended, and gives all that happened.
    pub fn finish(mut self) -> Result<Vec<Sample>> {
        for thread in self.threads.drain(..) {
            thread.join().map_err(|_| anyhow::anyhow!("a thread of the load panicked"))?;
        }
        let mut samples = self.shared.samples.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::take(&mut *samples))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // Its panic has been printed, and this is the way out of a failing test.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn ask(&self, guest: &NamespaceGuest) {
        let mut own = Vec::new();
        let mut connection = None;
        while !self.stop.load(Ordering::Relaxed)
            && self.begun.fetch_add(1, Ordering::Relaxed) < self.wanted
        {
            let sent = Instant::now();
            let answer = self.ask_once(guest, &mut connection);
            if answer.is_ok() {
                self.good.fetch_add(1, Ordering::Relaxed);
            } else {
                connection = None;
            }
            let answer = answer.map_err(|error| format!("{error:#}"));
            own.push(Sample { sent, ended: Instant::now(), answer });
        }
        self.samples.lock().unwrap_or_else(PoisonError::into_inner).extend(own);
    }

    fn ask_once(
        &self,
        guest: &NamespaceGuest,
        connection: &mut Option<Connection>,
    ) -> Result<String> {
        let mut open = match connection.take() {
            Some(open) => open,
            None => guest.connect_with(&Dial::default()).context("connecting")?,
        };
        let answer = open.get(&self.path, &[])?;
        ensure!(answer.status == 200, "status {}", answer.status);
        // A server that is about to end says so, and the client goes to the next one (RFC 9112,
        // section 9.6).
        let closes = answer.header("connection").is_some_and(|value| value == "close");
        if !closes {
            *connection = Some(open);
        }
        Ok(answer.text())
    }
}
