//! One guest's connection, as all parts of the listener see it: whose it is, what it is doing and
//! since when.
//!
//! ```text
//!   Idle ──first byte──► Head ──head complete──► Busy ──reply made──► Reply ──next byte──► Head
//! ```
//!
//! The reaper reads this a few times a second instead of arming timers for each request, which
//! the fast path would pay for.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
};

use mezame_protocol::Gate;
use tokio::task::AbortHandle;
use zeroize::Zeroizing;

use super::stream::Ear;
use crate::{identity::Attachment, metrics::refusal::Reason, settings::Limits};

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// No request has begun.
    Idle = 0,
    /// Part of a head has come.
    Head = 1,
    /// A request is being answered.
    Busy = 2,
    /// A watch waits; it has a time limit of its own.
    Watch = 3,
    /// A reply is being written, or was.
    Reply = 4,
}

/// One connection.
#[derive(Debug)]
pub struct Connection {
    number: u64,
    gate: Gate,
    peer: SocketAddr,
    attachment: Arc<Attachment>,
    phase: AtomicU8,
    /// When the phase began, in the coarse clock's milliseconds.
    since: AtomicU64,
    /// When the request began.
    began: AtomicU64,
    blocked: AtomicBool,
    reset: AtomicBool,
    /// The IP TTL that replies are to leave with; 0 is the system's own.
    ttl: AtomicU8,
    task: OnceLock<AbortHandle>,
    ear: OnceLock<Ear>,
    window: Window,
}

impl Connection {
    /// A connection that was just accepted at `now`.
    pub fn new(
        number: u64,
        gate: Gate,
        peer: SocketAddr,
        attachment: Arc<Attachment>,
        now: u64,
    ) -> Self {
        Self {
            number,
            gate,
            peer,
            attachment,
            phase: AtomicU8::new(Phase::Idle as u8),
            since: AtomicU64::new(now),
            began: AtomicU64::new(now),
            blocked: AtomicBool::new(false),
            reset: AtomicBool::new(false),
            ttl: AtomicU8::new(0),
            task: OnceLock::new(),
            ear: OnceLock::new(),
            window: Window::default(),
        }
    }

    /// Different for each connection of this process.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// By which of the service's ports it came.
    pub fn gate(&self) -> Gate {
        self.gate
    }

    /// The identity address and the guest's port.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whose it is.
    pub fn attachment(&self) -> &Arc<Attachment> {
        &self.attachment
    }

    /// The task that is to be stopped by [`Connection::reset`].
    pub fn runs_in(&self, task: AbortHandle) {
        // Set once, right after the task was made.
        let _ = self.task.set(task);
        if self.is_reset() {
            self.reset();
        }
    }

    /// By whom it is heard that the guest sends nothing more.
    pub(super) fn is_heard_by(&self, ear: Ear) {
        // Set once, when its stream was made.
        let _ = self.ear.set(ear);
    }

    /// Waits until the guest sends nothing more.
    pub(super) async fn silence(&self) {
        match self.ear.get() {
            Some(ear) => ear.silence().await,
            None => std::future::pending().await,
        }
    }

