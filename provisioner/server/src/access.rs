//! Who a caller is and what it may do: peer credentials on the unix socket, bearer tokens on TLS.

pub(crate) mod peer;
pub(crate) mod tokens;

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Only look.
    Read,
    /// Everything.
    Write,
}

/// A caller that was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// For the log: a user, or a token's name.
    pub(crate) name: String,
    pub(crate) role: Role,
}
