//! Backups: made by a job, and seen as the images that they are.

use std::{cmp::Reverse, collections::BTreeSet, fmt, sync::Arc};

use mezame_images::{
    archive::{Archive, Image, ImageId, KeyOf, Kind, Viewer},
    backup::pull::{CONSISTENCY, LEFT_OUT, POINT, READ, TAKEN, VOLUME, WHY_CRASH},
    volume::VolumeId,
};
use mezame_model::{
    ProjectName,
    api::{
        Fault,
        jobs::{Job, JobKind},
        volumes::{Backup, NewBackup},
    },
};

use super::{
    Unfinished, Volumes, VolumesError,
    checks::not_running,
    claim::MayOpen,
    executor::{BackedUp, BackupOrder, Reason, SCHEDULE},
    failure::{mend_of, unfinished},
    plain,
    restores::check_name,
};
use crate::{
    control::{Control, ControlError},
    images::{KeyLookup, SITE, view::look},
    jobs::Outcome,
};

/// Volumes of one guest that are backed up at once.
const MOST: usize = 64;

impl Volumes {
    /// Begins a backup of one point in time, for a schedule if one is named.
    pub(crate) async fn back_up(
        self: &Arc<Self>,
        project: &ProjectName,
        new: NewBackup,
        schedule: Option<Box<str>>,
    ) -> Result<Job, VolumesError> {
        let NewBackup { volumes, qmp, full, name, freeze } = new;
        let mut ids = BTreeSet::new();
        for (at, text) in volumes.iter().enumerate() {
            let wrong = |message: String| {
                VolumesError::fault(&format!("volumes[{at}]"), message, "name each volume once")
            };
            let id = VolumeId::parse(text).map_err(|error| wrong(error.to_string()))?;
            if !ids.insert(id) {
                return Err(wrong("it is named twice".into()));
            }
        }
        if ids.is_empty() || ids.len() > MOST {
            let message = format!("{} volumes", ids.len());
            return Err(VolumesError::fault("volumes", message, "1 to 64 volumes of one guest"));
        }
        name.as_deref().map(check_name).transpose()?;
        let ids: Vec<VolumeId> = ids.into_iter().collect();
        // Another project's volumes are none here, whatever is done with them.
        let faults = unknown_volumes(&self.control, project, &volumes, |_| true)?;
        if !faults.is_empty() {
            return Err(VolumesError::Faults(faults));
        }
        let qmp = self.monitor_of(project, &ids, qmp).await?;
        // A schedule's guest may be off.
        if freeze.is_some() && qmp.is_none() && schedule.is_none() {
            return Err(not_running());
        }
        let freeze = self.freezing(project, freeze)?;
        let may_open = if qmp.is_some() { MayOpen::Yes } else { MayOpen::No };
        let mut claim = self.claim_for_job(&ids, may_open)?;
        if let Some(qmp) = &qmp {
            claim = claim.with_monitor(self.lookout.socket(qmp.path()).await?)?;
        }
        // Bytes that are encrypted here are not put into an archive in the clear.
        let is_clear = matches!(self.images.key_of(project), KeyOf::Open);
        let mut volumes = Vec::with_capacity(ids.len());
        for id in &ids {
            let record = self.usable(project, id)?;
            if is_clear && !record.keys.is_empty() {
                let message = format!("the volume {id} is encrypted, and its project is not");
                let mend = "keep it in a project with 'encrypted_images: true'";
                return Err(VolumesError::fault("volumes", message, mend));
            }
            volumes.push(record.facts());
        }
        // A site whose archive is not there takes no backups; that there is one is noted before.
        self.images.ask(|_, _| Ok(())).await?;
        let of = project.clone();
        let order = BackupOrder { project: of, volumes, qmp, full, name, schedule, freeze };
        self.begin(JobKind::Backup, project, claim, move |all, ticket| {
            let done = all.executor.back_up(order, ticket.ticker());
            told(done.map_err(|error| unfinished("", error))?)
        })
        .await
    }

    /// A project's backups; newest first.
    pub(crate) async fn backups(&self, project: &ProjectName) -> Result<Vec<Backup>, VolumesError> {
        Ok(self.some_backups(project, None, None, usize::MAX).await?.0)
    }

    /// So many of them, of this volume and after this place where one is named; and whether there
    /// are more.
    pub(crate) async fn some_backups(
        &self,
        project: &ProjectName,
        volume: Option<String>,
        after: Option<BackupPlace>,
        most: usize,
    ) -> Result<(Vec<Backup>, bool), VolumesError> {
        let who = project.clone();
        let list = move |archive: &Archive, keys: &KeyLookup| {
            let keys = |it: &ProjectName| keys(it);
            let images = match volume {
                None => archive.list(Viewer::Project(&who), &keys)?,
                Some(volume) => {
                    archive.list_labelled(&who, &keys, VOLUME, &[volume.as_str()].into())?
                }
            };
            let own = images.iter().filter(|image| image.project == who);
            Ok(page(own.filter_map(backup_of).collect(), after.as_ref(), most))
        };
        Ok(self.images.ask(list).await?)
    }

