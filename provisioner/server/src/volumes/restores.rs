//! Replacing what a volume holds by an image, and making an image of what it holds.

use std::sync::Arc;

use mezame_images::{
    archive::{Archive, ArchiveError, ImageId, KeyOf, Visible},
    volume::VolumeId,
};
use mezame_model::{
    ProjectName,
    api::{
        jobs::{Job, JobKind},
        volumes::{Capture, RestoreVolume, RestoreWay, VolumeClass},
    },
};

use super::{
    Volumes, VolumesError,
    checks::not_running,
    claim::MayOpen,
    create::is_sealed,
    executor::{CaptureOrder, RestoreOrder},
    record::VolumeRecord,
    unfinished,
};
use crate::{
    images::{ImagesError, KeyLookup, view::look},
    jobs::Outcome,
};

/// Lengths that QEMU opens past the host's cache on any file system are whole such.
const BLOCK: u64 = 4096;

impl Volumes {
    /// Begins to replace what a volume that no guest runs on holds by an image; goes on with what was
    /// begun.
    pub(crate) async fn restore(
        self: &Arc<Self>,
        project: &ProjectName,
        id: &VolumeId,
        asked: RestoreVolume,
    ) -> Result<Job, VolumesError> {
        let RestoreVolume { image, way, keep_old } = asked;
        let claim = self.claim(std::slice::from_ref(id))?;
        let record = self.usable(project, id)?;
        let image = self.image_of(project, &image).await?;
        check_restore(&record, &image, way, keep_old)?;
        self.control.check_growth(project, id, image.image().size)?;
        let image = image.image().id;
        let order = RestoreOrder {
            project: project.clone(),
            image,
            is_over: way == RestoreWay::Over,
            keeps_old: keep_old,
        };
        let (of, id) = (project.clone(), id.clone());
        self.begin(JobKind::RestoreVolume, project, claim, move |volumes, ticket| {
            let done = volumes.executor.restore(&record.facts(), &order, ticket.ticker());
            let done = done.map_err(|error| unfinished("volume", error))?;
            let size = done.size;
            let change = volumes.control.change_volume(&of, &id, move |it| {
                it.class = VolumeClass::Plain;
                it.size = size;
                it.image = Some(image.to_string().into());
                it.kept.extend(done.kept);
            });
            volumes.wait(change)?;
            let figures = [("size".to_owned(), size), ("written".to_owned(), done.written)];
            Ok(Outcome {
                image: Some(image.to_string()),
                figures: figures.into(),
                ..Outcome::default()
            })
        })
        .await
    }

    /// Gives up a restore that was begun and cut short.
    pub(crate) async fn give_up_restore(
        &self,
        project: &ProjectName,
        id: &VolumeId,
    ) -> Result<(), VolumesError> {
        let claim = self.claim(std::slice::from_ref(id))?;
        let facts = self.usable(project, id)?.facts();
        self.ask(move |executor| {
            let _claim = claim;
            executor.give_up_restore(&facts)
        })
        .await
    }

    /// Begins to make an image of what a volume holds.
    pub(crate) async fn capture(
        self: &Arc<Self>,
        project: &ProjectName,
        id: &VolumeId,
        by: &str,
        asked: Capture,
    ) -> Result<Job, VolumesError> {
        let Capture { name, sealed, qmp, freeze } = asked;
        check_name(&name)?;
        // What was sealed is a guest that was stopped after that, and never a running one.
        let qmp = match (sealed, qmp) {
            (true, Some(_)) => {
                let mend = "stop the guest after it was sealed, and name no QMP socket";
                return Err(VolumesError::fault("sealed", "a running guest is not sealed", mend));
            }
            (true, None) => None,
            (false, qmp) => self.monitor_of(project, std::slice::from_ref(id), qmp).await?,
        };
        if freeze.is_some() && qmp.is_none() {
            return Err(not_running());
        }
        let freeze = self.freezing(project, freeze)?;
        let may_open = if qmp.is_some() { MayOpen::Yes } else { MayOpen::No };
        let mut claim = self.claim_for_job(std::slice::from_ref(id), may_open)?;
        if let Some(qmp) = &qmp {
            claim = claim.with_monitor(self.lookout.socket(qmp.path()).await?)?;
        }
        let record = self.usable(project, id)?;
        // Bytes that are encrypted here are not put into an archive in the clear.
        let is_clear = matches!(self.images.key_of(project), KeyOf::Open);
        if is_clear && record.is_encrypted() {
            let mend = "keep it in a project with 'encrypted_images: true'";
            return Err(VolumesError::fault(
                "",
                "the volume is encrypted, and its project is not",
                mend,
            ));
        }
        // A site whose archive is not there takes no images; that there is one is noted before.
        self.images.ask(|_, _| Ok(())).await?;
        let (project_of, by) = (project.clone(), by.to_owned());
        let is_sealed = sealed;
        let order = CaptureOrder { project: project_of, name, by, is_sealed, qmp, freeze };
        self.begin(JobKind::Capture, project, claim, move |volumes, ticket| {
            let done = volumes.executor.capture(&record.facts(), &order, ticket.ticker());
            let done = done.map_err(|error| unfinished("volume", error))?;
            let figures = [("written".to_owned(), done.written)].into();
            Ok(Outcome { image: Some(done.image.to_string()), figures, ..Outcome::default() })
        })
        .await
    }

    /// The image that a project sees by this id.
    pub(super) async fn image_of(
        &self,
        project: &ProjectName,
        text: &str,
    ) -> Result<Visible, VolumesError> {
        let none = || VolumesError::fault("image", "there is no such image", "list the images");
        let id = ImageId::parse(text).map_err(|_| none())?;
        let who = project.clone();
        let look = move |archive: &Archive, keys: &KeyLookup| look(archive, keys, &who, id);
        match self.images.ask(look).await {
            Err(ImagesError::Archive(ArchiveError::NoImage { .. })) => Err(none()),
            looked => Ok(looked?),
        }
    }
}

/// That an image can take the place of what a volume holds.
fn check_restore(
    record: &VolumeRecord,
    image: &Visible,
    way: RestoreWay,
    keeps_old: bool,
) -> Result<(), VolumesError> {
    let is_over = way == RestoreWay::Over;
    if is_over && record.class != VolumeClass::Plain {
        let mend = "have it written beside, which makes the volume plain";
        return Err(VolumesError::fault("way", "an overlay is not written over", mend));
    }
    if is_over && keeps_old {
        let mend = "have it written beside, or do without the old contents";
        return Err(VolumesError::fault("keep_old", "what is written over is not kept", mend));
    }
    if record.is_rotating {
        let mend = "end it by 'mezame volume rotate-key'";
        return Err(VolumesError::fault("", "a change of the volume's key was begun", mend));
    }
    if record.keys.is_empty() && is_sealed(image) {
        let message = "the image is encrypted, or of an encrypted volume, and this one is not";
        let mend = "make a new volume of it, an encrypted one";
        return Err(VolumesError::fault("image", message, mend));
    }
    if !image.image().size.is_multiple_of(BLOCK) {
        let message = "its length is no multiple of 4096 bytes, as a plain volume's is";
        return Err(VolumesError::fault("image", message, "make a new volume of it"));
    }
    Ok(())
}

/// That an image can be called so.
pub(super) fn check_name(name: &str) -> Result<(), VolumesError> {
    if (1..=255).contains(&name.chars().count()) && !name.chars().any(char::is_control) {
        return Ok(());
    }
    Err(VolumesError::fault("name", "it is no name", "1 to 255 characters"))
}
