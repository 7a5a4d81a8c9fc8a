//! Every failure of the operator API as `application/problem+json` (RFC 9457).
//!
//! The one place that chooses a status. The answer says what the caller can do about it; the log
//! gets the causes.

mod files;
mod images;
mod jobs;
mod volumes;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use mezame_model::{
    Generation,
    api::{Fault, Problem},
};

use crate::{
    control::ControlError, disk::DiskError, images::ImagesError, jobs::JobsError,
    store::StoreError, volumes::VolumesError,
};

/// Why a request fails.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No or no good token.
    Unauthorized,
    /// The caller may only read.
    Forbidden,
    /// No call has this path.
    NoSuchPath,
    /// The path has other methods; `Allow` names them.
    MethodNotAllowed,
    /// The body is longer than this.
    TooLong { limit: usize },
    /// The body broke off.
    Broken,
    /// The body is not JSON by its type.
    MediaType,
    /// The body is not JSON.
    NotJson { line: usize, column: usize },
    /// The body is JSON of another form.
    Form { wanted: &'static str },
    /// A parameter of the query can't be read.
    Parameter { name: &'static str, wanted: &'static str },
    /// A header can't be read.
    Header { name: &'static str, wanted: &'static str },
    /// An instance has no such disk.
    Disk(DiskError),
    /// No part of an image lies behind where the caller wants it from.
    Range { size: u64 },
    /// The site has no image archive.
    NoArchive,
    /// The image archive's own.
    Images(ImagesError),
    /// The table of jobs.
    Jobs(JobsError),
    /// The site has no volumes.
    NoVolumes,
    /// The volumes' own.
    Volumes(VolumesError),
    /// A failure of ours that has been logged.
    Internal,
    /// The control plane's own.
    Control(ControlError),
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        Self::Control(error)
    }
}

impl From<ImagesError> for Failure {
    fn from(error: ImagesError) -> Self {
        Self::Images(error)
    }
}

impl From<JobsError> for Failure {
    fn from(error: JobsError) -> Self {
        Self::Jobs(error)
    }
}

impl From<VolumesError> for Failure {
    fn from(error: VolumesError) -> Self {
        Self::Volumes(error)
    }
}

impl Failure {
    fn problem(self) -> Problem {
        let plain = |status: StatusCode, kind: &str, title: &str, detail: String| Problem {
            kind: kind.into(),
            title: title.into(),
            status: status.as_u16(),
            detail,
            faults: Vec::new(),
        };
        let bad = |kind, title, detail| plain(StatusCode::BAD_REQUEST, kind, title, detail);
        match self {
            Self::Unauthorized => plain(
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "A bearer token is needed",
                "send 'Authorization: Bearer TOKEN' with a token of the tokens file".into(),
            ),
            Self::Forbidden => plain(
                StatusCode::FORBIDDEN,
                "forbidden",
                "This caller may only read",
                "use a token with the role 'write'".into(),
            ),
            Self::NoSuchPath => plain(
                StatusCode::NOT_FOUND,
                "no-such-path",
                "No call has this path",
                "GET /v1/openapi.json describes all calls".into(),
            ),
            Self::MethodNotAllowed => plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "The path does not have this method",
                "the Allow header names those that it has".into(),
            ),
            Self::TooLong { limit } => plain(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-long",
                "The body is too long",
                format!("at most {limit} bytes are taken; apply documents in several calls"),
            ),
            Self::Broken => {
                bad("broken-body", "The body could not be read to its end", String::new())
            }
            Self::MediaType => plain(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "media-type",
                "The body must be JSON",
                "send 'Content-Type: application/json'".into(),
            ),
            Self::NotJson { line, column } => {
                bad("not-json", "The body is not JSON", format!("at line {line}, column {column}"))
            }
            Self::Form { wanted } => {
                bad("form", "The body has another form", format!("it must be {wanted}"))
            }
            Self::Parameter { name, wanted } => bad(
                "parameter",
                "A query parameter can't be read",
                format!("'{name}' must be {wanted}"),
            ),
            Self::Header { name, wanted } => {
                bad("header", "A header can't be read", format!("'{name}' must be {wanted}"))
            }
            Self::Disk(error) => disk_problem(&error),
            Self::Range { size } => plain(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "range",
                "Nothing lies there",
                format!("the image has {size} bytes"),
            ),
            Self::NoArchive => images::no_archive(),
            Self::Images(error) => images::problem(error),
            Self::Jobs(error) => jobs::problem(&error),
            Self::NoVolumes => volumes::no_volumes(),
            Self::Volumes(error) => volumes::problem(error),
            Self::Internal => plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "The control plane failed",
                "its log has the cause".into(),
            ),
            Self::Control(error) => control_problem(error),
        }
    }
}

