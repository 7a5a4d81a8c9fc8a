//! What calls about jobs fail of, as problems.

use axum::http::StatusCode;
use mezame_model::api::Problem;

use super::{
    Failure,
    images::{plain, too_many},
};
use crate::{control::ControlError, fault::chain, jobs::JobsError};

pub(super) fn problem(error: &JobsError) -> Problem {
    match error {
        JobsError::NoJob => Failure::from(ControlError::NotFound).problem(),
        JobsError::NotAwaiting { .. } => {
            plain(StatusCode::CONFLICT, "not-awaiting", "No file is taken", &error.to_string())
        }
        JobsError::TooMany { .. } | JobsError::TooManyOfProject { .. } => {
            too_many(&error.to_string())
        }
        JobsError::Ending => Failure::from(ControlError::Ending).problem(),
        JobsError::Journal(_) | JobsError::NoRandomness(_) => {
            tracing::error!(error = chain(error), "a call about jobs failed");
            Failure::Internal.problem()
        }
    }
}
