//! The hypervisor's side: a point in time of a running guest's disks is opened, served over NBD to
//! whoever pulls it, and closed again.
//!
//! QEMU's filter `copy-before-write` copies what the guest is about to overwrite into a scratch
//! file of this host, and the node `snapshot-access` reads the disk as it was from both. The guest
//! waits for a copy to that file and never for whoever pulls. Where the scratch file fails, is full
//! or takes too long, the point in time breaks and the guest goes on (`on-cbw-error:
//! break-snapshot`); reads of it fail from then on, and so does the backup.
//!
//! Not the job `blockdev-backup`: in QEMU 7.2 that has no such choice and fails the guest's write.
//!
//! It writes no guest's data, keeps no state of its own and opens no archive. Whatever ends a
//! process here, [`survey`] of the next one takes down what it left.
//!
//! After <https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html> (`BlockdevOptionsCbw`).

mod admission;
mod left;
mod open;
mod resize;
mod scratch;
mod serve;
mod take_down;

use std::{io, net::SocketAddr, path::PathBuf, time::Duration};

use open::Opening;
pub use resize::resize;
pub use serve::Server;
pub use take_down::Leftover;

use super::{
    disk::Disk,
    freeze::{Freeze, FreezeError},
    name::PointId,
    offer::Offer,
    plan::{Decision, Survey},
};
use crate::{
    encryption::{ImageError, secret::SecretError},
    environment::{Environment, NoRandomness, random},
    nbd::{ALLOCATION, Nbd, NbdError, Protection, certificates::CertificateError},
    qmp::{Qmp, QmpError, block::BitmapChange},
    volume::VolumeId,
};

