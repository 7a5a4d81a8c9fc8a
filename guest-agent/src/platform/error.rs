//! Why an operation on the system failed.

use std::{io, net::IpAddr, path::PathBuf};

use crate::winrm::WinrmError;

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum PlatformError {
    /// A file can't be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A path leads over something that a user could have put there.
    #[error("{path}: {why}", path = path.display())]
    Untrusted {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A file of somebody else's is read first and says otherwise.
    #[error("{path} is read first and sets {what} otherwise", path = path.display())]
    Overruled {
        /// Which.
        path: PathBuf,
        /// What it sets.
        what: &'static str,
    },
    /// A file is longer than the agent reads.
    #[error("{path} is too long", path = path.display())]
    TooLong {
        /// Which.
        path: PathBuf,
    },
    /// There is no such user.
    #[error("there is no user {name}")]
    NoSuchUser {
        /// Who.
        name: String,
    },
    /// There is no such group.
    #[error("there is no group {name}")]
    NoSuchGroup {
        /// Which.
        name: String,
    },
    /// No number is left for a user or a group.
    #[error("no free number is left")]
    NoFreeId,
    /// Another program holds the lock of the account files.
    #[error("the account files are locked by another program")]
    AccountsLocked,
    /// A value can't be written where it belongs.
    #[error("{what} is not valid: {why}")]
    Invalid {
        /// What.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// The kernel refused a network request.
    #[error("network: {what}: {source}")]
    Network {
        /// What was asked.
        what: &'static str,
        /// Why it was refused.
        #[source]
        source: io::Error,
    },
    /// A device, or the whole kernel, does without IPv6.
    #[error("IPv6 can't be used on {device}: {why}")]
    NoIpv6 {
        /// Where.
        device: String,
        /// What is set, or missing.
        why: &'static str,
    },
    /// Somebody has set a route that forbids the way to the service.
    #[error("a route of type {kind} forbids the way to {endpoint}")]
    RouteRefused {
        /// To where.
        endpoint: IpAddr,
        /// As ip-route(8) calls it.
        kind: &'static str,
    },
    /// Somebody else has each link-local address that could be claimed.
    #[error("every link-local address that {device} could claim is taken")]
    NoFreeAddress {
        /// Where.
        device: String,
    },
    /// Processes could not be dealt with.
    #[error("{what}: {source}")]
    Process {
        /// What was to be done.
        what: &'static str,
        /// Why it was not.
        #[source]
        source: io::Error,
    },
    /// A tool that is needed is not in this image.
    #[error("{tool} is not in this image")]
    NoTool {
        /// Which.
        tool: &'static str,
    },
    /// A tool failed.
    #[error("{tool}: {detail}")]
    Tool {
        /// Which.
        tool: String,
        /// The end of what it said.
        detail: String,
    },
    /// This system can't do it, or is not to.
    #[error("{what}")]
    Unsupported {
        /// What.
        what: &'static str,
    },
}

impl PlatformError {
    /// A word for programs, which stays the same when the text is improved.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::File { .. } => "file",
            Self::Untrusted { .. } => "untrusted-path",
            Self::Overruled { .. } => "overruled",
            Self::TooLong { .. } => "file-too-long",
            Self::NoSuchUser { .. } => "no-such-user",
            Self::NoSuchGroup { .. } => "no-such-group",
            Self::NoFreeId => "no-free-id",
            Self::AccountsLocked => "accounts-locked",
            Self::Invalid { .. } => "bad-value",
            Self::Network { .. } => "network",
            Self::NoIpv6 { .. } => "no-ipv6",
            Self::RouteRefused { .. } => "route-refused",
            Self::NoFreeAddress { .. } => "no-free-address",
            Self::Process { .. } => "process",
            Self::NoTool { .. } => "no-tool",
            Self::Tool { .. } => "tool-failed",
            Self::Unsupported { .. } => "unsupported",
        }
    }
}

/// WinRM's faults: a name of the record, or what is on the system.
pub(super) fn of_winrm(error: WinrmError) -> PlatformError {
    match error {
        WinrmError::Name(_) => PlatformError::Invalid { what: "host name", why: error.to_string() },
        WinrmError::Answer(_) | WinrmError::Taken { .. } => {
            PlatformError::Tool { tool: "WinRM".to_owned(), detail: error.to_string() }
        }
    }
}

/// The result of an operation.
pub type Result<T> = std::result::Result<T, PlatformError>;
