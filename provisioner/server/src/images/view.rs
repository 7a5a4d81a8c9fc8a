//! Images as operators see them, and the short calls about them. All of it blocks.

use std::{collections::BTreeSet, sync::Arc};

use mezame_images::archive::{
    Archive, ArchiveError, Image as ArchiveImage, ImageId, Kind, Retention, Viewer, Visible,
    retention::Dated,
};
use mezame_model::{
    ProjectName,
    api::{
        Fault,
        images::{Image, ImageList, ImageRetention, Retained, Shares},
    },
};

use super::{
    Images, ImagesError, KeyLookup,
    fault::{chain, plain},
};

/// The label of a backup that says of which volume it is.
const VOLUME: &str = mezame_images::backup::pull::VOLUME;

/// An image as its project or one that it is shared with sees it.
pub(crate) fn look(
    archive: &Archive,
    keys: &KeyLookup,
    project: &ProjectName,
    id: ImageId,
) -> Result<Visible, ImagesError> {
    Ok(archive.view(id, Viewer::Project(project), &|it: &ProjectName| keys(it))?)
}

impl Images {
    /// The same for long work. Blocks.
    pub(crate) fn look(
        &self,
        project: &ProjectName,
        id: ImageId,
    ) -> Result<(Arc<Archive>, Visible), ImagesError> {
        let archive = self.archive()?;
        let visible = look(&archive, &self.keys, project, id)?;
        Ok((archive, visible))
    }
}

/// One image, with whom it is shared where it is the project's own.
pub(crate) fn one(
    archive: &Archive,
    keys: &KeyLookup,
    project: &ProjectName,
    id: ImageId,
) -> Result<Image, ImagesError> {
    let visible = look(archive, keys, project, id)?;
    let mut shown = of(visible.image());
    if visible.is_own() {
        let with = archive.shares(&visible)?;
        let all = with.contains(&None);
        let projects = with.into_iter().flatten().map(|project| project.to_string()).collect();
        shown.shares = Some(Shares { all, projects });
    }
    Ok(shown)
}

/// A page of what is seen, sorted by id, and whether there is more.
pub(crate) fn page(
    archive: &Archive,
    keys: &KeyLookup,
    project: Option<&ProjectName>,
    after: Option<&str>,
    most: usize,
) -> Result<(ImageList, bool), ImagesError> {
    let viewer = project.map_or(Viewer::Operator, Viewer::Project);
    let page = archive.page(viewer, &|it: &ProjectName| keys(it), after, most)?;
    Ok((ImageList { items: page.images.iter().map(of).collect() }, page.has_more))
}

/// Drops the backups of a volume that a policy does not keep; only says which for a dry run.
pub(crate) fn retain(
    archive: &Archive,
    keys: &KeyLookup,
    project: &ProjectName,
    policy: &ImageRetention,
    by: Option<&str>,
) -> Result<Retained, ImagesError> {
    let volume = BTreeSet::from([policy.volume.as_str()]);
    let mut backups =
        archive.list_labelled(project, &|it: &ProjectName| keys(it), VOLUME, &volume)?;
    backups.retain(|image| image.kind == Kind::Backup);
    let dated: Vec<Dated> =
        backups.iter().map(|it| Dated { id: it.id, created_ms: it.created_ms }).collect();
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let retention = Retention {
        last: count(policy.last),
        hourly: count(policy.hourly),
        daily: count(policy.daily),
        weekly: count(policy.weekly),
        monthly: count(policy.monthly),
        yearly: count(policy.yearly),
    };
    let mut dropped = retention.dropped(&dated);
    let kept = dated.iter().filter(|image| !dropped.contains(&image.id));
    let kept = kept.map(|image| image.id.to_string()).collect();
    let faults =
        by.map(|by| drop_all(archive, keys, project, by, &mut dropped)).unwrap_or_default();
    let dropped = dropped.iter().map(ToString::to_string).collect();
    Ok(Retained { kept, dropped, faults })
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

fn of(image: &ArchiveImage) -> Image {
    let detail = image.detail.clone();
    let name = detail.as_ref().map(|detail| detail.name.clone());
    let detail = detail.unwrap_or_default();
    let kind = match image.kind {
        Kind::Imported => "imported",
        Kind::Captured => "captured",
        Kind::Backup => "backup",
    };
    Image {
        id: image.id.to_string(),
        project: image.project.to_string(),
        kind: kind.into(),
        created_ms: image.created_ms,
        size: image.size,
        content: image.content.to_string(),
        key: image.key.clone(),
        name,
        labels: detail.labels,
        format: detail.provenance.format,
        sha256: detail.provenance.sha256,
        signer: detail.provenance.signer,
        source: detail.provenance.source,
        shares: None,
    }
}

#[cfg(test)]
mod tests;