/// Why there is no point in time, or it could not be closed.
#[derive(Debug, thiserror::Error)]
pub enum PointError {
    /// QEMU refused, or is gone.
    #[error(transparent)]
    Qmp(#[from] QmpError),
    /// QEMU has no such disk.
    #[error("QEMU does not have {0}: its guest was started without it, or is another one")]
    NoDisk(VolumeId),
    /// What was decided of a disk does not fit what QEMU says now: another point in time was opened
    /// since, or closed.
    #[error(
        "what was decided of {0} is of an earlier state: it has to be surveyed and decided anew"
    )]
    Stale(VolumeId),
    /// The guest's disk is on another node than it was to be: it went over to a plain volume, or
    /// came back from one.
    #[error(
        "the disk {volume} of the guest is on QEMU's node {node:?}, and not where it was to be"
    )]
    Elsewhere {
        /// The disk.
        volume: VolumeId,
        /// Where it is.
        node: String,
    },
    /// Something copies or replaces disks of this guest, or has done so and was not dismissed.
    #[error("the job {0} of this guest's disks has to end first")]
    Job(String),
    /// The guest is on its way to or from this QEMU, or has left it.
    #[error("the guest is being moved to another QEMU, or has been")]
    Moving,
    /// The scratch file can't be made.
    #[error("making the scratch file {}", path.display())]
    Scratch {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The scratch file of an encrypted disk can't be encrypted.
    #[error("encrypting the scratch file of {volume}")]
    Sealing {
        /// The disk.
        volume: VolumeId,
        /// Why not.
        source: ImageError,
    },
    /// QEMU can't be told the key of an encrypted disk's scratch file: none of the keys that it has is
    /// among those that were given ([`Disk::with_keys`]).
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// It would be served over a network without TLS, and that was not asked for.
    #[error("{0} is over a network, where nothing is served without TLS")]
    Exposed(SocketAddr),
    /// Certificates can't be made.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// What QEMU needs for TLS can't be handed to it.
    #[error("handing QEMU its keys in {}", path.display())]
    Keys {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The guest could not be thawed, however often that was tried.
    #[error("THE GUEST MAY STILL BE FROZEN")]
    Thaw(#[source] FreezeError),
    /// It was given up in the middle, and QEMU does not answer: the guest may stand still, and what
    /// was opened may be there. Connect anew and call [`survey`].
    #[error("THE GUEST MAY STAND STILL: QEMU did not let go of a point in time, connect anew")]
    Unsettled(#[source] Box<PointError>),
    /// Something was left behind.
    #[error("{0} of an earlier point in time can't be removed")]
    Stays(Leftover),
    /// A bitmap that was removed is still there, or there is none that should be.
    #[error("the bitmaps of {0} are not as they were to be")]
    Bitmaps(VolumeId),
    /// No id can be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

/// How points in time are taken.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where scratch files are made. They have no names and are as long as what the guest
    /// overwrites meanwhile; where this is full, the point in time breaks. That of an encrypted disk
    /// is encrypted with a key that nobody has any more once the point in time is open.
    pub scratch: PathBuf,
    /// Who serves.
    pub server: Server,
    /// How long a write of the guest waits for a copy, in whole seconds, before the point in time
    /// breaks; at least one, and at most [`Settings::MOST_PATIENCE`], whatever is said here.
    pub patience: Duration,
    /// How long the guest may be frozen.
    pub freeze: Duration,
}

impl Settings {
    /// QEMU 7.2 counts nanoseconds in 32 bits: 5 seconds would be 0.7.
    pub const MOST_PATIENCE: Duration = Duration::from_secs(4);

    /// The usual: a write waits for 4 seconds, and the guest is frozen for 10 at most.
    pub fn new(scratch: PathBuf, server: Server) -> Self {
        let (patience, freeze) = (Self::MOST_PATIENCE, Duration::from_secs(10));
        Self { scratch, server, patience, freeze }
    }

    /// As QEMU is told.
    fn patience_seconds(&self) -> u64 {
        self.patience.min(Self::MOST_PATIENCE).as_secs().max(1)
    }
}

/// What QEMU says of these disks, after what an earlier process has left was taken down: a guest
/// that it had stopped or frozen goes on. Nothing is taken down in a QEMU that lacks one of them: that
/// is another guest's, whose point in time may be read by others.
pub fn survey(
    qmp: &mut Qmp,
    disks: &[Disk],
    agent: Option<&dyn Freeze>,
) -> Result<Vec<Survey>, PointError> {
    surveys(qmp, disks)?;
    take_down::take_down(qmp, disks, agent)?;
    surveys(qmp, disks)
}

/// Whether these disks, of which no point in time is open, are where they have to be, and nothing copies
/// them or moves their guest.
pub(crate) fn check_idle(qmp: &mut Qmp, disks: &[Disk]) -> Result<(), PointError> {
    if qmp.is_moving()? {
        return Err(PointError::Moving);
    }
    if let Some(job) = qmp.jobs()?.pop() {
        return Err(PointError::Job(job));
    }
    disks.iter().try_for_each(|disk| take_down::check_drive(qmp, disk, disk.node()))
}

fn surveys(qmp: &mut Qmp, disks: &[Disk]) -> Result<Vec<Survey>, PointError> {
    let nodes = qmp.nodes()?;
    let survey =
        |disk: &Disk| disk.survey(&nodes).ok_or_else(|| PointError::NoDisk(disk.id().clone()));
    disks.iter().map(survey).collect()
}

/// What a point in time did to its guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Held {
    /// How long its file systems were frozen; zero where nobody could.
    pub frozen: Duration,
    /// How long its processors stood still; zero where there is one disk.
    pub stopped: Duration,
}

/// A point in time that is served.
///
/// It is closed by [`Point::close`]. Where it is only dropped, it goes on being served until the
/// next [`survey`].
#[derive(Debug)]
pub struct Point {
    id: PointId,
    disks: Vec<(Disk, Decision)>,
    offers: Vec<Offer>,
    held: Held,
}

/// What a closed point in time was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Disks whose point in time had broken: a copy had failed or was late.
    pub broken: Vec<VolumeId>,
}

impl Point {
    /// Opens one point in time of all of these disks of one guest, as it was decided of each.
    ///
    /// With one disk the guest is never stopped. With several it is, for the moment in which they
    /// are switched one after the other; how long is in [`Point::held`].
    ///
    /// A decision is for one point in time, opened or not: for the next one it is
    /// [`PointError::Stale`], unless nothing has changed since.
    ///
    /// # Errors
    /// All is as before then: nothing is served, the guest goes on, and no change since the last
    /// backup is forgotten. But for [`PointError::Thaw`], [`PointError::Stays`] and
    /// [`PointError::Unsettled`].
    pub fn open(
        qmp: &mut Qmp,
        disks: Vec<(Disk, Decision)>,
        settings: &Settings,
        agent: Option<&dyn Freeze>,
        environment: &dyn Environment,
    ) -> Result<Self, PointError> {
        settings.server.check()?;
        let id = PointId::new(random(environment)?);
        let only: Vec<Disk> = disks.iter().map(|(disk, _)| disk.clone()).collect();
        let surveys = survey(qmp, &only, agent)?;
        check_idle(qmp, &only)?;
        let mut decided = disks.iter().zip(&surveys);
        if let Some(((disk, _), _)) = decided.find(|((_, decision), of)| !decision.fits(of)) {
            return Err(PointError::Stale(disk.id().clone()));
        }
        let mut opening = Opening::of(qmp, &disks, settings, agent, id);
        let opened = match opening.run(environment) {
            Ok(opened) => opened,
            Err(error) => {
                let has_begun = opening.has_begun();
                let taken_down = take_down::take_down(qmp, &only, agent);
                if has_begun {
                    // What can't be put right now is by the next decision.
                    let _ = change(qmp, &disks, |_, decision| decision.failed(id));
                }
                return Err(match taken_down {
                    Ok(()) => error,
                    Err(worse @ (PointError::Thaw(_) | PointError::Stays(_))) => worse,
                    Err(_) => PointError::Unsettled(Box::new(error)),
                });
            }
        };
        let offer = |((disk, decision), survey): (&(Disk, Decision), Survey)| Offer {
            volume: disk.id().clone(),
            point: id,
            taken_ms: opened.taken_ms,
            consistency: opened.consistency.clone(),
            left_out: opened.left_out.clone(),
            size: survey.size,
            encrypted: survey.is_encrypted,
            address: settings.server.address(),
            tls: opened.tls.clone(),
            export: disk.export(id),
            plan: decision.plan,
            changes: decision.changes(),
        };
        let offers = disks.iter().zip(surveys).map(offer).collect();
        Ok(Self { id, disks, offers, held: opened.held })
    }

    /// What whoever pulls needs to know, disk by disk.
    pub fn offers(&self) -> &[Offer] {
        &self.offers
    }

    /// What it did to the guest.
    pub fn held(&self) -> Held {
        self.held
    }

    /// Closes it. `published` are the disks whose image is in the archive; of the others, what has
    /// changed since their last backup is what has changed since the one before.
    ///
    /// A disk that is wrongly said to be published costs a full backup, and no change is missed.
    pub fn close(
        self,
        qmp: &mut Qmp,
        published: &[VolumeId],
        agent: Option<&dyn Freeze>,
    ) -> Result<Closed, PointError> {
        let only: Vec<Disk> = self.disks.iter().map(|(disk, _)| disk.clone()).collect();
        let broken = self.broken();
        take_down::take_down(qmp, &only, agent)?;
        change(qmp, &self.disks, |disk, decision| {
            if published.contains(disk.id()) {
                decision.succeeded()
            } else {
                decision.failed(self.id)
            }
        })?;
        for (disk, survey) in only.iter().zip(surveys(qmp, &only)?) {
            // One bitmap is left, which records.
            if !survey.bitmaps.iter().all(|bitmap| bitmap.is_recording || bitmap.is_inconsistent) {
                return Err(PointError::Bitmaps(disk.id().clone()));
            }
        }
        Ok(Closed { broken })
    }

    /// The disks whose point in time has broken, as far as can be seen: QEMU 7.2 tells nobody, but
    /// reads of it fail.
    pub fn broken(&self) -> Vec<VolumeId> {
        const BOUND: Duration = Duration::from_secs(5);
        let is_broken = |offer: &&Offer| {
            let maps = [ALLOCATION];
            // It is our own server, wherever others reach it.
            let protection = offer.protection(Protection::Clear);
            let opened = Nbd::open(&offer.address, protection, &offer.export, &maps, BOUND);
            let mut nbd = match opened {
                Ok(nbd) => nbd,
                Err(_) => return false,
            };
            let length = 512.min(usize::try_from(offer.size).unwrap_or(512));
            matches!(nbd.read(0, &mut vec![0; length]), Err(NbdError::Failed { .. }))
        };
        self.offers.iter().filter(is_broken).map(|offer| offer.volume.clone()).collect()
    }
}

/// Changes all disks' bitmaps at once.
fn change(
    qmp: &mut Qmp,
    disks: &[(Disk, Decision)],
    changes: impl Fn(&Disk, &Decision) -> Vec<BitmapChange>,
) -> Result<(), QmpError> {
    let changes: Vec<_> =
        disks.iter().map(|(disk, decision)| (disk, changes(disk, decision))).collect();
    let all = changes.iter().flat_map(|(disk, of)| of.iter().map(|change| (disk.node(), change)));
    qmp.change_bitmaps(all)
}