fn disk_problem(error: &DiskError) -> Problem {
    let conflict = |kind: &str, title: &str, fault: Fault| Problem {
        kind: kind.into(),
        title: title.into(),
        status: StatusCode::CONFLICT.as_u16(),
        detail: String::new(),
        faults: vec![fault],
    };
    let fault = |path: &str, mend: String| Fault {
        document: 0,
        path: path.into(),
        message: error.to_string(),
        mend,
    };
    match error {
        DiskError::NotWhole => conflict(
            "not-whole",
            "The instance has no port yet",
            fault("ports", "apply its ports and their networks, then ask again".into()),
        ),
        DiskError::Dialect { dialect, .. } => conflict(
            "no-dialect",
            "The instance has no disk of this format",
            fault("dialects", format!("add '{}' to the instance's dialects", dialect.as_str())),
        ),
        DiskError::TokenKeys(_) | DiskError::SigningKey(_) | DiskError::Volume(_) => {
            tracing::error!(error = error as &dyn std::error::Error, "a disk can't be made");
            Failure::Internal.problem()
        }
    }
}

fn control_problem(error: ControlError) -> Problem {
    let with = |status: StatusCode, kind: &str, title: &str, faults: Vec<Fault>| Problem {
        kind: kind.into(),
        title: title.into(),
        status: status.as_u16(),
        detail: String::new(),
        faults,
    };
    match error {
        ControlError::Faults(faults) => with(
            StatusCode::UNPROCESSABLE_ENTITY,
            "faults",
            "Nothing was applied: the documents have faults",
            faults,
        ),
        ControlError::InUse(faults) => {
            with(StatusCode::CONFLICT, "in-use", "Not deleted: others refer to it", faults)
        }
        ControlError::Quota(over) => Problem {
            detail: over.to_string(),
            ..with(
                StatusCode::CONFLICT,
                "over-quota",
                "The project may not have so much",
                Vec::new(),
            )
        },
        ControlError::NotFound => Problem {
            detail:
                "nothing of that name is there, or its project is not: see 'mezame get projects'"
                    .into(),
            ..with(StatusCode::NOT_FOUND, "not-found", "There is no such resource", Vec::new())
        },
        ControlError::Precondition { actual } => Problem {
            detail: match actual {
                Some(Generation(revision)) => {
                    format!("it is at revision {revision}: read it again and decide anew")
                }
                None => "it is not there".into(),
            },
            ..with(
                StatusCode::PRECONDITION_FAILED,
                "precondition-failed",
                "The resource is not as the request expects it",
                Vec::new(),
            )
        },
        ControlError::There => Problem {
            detail: "there is one of this name already: change it, or take another name".into(),
            ..with(
                StatusCode::PRECONDITION_FAILED,
                "precondition-failed",
                "The resource is not as the request expects it",
                Vec::new(),
            )
        },
        ControlError::Store(StoreError::Conflict { .. }) => Problem {
            detail: "somebody else wrote at the same time: try again".into(),
            ..with(StatusCode::CONFLICT, "conflict", "Nothing was written", Vec::new())
        },
        ControlError::Store(StoreError::EventsGone { oldest, .. }) => Problem {
            detail: format!(
                "events after generation {oldest} are kept: list the resources, then watch from \
                 the list's generation"
            ),
            ..with(StatusCode::GONE, "events-gone", "Events of that time are gone", Vec::new())
        },
        ControlError::Keys(crate::site_keys::KeyError::TooManyTokenKeys) => Problem {
            detail: "the oldest ends within 6 h 15 min".into(),
            ..with(StatusCode::CONFLICT, "too-many-keys", "Too many token keys", Vec::new())
        },
        ControlError::Ending | ControlError::Store(StoreError::Closed) => with(
            StatusCode::SERVICE_UNAVAILABLE,
            "ending",
            "The control plane is ending",
            Vec::new(),
        ),
        error => {
            tracing::error!(error = &error as &dyn std::error::Error, "a request failed");
            Failure::Internal.problem()
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let problem = self.problem();
        let status =
            StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer realm=\"mezame\"");
            headers.insert(header::WWW_AUTHENTICATE, scheme);
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
