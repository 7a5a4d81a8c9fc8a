//! What can go wrong between this program and the control plane, and how an operator mends it.

use std::{io, time::Duration};

use mezame_model::api::Problem;

use super::{address::ServerAddress, missing, trust::TrustError};
use crate::exit::Exit;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers there.
    #[error("the provisioner at {address} can't be reached")]
    Unreachable {
        /// Where.
        address: ServerAddress,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The TLS handshake failed.
    #[error("no trusted connection to {address}")]
    Tls {
        /// Where.
        address: ServerAddress,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The connection broke before the answer was whole.
    #[error("the connection to {address} broke")]
    Broken {
        /// Where.
        address: ServerAddress,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// No answer in time.
    #[error("{address} did not answer within {} s", timeout.as_secs_f32())]
    TimedOut {
        /// Where.
        address: ServerAddress,
        /// How long was waited.
        timeout: Duration,
    },
    /// There are no authorities to check the server's certificate with.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The token has characters that no token has.
    #[error("the token is not one line of printable ASCII")]
    TokenForm,
    /// The request can't be written.
    #[error("the request can't be made")]
    Request(#[source] hyper::http::Error),
    /// The body can't be written.
    #[error("the request can't be written as JSON")]
    Write(#[source] serde_json::Error),
    /// The answer's body did not come whole, or is too long.
    #[error("the answer did not come whole")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What was to be sent can't be read to its end.
    #[error("the file can't be read to its end")]
    Sent(#[source] io::Error),
    /// The answer is not what the API says.
    #[error("the answer is not understood")]
    Answer(#[source] serde_json::Error),
    /// The control plane refused, and says why.
    #[error("{}", describe(.0))]
    Problem(Box<Problem>),
    /// A failure in another form than the API's: a proxy between, say.
    #[error("the server answered with status {status} and no explanation")]
    Status {
        /// HTTP's.
        status: u16,
    },
}

fn describe(problem: &Problem) -> String {
    let (title, detail) = (crate::text::line(&problem.title), crate::text::line(&problem.detail));
    if detail.is_empty() { title } else { format!("{title}: {detail}") }
}

impl ClientError {
    /// The same, with what was asked for where that is not there.
    pub(super) fn about(mut self, path: &str) -> Self {
        if let Self::Problem(problem) = &mut self
            && problem.kind == "not-found"
            && let Some(what) = missing::told(path)
        {
            problem.detail = what;
        }
        self
    }

    /// How the command ends.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Exit::NotAllowed
            }
            Self::Unreachable { .. }
            | Self::Tls { .. }
            | Self::Broken { .. }
            | Self::TimedOut { .. } => Exit::Unreachable,
            Self::Problem(problem) => Exit::of_status(problem.status, !problem.faults.is_empty()),
            Self::Status { status } => Exit::of_status(*status, false),
            Self::Trust(_) | Self::TokenForm => Exit::Usage,
            Self::Request(_) | Self::Write(_) | Self::Sent(_) | Self::Body(_) | Self::Answer(_) => {
                Exit::Failure
            }
        }
    }

    /// Whether the same look may succeed in a while: nobody answers now, or not for long.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { source, .. } => source.kind() != io::ErrorKind::PermissionDenied,
            Self::Broken { .. } | Self::TimedOut { .. } | Self::Body(_) => true,
            Self::Problem(problem) => matches!(problem.status, 429 | 502..=504),
            Self::Status { status } => matches!(status, 429 | 502..=504),
            _ => false,
        }
    }

    /// What the operator can do about it.
    pub fn mend(&self) -> Option<String> {
        match self {
            Self::Unreachable { address: ServerAddress::Unix(path), source } => {
                let path = path.display();
                Some(match source.kind() {
                    io::ErrorKind::NotFound => format!(
                        "start the provisioner ('metadata-server --standalone' runs one on this \
                         machine), or say where it is with --server or MEZAME_SERVER; there is no \
                         socket {path}"
                    ),
                    io::ErrorKind::ConnectionRefused => format!(
                        "start the provisioner again; the socket {path} was left behind by one \
                         that no longer runs"
                    ),
                    io::ErrorKind::PermissionDenied => format!(
                        "only root and members of the socket's group may connect: 'ls -l {path}' \
                         shows the group; or use sudo"
                    ),
                    _ => format!("see whether {path} is the provisioner's socket"),
                })
            }
            Self::Unreachable { address, .. } => Some(format!(
                "see whether the host and port of {address} are right and its TLS listener is on"
            )),
            Self::Tls { .. } => Some(
                "give the authority of the server's certificate with --ca-file, and call the \
                 server by a name that its certificate has"
                    .into(),
            ),
            Self::Broken { .. } | Self::Body(_) => Some(
                "look at the state ('mezame get') before trying again: the change may have been \
                 made"
                    .into(),
            ),
            Self::TimedOut { .. } => {
                Some("see the server's log, or give it longer with --request-timeout".into())
            }
            Self::Trust(TrustError::NoneOnThisMachine) => {
                Some("install ca-certificates, or give --ca-file".into())
            }
            Self::Trust(_) => Some("give a file of certificates in PEM with --ca-file".into()),
            Self::TokenForm => Some("write the token alone into the file, without quotes".into()),
            Self::Answer(_) => Some(
                "see whether this is a Mezame provisioner, and of this version: 'mezame version'"
                    .into(),
            ),
            Self::Problem(problem) if problem.kind == "other-project" => {
                Some("have its own project do it, or import the image into yours".into())
            }
            Self::Problem(problem) => mend_of_status(problem.status),
            Self::Status { status } => mend_of_status(*status),
            Self::Sent(_) => {
                Some("see whether it is changed meanwhile; then import it again".into())
            }
            Self::Request(_) | Self::Write(_) => None,
        }
    }
}

fn mend_of_status(status: u16) -> Option<String> {
    let text = match status {
        401 => "give a token that the server knows, with --token-file or MEZAME_TOKEN",
        403 => "ask for a token that may do this",
        410 => "leave out --after to watch from now on",
        412 | 428 => "look at it again ('mezame get -o json' shows the revision) and repeat",
        429 | 503 => "try again in a while",
        500..=599 => "see the provisioner's log",
        _ => return None,
    };
    Some(text.into())
}
