//! What calls for single files of an image fail of, as problems.

use axum::http::StatusCode;
use mezame_images::files::FilesError;
use mezame_model::api::{Fault, Problem};

use super::{
    Failure,
    images::{faulty, plain},
};
use crate::{fault::chain, images::ImagesError};

pub(super) fn problem(error: FilesError) -> Problem {
    let conflict = |kind, title| plain(StatusCode::CONFLICT, kind, title, &chain(&error));
    match error {
        FilesError::Archive(error) => Failure::from(ImagesError::Archive(error)).problem(),
        FilesError::Path { .. } => faulty(vec![Fault {
            document: 0,
            path: "path".into(),
            message: error.to_string(),
            mend: "4096 bytes at most, 128 names deep, without '.' and '..'".into(),
        }]),
        FilesError::NotFound { .. } | FilesError::NoPartition { .. } => plain(
            StatusCode::NOT_FOUND,
            "no-such-file",
            "There is no such file in the image",
            &error.to_string(),
        ),
        FilesError::Link { .. }
        | FilesError::NotADirectory { .. }
        | FilesError::NotALink { .. }
        | FilesError::NotAFile { .. } => conflict("other-file", "What is there is of another kind"),
        FilesError::TooLarge { .. } | FilesError::TooMany { .. } => {
            conflict("too-large", "It is more than is read out")
        }
        FilesError::Unsupported { .. } => conflict(
            "no-file-system",
            "No files can be read there: restore the disk, and open it in a guest",
        ),
        FilesError::Table(_)
        | FilesError::Ext { .. }
        | FilesError::Superblock(_)
        | FilesError::Read { .. }
        | FilesError::GaveUp { .. } => {
            conflict("damaged-files", "The disk in the image is damaged there, or not understood")
        }
        FilesError::Sink(_) => Failure::Internal.problem(),
    }
}
