//! How far long work is, and how it is ended before it is done.

/// How far it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the disk, or of the file in [`Phase::Checking`], that are dealt with, holes and what is
    /// there already included; in [`Phase::Converting`] without holes.
    pub done: u64,
    /// Bytes of the disk in all.
    pub total: u64,
    /// Bytes that were written to the store or to the target.
    pub written: u64,
}

/// What is done to a file that is imported, one after the other; not each of them to each file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It is copied and digested.
    Checking,
    /// `qemu-img` makes a disk of it.
    Converting,
    /// The disk becomes an image.
    Archiving,
}

impl Phase {
    /// As it is told.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Checking => "checking",
            Self::Converting => "converting",
            Self::Archiving => "archiving",
        }
    }
}

/// Who looks on. Called from all threads that work, some times a second or more often.
pub trait Watch: Sync {
    /// Takes note that another part of the work begins: how far it is counts anew from here.
    fn enter(&self, _phase: Phase) {}

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
