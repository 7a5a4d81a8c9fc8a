//! How far long work is, and how it is ended before it is done.

/// How far it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the disk that are dealt with, holes and what is there already included.
    pub done: u64,
    /// Bytes of the disk in all.
    pub total: u64,
    /// Bytes that were written to the store or to the target.
    pub written: u64,
}

/// Who looks on. Called from all threads that work, some times a second or more often.
pub trait Watch: Sync {
    /// Takes note.
    fn tell(&self, progress: Progress);

    /// Whether the work is to end, with [`super::ArchiveError::Cancelled`].
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Nobody looks on.
#[derive(Debug, Clone, Copy)]
pub struct Unwatched;

impl Watch for Unwatched {
    fn tell(&self, _progress: Progress) {}
}
