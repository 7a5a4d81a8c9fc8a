//! Images as operators see them, and the short calls about them. All of it blocks.

use std::sync::Arc;

use mezame_images::archive::{Archive, Image as ArchiveImage, ImageId, Kind, Viewer, Visible};
use mezame_model::{
    ProjectName,
    api::images::{Image, ImageList, Shares},
};

use super::{Images, ImagesError, KeyLookup};

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
