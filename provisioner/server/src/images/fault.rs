//! What a job failed of, in the form of every fault: the place, what is wrong, how to mend it.
//!
//! An importer reads these. So the path of our own copy of his file is not in them.

use std::path::Path;

use mezame_images::archive::{ArchiveError, ForeignError};
use mezame_model::api::Fault;

use crate::{
    fault::{chain, plain},
    jobs::Unfinished,
};

/// The place of what is wrong with the archive's site, and not with what was sent.
pub(crate) const SITE: &str = "archive";

/// Why the archive did not do it.
pub(crate) fn of_archive(error: &ArchiveError) -> Unfinished {
    let (path, mend) = match error {
        ArchiveError::Cancelled => return Unfinished::Cancelled,
        ArchiveError::Ended => ("", "ask for it again: what was written is found"),
        ArchiveError::NoImage { .. } => ("image", "list the images"),
        ArchiveError::Chunk { .. } => {
            ("image", "'verify' tells which parts are damaged; import it again if you have it")
        }
        ArchiveError::Unreadable { .. } => {
            ("archive", "repair the image, or 'mezame image archive forget' it")
        }
        ArchiveError::TooLarge { .. } => ("size", "an image has 16 TiB at most"),
        ArchiveError::Detail { .. } => ("labels", "leave some out"),
        ArchiveError::KeyNeeded { .. } | ArchiveError::OtherKey { .. } => {
            ("project", "the project's key is not at hand: ask the operator")
        }
        ArchiveError::Store(_) | ArchiveError::FolderMissing { .. } | ArchiveError::NoArchive => {
            ("archive", "ask the operator whether the archive's place is there and has room")
        }
        ArchiveError::Source { .. } => ("", "send the file again"),
        _ => ("archive", "the operator's log has more"),
    };
    plain(path, chain(error), mend).into()
}

/// Of the folder of uploads, for who can do something about it.
pub(crate) fn no_room(message: impl Into<String>) -> Fault {
    plain(SITE, message, "try again later, or ask the operator for room in the folder of uploads")
}

/// Why a file was not imported; `file` is where it lies here.
pub(crate) fn of_foreign(error: &ForeignError, file: &Path) -> Unfinished {
    let (path, mend) = match error {
        ForeignError::Archive(error) => return of_archive(error),
        ForeignError::Digest { .. } => {
            ("sha256", "the file is another than was meant, or did not come whole: get it again")
        }
        ForeignError::Signature { .. } => {
            ("signature", "get file and signature again, or name the key that signs with --trust")
        }
        ForeignError::Qcow2 { .. } | ForeignError::Vmdk { .. } | ForeignError::Vhdx { .. } => (
            "format",
            "say the form that the file has; one that names other files is to be made one file \
             first, with 'qemu-img convert'",
        ),
        ForeignError::TooLarge { .. } => ("largest", "make the disk smaller, or allow more"),
        ForeignError::Conversion { .. } => ("format", "see what 'qemu-img check' says of the file"),
        ForeignError::Patience { .. } => {
            (SITE, "the operator sets 'conversion_minutes'; or convert it to raw before")
        }
        ForeignError::Program(_) => {
            (SITE, "ask the operator: qemu-utils and util-linux are installed, and root starts it")
        }
        ForeignError::Room { .. } => return no_room("no room is left to convert the file").into(),
        ForeignError::Io { .. } | ForeignError::NoFile { .. } | ForeignError::Changed { .. } => {
            (SITE, "ask the operator whether the folder of uploads can be used")
        }
    };
    let message = chain(error).replace(&file.display().to_string(), "the file");
    let folder = file.parent().map(|folder| folder.display().to_string());
    // What replaces nothing would stand between all letters.
    let message = match folder.filter(|folder| !folder.is_empty()) {
        Some(folder) => message.replace(&folder, "the folder of uploads"),
        None => message,
    };
    plain(path, message, mend).into()
}
