//! The ports by which requests come in.
//!
//! Here, because what a path means depends on it: at the password port all paths are CloudStack's
//! one question. Said by the shell, which knows the listener; never read from a request.

use crate::{response::Response, view::cloudstack::password};

/// The port of the service that a request came by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Gate {
    /// 80, where all dialects' trees are.
    #[default]
    Metadata,
    /// 8080, where CloudStack's router hands out passwords.
    Password,
}

impl Gate {
    /// The reply as this gate's clients may be told it. The shell sends no other.
    pub fn worded(self, reply: Response) -> Response {
        match self {
            Self::Metadata => reply,
            Self::Password => password::worded(reply),
        }
    }
}
