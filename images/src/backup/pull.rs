//! The side of whoever pulls: an offer is read into the archive as an image that stands by itself.
//!
//! It knows no QEMU and needs nothing of the hypervisor but the offer and a way to its address. What
//! an offer says of a base that is not of this volume and point makes the pull read all.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use mezame_model::ProjectName;

pub use super::source::Moved;
use super::{
    base::Base,
    name::PointId,
    offer::Offer,
    plan::{FullReason, Plan, Published},
    source::NbdSource,
};
use crate::{
    archive::{
        Archive, ArchiveError, Detail, Image, ImageId, Imported, KeyOf, Kind, NewImage, ProjectKey,
        Provenance, Viewer, Visible, Watch,
    },
    background::in_background,
    nbd::Protection,
    volume::VolumeId,
};

/// Labels of a backup's image: its volume, its point in time and when that was (milliseconds since
/// 1970), `application` or `crash`, and what it was read by: `incremental`, or why it was not.
pub const VOLUME: &str = "backup.volume";
/// See [`VOLUME`].
pub const POINT: &str = "backup.point";
/// See [`VOLUME`].
pub const TAKEN: &str = "backup.taken-ms";
/// See [`VOLUME`].
pub const CONSISTENCY: &str = "backup.consistency";
/// Why the guest was not frozen, in words; of `crash` alone.
pub const WHY_CRASH: &str = "backup.why-crash";
/// File systems that were not frozen though the others were, each with why; of `application` alone, and
/// only where there is one.
pub const LEFT_OUT: &str = "backup.left-out";
/// See [`VOLUME`].
pub const READ: &str = "backup.read";
/// `yes` of a volume that was encrypted at the hypervisor; what it is restored to should be, too
/// ([`crate::restore`]).
pub const ENCRYPTED: &str = "backup.encrypted";

/// Why an offer was not made an image. There is no image then.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The hypervisor refuses to read it any more, or has taken it down: its guest was to be moved, and
    /// this took too long.
    #[error(
        "the point in time can't be read any more: it was given up, its scratch file was full, failed or too slow, or the disk itself fails"
    )]
    Broken(#[source] ArchiveError),
    /// It would be read over a network without TLS, and that was not asked for.
    #[error("the offer is of {0}, over a network and without TLS: nothing is read there")]
    Exposed(SocketAddr),
    /// The volume is encrypted, and its bytes would be in the archive in the clear: the project that
    /// they were to be put into has no key, and that was not asked for.
    #[error("{0} is encrypted, and the project that its backup was to be put into is not")]
    WouldBeClear(VolumeId),
    /// The archive, or the way to the hypervisor.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

/// What a backup's image is to be.
#[derive(Debug)]
pub struct Destination<'a> {
    /// Whose it is.
    pub project: &'a ProjectName,
    /// The project's key, if it is encrypted.
    pub key: Option<&'a ProjectKey>,
    /// What it is called.
    pub name: String,
    /// Labels beside those of every backup.
    pub labels: BTreeMap<String, String>,
    /// What is done though it is refused otherwise.
    pub exceptions: Exceptions,
}

/// What a pull refuses unless it is asked for by its name. None of it by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exceptions {
    /// Reading over a network without TLS: whoever is on the way reads it too, and can change it.
    pub clear_network: bool,
    /// Putting an encrypted volume's bytes into a project that is not encrypted: whoever has the
    /// archive's storage reads them.
    pub clear_archive: bool,
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// Its image.
    pub image: Image,
    /// Bytes that were written to the archive for it.
    pub written: u64,
    /// What went over the socket.
    pub moved: Moved,
    /// What was read: as planned, or all, where the base has gone meanwhile.
    pub plan: Plan,
}

/// The backups of a volume that are in the archive and can be opened with this key, to decide by.
/// What a project's image that was encrypted otherwise is of, nobody can tell.
pub fn published(
    archive: &Archive,
    project: &ProjectName,
    key: Option<&ProjectKey>,
    volume: &VolumeId,
) -> Result<Vec<Published>, ArchiveError> {
    let mut all = published_of(archive, project, key, &BTreeSet::from([volume]))?;
    Ok(all.remove(volume).unwrap_or_default())
}

