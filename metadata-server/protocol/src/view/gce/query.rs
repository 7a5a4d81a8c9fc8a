//! The query of a request: `recursive`, `alt`, and waiting for a change.
//!
//! `wait_for_change=true&last_etag=TAG&timeout_sec=S` holds the reply back until the content's tag
//! is another than TAG, and sends what is there after S seconds. A tag that none of ours can be,
//! such as NONE or 0, is answered at once.
//!
//! Follows "View and query VM metadata": "Wait for change", "Query parameters".

use crate::{
    etag,
    request::Request,
    response::{Response, Status},
};

/// How long a wait may last, in seconds, and how long it lasts if the request does not say.
pub(super) const TIMEOUT_MAX: u32 = 300;
/// How long it lasts where the request says neither the time nor what the guest has.
const TIMEOUT_UNSAID: u32 = 60;

/// In which form a value is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alt {
    /// As JSON.
    Json,
    /// As text.
    Text,
}

/// What a waiting guest has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// It does not say.
    Unsaid,
    /// Nothing that we could have sent.
    Nothing,
    /// The content with this tag.
    Tag(u64),
}

/// A wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    pub(super) known: Known,
    /// At most [`TIMEOUT_MAX`].
    pub(super) timeout_s: u32,
}

/// What the query says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Query {
    /// Whether all that lies below is wanted.
    pub(super) recursive: bool,
    /// None: the usual form.
    pub(super) alt: Option<Alt>,
    /// Some where it waits for a change.
    pub(super) wait: Option<Wait>,
}

/// What is wrong with a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum QueryError {
    /// Neither of the two forms.
    #[error("alt is neither json nor text")]
    Alt,
    /// No number of seconds.
    #[error("timeout_sec is no number of seconds")]
    Timeout,
}

impl QueryError {
    /// What the guest is told.
    pub(super) fn response(self) -> Response {
        Response::text(
            Status::BadRequest,
            match self {
                Self::Alt => "alt must be json or text\n",
                Self::Timeout => "timeout_sec must be a number of seconds\n",
            },
        )
    }
}

impl Query {
    /// Reads the parameters; unknown ones say nothing. Letter case does not matter in values:
    /// cloud-init writes `recursive=True`.
    pub(super) fn parse(request: &Request<'_>) -> Result<Self, QueryError> {
        let is_true = |name| {
            request.parameter(name).is_some_and(|value: &str| value.eq_ignore_ascii_case("true"))
        };
        let alt = match request.parameter("alt") {
            None => None,
            Some(alt) if alt.eq_ignore_ascii_case("json") => Some(Alt::Json),
            Some(alt) if alt.eq_ignore_ascii_case("text") => Some(Alt::Text),
            Some(_) => return Err(QueryError::Alt),
        };
        // Google's agents send timeout_sec without waiting as well.
        let timeout = request.parameter("timeout_sec").map(parse_timeout).transpose()?;
        let wait = is_true("wait_for_change").then(|| {
            let known = match request.parameter("last_etag") {
                None => Known::Unsaid,
                Some(tag) => etag::parse(tag).map_or(Known::Nothing, Known::Tag),
            };
            let unsaid = if known == Known::Unsaid { TIMEOUT_UNSAID } else { TIMEOUT_MAX };
            Wait { known, timeout_s: timeout.unwrap_or(unsaid) }
        });
        Ok(Self { recursive: is_true("recursive"), alt, wait })
    }
}

/// Digits; more than the greatest is the greatest.
fn parse_timeout(text: &str) -> Result<u32, QueryError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(QueryError::Timeout);
    }
    // What is too long for a number is longer than we wait.
    Ok(text.parse::<u32>().unwrap_or(u32::MAX).min(TIMEOUT_MAX))
}