    /// Ends it as if it had come to its end; for one on which nothing is under way.
    pub fn close(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// Ends it at once: the guest sees a reset, nothing more is sent.
    pub fn reset(&self) {
        self.reset.store(true, Ordering::Release);
        self.close();
    }

    /// Whether it ended by [`Connection::reset`].
    pub fn is_reset(&self) -> bool {
        self.reset.load(Ordering::Acquire)
    }

    /// The next reply leaves with this IP TTL, or with the system's own.
    pub fn leave_with(&self, ttl: Option<u8>) {
        self.ttl.store(ttl.unwrap_or(0), Ordering::Relaxed);
    }

    /// The IP TTL that is wanted now.
    pub fn ttl(&self) -> Option<u8> {
        Some(self.ttl.load(Ordering::Relaxed)).filter(|ttl| *ttl != 0)
    }

    /// A request's head is complete.
    pub fn begin(&self, now: u64) {
        // Pipelined: it came with the one before.
        if self.phase() != Phase::Head {
            self.began.store(now, Ordering::Relaxed);
        }
        self.enter(Phase::Busy, now);
    }

    /// A watch has come to its end: its reply has the whole time of a request from here on.
    pub fn wake(&self, now: u64) {
        self.began.store(now, Ordering::Relaxed);
        self.enter(Phase::Busy, now);
    }

    /// Notes bytes of a request that came in at `now`.
    pub fn received(&self, bytes: &[u8], now: u64) {
        let mut window = self.window.bytes();
        match self.phase() {
            Phase::Idle | Phase::Reply => {
                window.clear();
                self.began.store(now, Ordering::Relaxed);
                self.enter(Phase::Head, now);
            }
            // Of a body, or pipelined behind this request: no part of the head.
            Phase::Busy | Phase::Watch => return,
            Phase::Head => {}
        }
        window.extend_from_slice(bytes);
    }

    /// Whether the bytes of the request's head named this field (given in lower case). The
    /// parser under us drops a `Content-Length` beside a `Transfer-Encoding`; this is how we
    /// know of it.
    pub fn head_named(&self, field: &[u8]) -> bool {
        let window = self.window.bytes();
        window.split(|b| *b == b'\n').skip(1).any(|line| {
            line.len() > field.len()
                && line[..field.len()].eq_ignore_ascii_case(field)
                && line[field.len()] == b':'
        })
    }

    /// What it is doing.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Busy,
            3 => Phase::Watch,
            _ => Phase::Reply,
        }
    }

    /// Begins another phase at `now`.
    pub fn enter(&self, phase: Phase, now: u64) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.since.store(now, Ordering::Relaxed);
    }

    /// Notes whether the guest takes what is written.
    pub fn wrote(&self, is_blocked: bool, now: u64) {
        if self.blocked.swap(is_blocked, Ordering::Relaxed) != is_blocked || !is_blocked {
            self.since.store(now, Ordering::Relaxed);
        }
    }

    /// Since when it has been idle, if it is.
    pub fn idle_since(&self) -> Option<u64> {
        let is_idle = matches!(self.phase(), Phase::Idle | Phase::Reply)
            && !self.blocked.load(Ordering::Relaxed);
        is_idle.then(|| self.since.load(Ordering::Relaxed))
    }

    /// Which limit of time it is over, if any.
    pub fn overdue(&self, limits: &Limits, now: u64) -> Option<Overdue> {
        let past = |from: &AtomicU64, limit: std::time::Duration| {
            u128::from(now.saturating_sub(from.load(Ordering::Relaxed))) > limit.as_millis()
        };
        if self.blocked.load(Ordering::Relaxed) && past(&self.since, limits.write_time) {
            return Some(Overdue::Write);
        }
        match self.phase() {
            Phase::Head if past(&self.began, limits.head_time) => Some(Overdue::Head),
            Phase::Busy if past(&self.began, limits.request_time) => Some(Overdue::Request),
            Phase::Reply
                if self.blocked.load(Ordering::Relaxed)
                    && past(&self.began, limits.request_time) =>
            {
                Some(Overdue::Request)
            }
            Phase::Idle | Phase::Reply if past(&self.since, limits.idle_time) => {
                Some(Overdue::Idle)
            }
            _ => None,
        }
    }
}

/// The bytes of the head that is read now. A session token stands in them, so Debug shows none.
#[derive(Default)]
struct Window(Mutex<Zeroizing<Vec<u8>>>);

impl Window {
    fn bytes(&self) -> MutexGuard<'_, Zeroizing<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Window {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Window(..)")
    }
}

/// Which limit of time a connection is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// The head did not come.
    Head,
    /// The request was not over.
    Request,
    /// The reply was not taken.
    Write,
    /// No request came.
    Idle,
}

impl Overdue {
    /// As the metrics count it.
    pub fn reason(self) -> Reason {
        match self {
            Self::Head => Reason::SlowHead,
            Self::Request => Reason::SlowRequest,
            Self::Write => Reason::SlowReader,
            Self::Idle => Reason::Idle,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        let attachment = Arc::new(Attachment::new(
            mezame_ebpf_loader::PortSlot::new(1).unwrap(),
            crate::fixture::port_id(1),
            None,
            crate::fixture::device(1),
            7,
        ));
        Connection::new(1, Gate::Metadata, "32.0.0.16:40000".parse().unwrap(), attachment, 0)
    }

    #[test]
    fn debug_shows_nothing_of_a_requests_head() {
        let connection = connection();
        connection.received(b"GET / HTTP/1.1\r\nX-aws-ec2-metadata-token: hunter2\r\n", 0);
        assert!(connection.head_named(b"x-aws-ec2-metadata-token"));
        let shown = format!("{connection:?}");
        // Neither as text nor as a list of numbers.
        assert!(shown.contains("window: Window(..)") && !shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn the_reply_of_a_long_watch_has_as_much_time_as_any_other() {
        let (connection, limits) = (connection(), Limits::default());
        connection.received(b"GET /mezame/v1/document?watch=1 HTTP/1.1\r\n\r\n", 0);
        connection.begin(0);
        connection.enter(Phase::Watch, 0);
        assert_eq!(connection.overdue(&limits, 300_000), None, "a watch has a limit of its own");
        connection.wake(300_000);
        connection.enter(Phase::Reply, 300_000);
        connection.wrote(true, 300_000);
        assert_eq!(connection.overdue(&limits, 301_000), None);
        assert_eq!(connection.overdue(&limits, 330_000), Some(Overdue::Write));
    }
}