/// The same of several volumes, by one look at the archive; of those that have any. It lists the archive, and
/// reads their records and those that this process has not read before: not to be asked while somebody
/// waits for a monitor.
pub fn published_of(
    archive: &Archive,
    project: &ProjectName,
    key: Option<&ProjectKey>,
    volumes: &BTreeSet<&VolumeId>,
) -> Result<BTreeMap<VolumeId, Vec<Published>>, ArchiveError> {
    let words = volumes.iter().map(|volume| volume.as_str()).collect();
    let images = archive.list_labelled(project, &keys_of(project, key), VOLUME, &words)?;
    let mut all: BTreeMap<VolumeId, Vec<Published>> = BTreeMap::new();
    for volume in volumes {
        let of: Vec<_> = images.iter().filter_map(|image| backup_of(image, volume)).collect();
        if !of.is_empty() {
            all.insert((*volume).clone(), of);
        }
    }
    Ok(all)
}

/// A project's own images are encrypted with its key, if it has one. Others' are no bases.
fn keys_of<'a>(
    own: &'a ProjectName,
    key: Option<&'a ProjectKey>,
) -> impl Fn(&ProjectName) -> KeyOf + 'a {
    move |project| match key {
        Some(key) if project == own => KeyOf::Key(key.clone()),
        _ => KeyOf::Open,
    }
}

/// What an image is as a backup of this volume; None where it is none.
fn backup_of(image: &Image, volume: &VolumeId) -> Option<Published> {
    let labels = &image.detail.as_ref()?.labels;
    if image.kind != Kind::Backup || labels.get(VOLUME)? != volume.as_str() {
        return None;
    }
    Some(Published {
        image: image.id,
        point: PointId::parse(labels.get(POINT)?).ok()?,
        size: image.size,
        created_ms: image.created_ms,
    })
}

/// Reads what is offered into the archive. The image is there when this returns, or not at all.
///
/// It may be called again for the same offer, and by several at once, as long as the point in time
/// is open: all get the same bytes.
pub fn pull(
    archive: &Archive,
    to: &Destination<'_>,
    offer: &Offer,
    watch: &dyn Watch,
) -> Result<Pulled, PullError> {
    pull_as(archive, to, Kind::Backup, None, offer, watch)
}

/// The same for an image of another kind, which has these labels and none of a backup's.
pub(crate) fn pull_as(
    archive: &Archive,
    to: &Destination<'_>,
    kind: Kind,
    labels: Option<BTreeMap<String, String>>,
    offer: &Offer,
    watch: &dyn Watch,
) -> Result<Pulled, PullError> {
    if let (None, Some(address), false) =
        (&offer.tls, offer.address.exposed(), to.exceptions.clear_network)
    {
        return Err(PullError::Exposed(address));
    }
    if offer.encrypted && to.key.is_none() && !to.exceptions.clear_archive {
        return Err(PullError::WouldBeClear(offer.volume.clone()));
    }
    let base = match offer.plan {
        Plan::Incremental { base, since } => base_of(archive, to, offer, base, since)?,
        Plan::Full(_) => None,
    };
    let chunks = match base.as_ref().map(|base| Base::of(archive, base)).transpose() {
        // Which chunks it has can't be read, and will not be the next time.
        Err(ArchiveError::Chunk { .. }) => None,
        chunks => chunks?,
    };
    let base = base.as_ref().filter(|_| chunks.is_some());
    let plan = match offer.plan {
        Plan::Incremental { .. } if base.is_none() => Plan::Full(FullReason::BaseGone),
        plan => plan,
    };
    // What is not to be read in the clear was refused above.
    let protection = offer.protection(Protection::Clear);
    let source = NbdSource::new(offer, protection, offer.changes.zip(chunks), watch);
    let new = NewImage {
        project: to.project,
        kind,
        detail: detail(to, labels, offer, plan),
        key: to.key,
        base,
    };
    // Guests may run on the processors that compress.
    match in_background(|| archive.import(&new, &source, watch)) {
        Ok(Imported { image, written }) => {
            Ok(Pulled { image, written, moved: source.moved(), plan })
        }
        Err(_) if source.is_cancelled() => Err(ArchiveError::Cancelled.into()),
        Err(error) if source.is_refused() || source.is_taken_down() => {
            Err(PullError::Broken(error))
        }
        Err(error) => Err(error.into()),
    }
}

