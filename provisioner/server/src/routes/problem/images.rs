//! What calls about images fail of, as problems.

use axum::http::StatusCode;
use mezame_images::archive::ArchiveError;
use mezame_model::api::{Fault, Problem};

use super::Failure;
use crate::{control::ControlError, fault::chain, images::ImagesError};

/// The site has no archive.
pub(super) fn no_archive() -> Problem {
    plain(
        StatusCode::NOT_FOUND,
        "no-archive",
        "This site has no image archive",
        "the operator sets 'images' in the provisioner's settings",
    )
}

pub(super) fn problem(error: ImagesError) -> Problem {
    match error {
        ImagesError::NotMade { .. } => plain(
            StatusCode::CONFLICT,
            "no-archive-there",
            "The archive is not there",
            &format!(
                "{error}: 'mezame image archive create' makes it; if there was one, what it lies on \
                 is not mounted"
            ),
        ),
        ImagesError::NotBegun(_) => {
            let why = chain(&error);
            tracing::error!(error = why, "images can't be worked with");
            plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "images-away",
                "Images can't be worked with now",
                &why,
            )
        }
        ImagesError::Faults(faults) => faulty(faults),
        ImagesError::Site(faults) => Problem {
            faults,
            ..plain(
                StatusCode::INSUFFICIENT_STORAGE,
                "no-room",
                "Not done: the site can't take it now",
                "",
            )
        },
        ImagesError::Jobs(error) => super::jobs::problem(&error),
        ImagesError::TooMany { .. } => too_many(&error.to_string()),
        ImagesError::Archive(error) => archive(&error),
        ImagesError::Files(error) => super::files::problem(error),
        ImagesError::Place(_) | ImagesError::Away { .. } => away(&chain(&error)),
        ImagesError::Note(error) => Failure::from(*error).problem(),
        ImagesError::Ending => Failure::from(ControlError::Ending).problem(),
        ImagesError::Thread(_) => {
            tracing::error!(error = chain(&error), "a call about images failed");
            Failure::Internal.problem()
        }
    }
}

fn archive(error: &ArchiveError) -> Problem {
    let conflict = |kind, title| plain(StatusCode::CONFLICT, kind, title, &chain(error));
    match error {
        ArchiveError::NoImage { .. } | ArchiveError::NoPack { .. } => {
            Failure::from(ControlError::NotFound).problem()
        }
        ArchiveError::OtherProject { .. } => plain(
            StatusCode::FORBIDDEN,
            "other-project",
            "The image is another project's",
            "it can be read, and changed only by its own",
        ),
        ArchiveError::NotEmpty { .. } => {
            conflict("archive-there", "No archive is made where there is something of one")
        }
        ArchiveError::KeyNeeded { .. } => {
            conflict("key-away", "The image is encrypted, and its key is not at hand")
        }
        ArchiveError::Record { .. } | ArchiveError::Chunk { .. } => {
            conflict("damaged", "The image is damaged")
        }
        ArchiveError::Store(_)
        | ArchiveError::NoArchive
        | ArchiveError::Format
        | ArchiveError::FolderMissing { .. } => away(&chain(error)),
        error => {
            tracing::error!(error = chain(error), "the image archive failed");
            Failure::Internal.problem()
        }
    }
}

fn away(why: &str) -> Problem {
    tracing::error!(error = why, "the image archive can't be used");
    plain(
        StatusCode::SERVICE_UNAVAILABLE,
        "archive-away",
        "The image archive can't be used now",
        why,
    )
}

/// There are as many as there may be.
pub(super) fn too_many(why: &str) -> Problem {
    plain(
        StatusCode::TOO_MANY_REQUESTS,
        "too-many",
        "Too much at once",
        &format!("{why}: try again when some have ended"),
    )
}

/// What was asked for is wrong.
pub(super) fn faulty(faults: Vec<Fault>) -> Problem {
    let title = "Not done: what was asked for has faults";
    Problem { faults, ..plain(StatusCode::UNPROCESSABLE_ENTITY, "faults", title, "") }
}

pub(super) fn plain(status: StatusCode, kind: &str, title: &str, detail: &str) -> Problem {
    Problem {
        kind: kind.into(),
        title: title.into(),
        status: status.as_u16(),
        detail: detail.into(),
        faults: Vec::new(),
    }
}