    /// One of them.
    pub(crate) async fn backup(
        &self,
        project: &ProjectName,
        id: ImageId,
    ) -> Result<Backup, VolumesError> {
        let who = project.clone();
        let look = move |archive: &Archive, keys: &KeyLookup| look(archive, keys, &who, id);
        let visible = self.images.ask(look).await?;
        let backup = backup_of(visible.image()).filter(|_| visible.is_own());
        Ok(backup.ok_or(ControlError::NotFound)?)
    }

    /// Deletes one. Those that were made after it stand by themselves.
    pub(crate) async fn delete_backup(
        &self,
        project: &ProjectName,
        id: ImageId,
    ) -> Result<(), VolumesError> {
        // Another image is none of this call's.
        self.backup(project, id).await?;
        let who = project.clone();
        let delete = move |archive: &Archive, keys: &KeyLookup| {
            Ok(archive.delete(&look(archive, keys, &who, id)?)?)
        };
        Ok(self.images.ask(delete).await?)
    }
}

/// Which of these volumes, of those that are asked for, the project does not have.
pub(crate) fn unknown_volumes(
    control: &Control,
    project: &ProjectName,
    volumes: &[String],
    is_asked: impl Fn(&str) -> bool,
) -> Result<Vec<Fault>, ControlError> {
    let all = control.volumes(project)?;
    let is_known = |text: &str| all.iter().any(|it| it.id.as_str() == text);
    let unknown = volumes.iter().enumerate();
    let unknown = unknown.filter(|(_, text)| is_asked(text) && !is_known(text));
    let mend = "see 'mezame volume list'";
    let fault = |(at, text): (usize, &String)| {
        plain(&format!("volumes[{at}]"), format!("the project has no volume '{text}'"), mend)
    };
    Ok(unknown.map(fault).collect())
}

/// Where a backup is in a list, which goes on after it though it was deleted meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BackupPlace(Reverse<u64>, String);

impl BackupPlace {
    pub(crate) fn of(backup: &Backup) -> Self {
        Self(Reverse(backup.taken_ms), backup.id.clone())
    }

    /// Of its written form.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (taken, id) = text.split_once('.')?;
        Some(Self(Reverse(taken.parse().ok()?), ImageId::parse(id).ok()?.to_string()))
    }
}

impl fmt::Display for BackupPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.0.0, self.1)
    }
}

/// The first ones after that place, newest first; and whether there are more.
fn page(mut all: Vec<Backup>, after: Option<&BackupPlace>, most: usize) -> (Vec<Backup>, bool) {
    all.retain(|backup| after.is_none_or(|after| BackupPlace::of(backup) > *after));
    all.sort_by_cached_key(BackupPlace::of);
    let more = all.len() > most;
    all.truncate(most);
    (all, more)
}

/// What an image is as a backup; None where it is none.
fn backup_of(image: &Image) -> Option<Backup> {
    if image.kind != Kind::Backup {
        return None;
    }
    let detail = image.detail.as_ref()?;
    let label = |name: &str| detail.labels.get(name).cloned();
    Some(Backup {
        id: image.id.to_string(),
        name: Some(detail.name.clone()),
        volume: label(VOLUME)?,
        point: label(POINT)?,
        taken_ms: label(TAKEN)?.parse().ok()?,
        consistency: label(CONSISTENCY)?,
        why_crash: label(WHY_CRASH),
        left_out: label(LEFT_OUT),
        read: label(READ)?,
        size: image.size,
        schedule: label(SCHEDULE),
    })
}

/// What a backup came to, as a job's end.
fn told(done: BackedUp) -> Result<Outcome, Unfinished> {
    let figures = [
        ("frozen-us".to_owned(), done.frozen_us),
        ("read".to_owned(), done.read),
        ("stopped-us".to_owned(), done.stopped_us),
        ("written".to_owned(), done.written),
    ];
    let is_cancelled = done.missing.iter().any(|(_, error)| error.reason == Reason::Cancelled);
    // A guest that goes on copying what it overwrites is no cancelled job's end.
    if is_cancelled && done.images.is_empty() && done.not_closed.is_none() {
        return Err(Unfinished::Cancelled);
    }
    let mut faults = Vec::new();
    if let Some(error) = done.not_frozen {
        faults.push(plain("freeze", error.message, mend_of(error.reason)));
    }
    if done.missing.iter().any(|(_, error)| error.reason.is_away()) {
        let mend = "see what is said of the volumes; a schedule tries again by itself";
        faults.push(plain(SITE, "the archive, or a volume's pool, is away", mend));
    }
    for (volume, error) in done.missing {
        let mend = "back it up again: what has changed since its last backup is still known";
        faults.push(plain(&format!("volumes.{volume}"), error.message, mend));
    }
    if let Some(error) = done.not_closed {
        let mend = "the images are good; the guest's next backup takes the point in time down";
        faults.push(plain("qmp", error.message, mend));
    }
    let backups = done.images.iter().map(ToString::to_string).collect();
    let has_failed = !faults.is_empty();
    let outcome = Outcome { backups, figures: figures.into(), faults, ..Outcome::default() };
    if has_failed { Err(Unfinished::Failed(outcome)) } else { Ok(outcome) }
}

#[cfg(test)]
mod tests;