/// The base, if it is what the bitmap begins at and can be opened.
fn base_of(
    archive: &Archive,
    to: &Destination<'_>,
    offer: &Offer,
    base: ImageId,
    since: PointId,
) -> Result<Option<Visible>, ArchiveError> {
    let begins_at = offer.changes.map(|name| name.since);
    let base = match archive.view(base, Viewer::Project(to.project), &keys_of(to.project, to.key)) {
        Ok(base) => base,
        Err(
            ArchiveError::NoImage { .. }
            | ArchiveError::Record { .. }
            | ArchiveError::KeyNeeded { .. },
        ) => return Ok(None),
        Err(error) => return Err(error),
    };
    let is_right = backup_of(base.image(), &offer.volume).is_some_and(|published| {
        published.point == since && published.size == offer.size && begins_at == Some(since)
    });
    let has_key = base.image().key == to.key.and_then(ProjectKey::name);
    Ok((is_right && has_key && base.image().project == *to.project).then_some(base))
}

fn detail(
    to: &Destination<'_>,
    labels: Option<BTreeMap<String, String>>,
    offer: &Offer,
    plan: Plan,
) -> Detail {
    let source = Some(format!("volume {}", offer.volume));
    Detail {
        name: to.name.clone(),
        labels: labels.unwrap_or_else(|| backup_labels(to, offer, plan)),
        provenance: Provenance { format: Some("raw".into()), source, ..Provenance::default() },
    }
}

fn backup_labels(to: &Destination<'_>, offer: &Offer, plan: Plan) -> BTreeMap<String, String> {
    let taken = Taken {
        volume: &offer.volume,
        point: offer.point,
        taken_ms: offer.taken_ms,
        consistency: offer.consistency.name(),
        read: match plan {
            Plan::Incremental { .. } => "incremental".into(),
            Plan::Full(reason) => format!("all: {reason}"),
        },
        encrypted: offer.encrypted,
    };
    let mut labels = taken.labels(to);
    label_freeze(&mut labels, offer, WHY_CRASH, LEFT_OUT);
    labels
}

/// What a backup is of, and how it came to be: what every backup's labels say.
pub(super) struct Taken<'a> {
    pub(super) volume: &'a VolumeId,
    pub(super) point: PointId,
    pub(super) taken_ms: u64,
    pub(super) consistency: &'a str,
    pub(super) read: String,
    pub(super) encrypted: bool,
}

impl Taken<'_> {
    /// These labels, beside the caller's own.
    pub(super) fn labels(self, to: &Destination<'_>) -> BTreeMap<String, String> {
        let mut labels = to.labels.clone();
        labels.extend([
            (VOLUME.into(), self.volume.to_string()),
            (POINT.into(), self.point.to_string()),
            (TAKEN.into(), self.taken_ms.to_string()),
            (CONSISTENCY.into(), self.consistency.into()),
            (READ.into(), self.read),
        ]);
        if self.encrypted {
            labels.insert(ENCRYPTED.into(), "yes".into());
        }
        labels
    }
}

/// Why the guest was not frozen, or what of it was not, by labels of these names.
pub(crate) fn label_freeze(
    labels: &mut BTreeMap<String, String>,
    offer: &Offer,
    why_crash: &str,
    left_out: &str,
) {
    if let Some(reason) = offer.consistency.why_crash() {
        labels.insert(why_crash.into(), reason.to_string());
    }
    if !offer.left_out.is_empty() {
        labels.insert(left_out.into(), offer.left_out.join("; "));
    }
}
