//! Deleting the backups of one volume that a policy does not keep, by hand. It looks at nothing but
//! backups; what schedules keep of their own is [`crate::schedules`]'. All of it blocks.

use std::collections::BTreeSet;

use mezame_images::{
    archive::{Archive, ArchiveError, ImageId, Kind, Retention, retention::Dated},
    backup::pull::VOLUME,
};
use mezame_model::{
    ProjectName,
    api::{
        Fault,
        schedules::Keep,
        volumes::{PruneBackups, Pruned},
    },
};

use super::{ImagesError, KeyLookup, view::look};
use crate::fault::{chain, plain};

/// The policy in the archive's words. All zero keeps all.
pub(crate) fn retention_of(keep: Keep) -> Retention {
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    Retention {
        last: count(keep.last),
        hourly: count(keep.hourly),
        daily: count(keep.daily),
        weekly: count(keep.weekly),
        monthly: count(keep.monthly),
        yearly: count(keep.yearly),
    }
}

/// Drops the backups of a volume that a policy does not keep; only says which for a dry run.
pub(crate) fn prune(
    archive: &Archive,
    keys: &KeyLookup,
    project: &ProjectName,
    wanted: &PruneBackups,
    by: Option<&str>,
) -> Result<Pruned, ImagesError> {
    let volume = BTreeSet::from([wanted.volume.as_str()]);
    let mut backups =
        archive.list_labelled(project, &|it: &ProjectName| keys(it), VOLUME, &volume)?;
    backups.retain(|image| image.kind == Kind::Backup);
    let dated: Vec<Dated> =
        backups.iter().map(|it| Dated { id: it.id, created_ms: it.created_ms }).collect();
    let mut dropped = retention_of(wanted.keep).dropped(&dated);
    let kept = dated.iter().filter(|image| !dropped.contains(&image.id));
    let kept = kept.map(|image| image.id.to_string()).collect();
    let faults =
        by.map(|by| drop_all(archive, keys, project, by, &mut dropped)).unwrap_or_default();
    let dropped = dropped.iter().map(ToString::to_string).collect();
    Ok(Pruned { kept, dropped, faults })
}

/// Deletes these, and leaves in the list what was deleted; tells why others are not.
fn drop_all(
    archive: &Archive,
    keys: &KeyLookup,
    project: &ProjectName,
    by: &str,
    ids: &mut Vec<ImageId>,
) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut is_away = false;
    ids.retain(|id| {
        // Each try at a store that is away takes minutes.
        if is_away {
            faults.push(plain(&id.to_string(), "it was not tried", "ask for it again"));
            return false;
        }
        let deleted = look(archive, keys, project, *id).and_then(|it| Ok(archive.delete(&it)?));
        match deleted {
            Ok(()) => {
                // Who asked may not wait for the answer, which alone tells it besides.
                tracing::info!(caller = by, %project, backup = %id, "a retention deleted a backup");
                true
            }
            // Somebody else was faster.
            Err(ImagesError::Archive(ArchiveError::NoImage { .. })) => false,
            Err(error) => {
                is_away = matches!(error, ImagesError::Archive(ArchiveError::Store(_)));
                faults.push(plain(&id.to_string(), chain(&error), "ask for it again"));
                false
            }
        }
    });
    faults
}
