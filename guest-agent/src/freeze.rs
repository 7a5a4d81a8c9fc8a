//! Freezing this guest's file systems for the moment of a backup, and thawing them whatever happens.
//!
//! ```text
//!   the service ──order──► orders (a thread of the agent's)
//!                            │ starts, and has a pipe to
//!                            ▼
//!                          helper (a process of its own): hooks, sync, freeze ─► wait ─► thaw, hooks
//!                            the pipe ends (the agent was killed), or the time is over: thaw
//! ```
//! A guest that stays frozen is lost, so three of them see to it that it goes on: the helper when it
//! is told to, when the agent is gone, and when the time is over; the agent when the helper is gone;
//! and the next agent, by a file in `/run`, when both are. While anything is frozen none of them
//! writes to a file outside of `/run`, or to a log.
//!
//! Nothing here knows how a system freezes: that is the platform's.

pub mod freezer;
pub mod guard;
pub mod mounts;
pub mod orders;
