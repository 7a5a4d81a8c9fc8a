//! Why the service did not give what was asked for, and which answer of it means what.

use std::time::Duration;

use mezame_model::Document;

use super::http::{HttpError, Response};

/// Why the service did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It could not be reached, or did not speak HTTP.
    #[error("the metadata service can't be reached")]
    Http(#[from] HttpError),
    /// 503 or 429: it is there, and asks for patience.
    #[error("the metadata service is not ready for this guest yet")]
    NotReady {
        /// What it asked for.
        retry_after: Option<Duration>,
    },
    /// 403: the endpoint is switched off for this instance.
    #[error("the metadata service is switched off for this instance (403)")]
    Off,
    /// 401 even with a new token.
    #[error("the metadata service does not take our token (401)")]
    Unauthorized,
    /// 404: this instance does not speak our dialect, or it is another service.
    #[error("there is no Mezame document at this endpoint (404)")]
    NoDocument,
    /// Any other status.
    #[error("the metadata service answered {status} ({error})")]
    Status {
        /// Such as 500.
        status: u16,
        /// The stable word in its answer, or nothing.
        error: String,
    },
    /// The document can't be read.
    #[error("the document can't be read: {0}")]
    Document(String),
    /// A document of a form that this agent does not know.
    #[error("the document has version {0}, and this agent knows only {known}", known = Document::VERSION)]
    Version(u32),
}

impl SourceError {
    /// A word for programs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Http(HttpError::Connect(_)) => "no-connection",
            Self::Http(_) => "connection-broke",
            Self::NotReady { .. } => "not-ready",
            Self::Off => "endpoint-off",
            Self::Unauthorized => "unauthorized",
            Self::NoDocument => "no-document",
            Self::Status { .. } => "unexpected-status",
            Self::Document(_) => "bad-document",
            Self::Version(_) => "unknown-version",
        }
    }

    /// Whether the same may succeed soon: the server is away, or not ready.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Http(_) | Self::NotReady { .. } | Self::Status { status: 500.., .. })
    }

    /// Whether what was named is no longer what the server has.
    pub fn is_outdated(&self) -> bool {
        matches!(self, Self::Status { status: 412, .. })
    }

    /// Whether the server has understood and refused, so that saying it again is of no use.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Status { status: 400..=499, .. } | Self::NoDocument)
    }
}

/// What an answer means that is none of those wanted.
pub(super) fn refusal(response: &Response) -> SourceError {
    match response.head.status {
        429 | 503 => SourceError::NotReady {
            retry_after: response
                .head
                .header("retry-after")
                .and_then(|text| text.parse().ok())
                .map(Duration::from_secs),
        },
        401 => SourceError::Unauthorized,
        403 => SourceError::Off,
        404 => SourceError::NoDocument,
        status => {
            #[derive(serde::Deserialize)]
            struct Said {
                error: String,
            }
            let said = serde_json::from_slice::<Said>(&response.body);
            let error = said.map(|said| said.error.chars().take(80).collect()).unwrap_or_default();
            SourceError::Status { status, error }
        }
    }
}
