//! Before a guest's start: what QEMU is started with, and what its guest may do.

use std::path::PathBuf;

use mezame_images::volume::VolumeId;
use mezame_model::{
    ProjectName,
    api::volumes::{Volume, VolumeClass, VolumeLimits, VolumeStart},
};

use super::{
    Volumes, VolumesError,
    checks::{check_limits, check_monitor},
    executor::Executor,
    record::GuestRecord,
};

impl Volumes {
    /// What QEMU is to be started with; where its monitor will be told, its guest is seen to.
    pub(crate) async fn open(
        &self,
        project: &ProjectName,
        id: &VolumeId,
        qmp: Option<PathBuf>,
    ) -> Result<VolumeStart, VolumesError> {
        qmp.as_deref().map(check_monitor).transpose()?;
        let before = self.here(project, id)?.qmp.clone();
        let opening = self.opening(id)?;
        let record = self.end_growth(project, self.ready(project, id)?).await?;
        let (facts, limits) = (record.facts(), record.limits);
        // It is claimed until all is done, also where who asked has gone.
        let open = move |executor: &dyn Executor| Ok((executor.open(&facts)?, opening));
        let (start, _opening) = self.ask(open).await?;
        if start.class == VolumeClass::Plain && record.class != VolumeClass::Plain {
            // Its guest went over, and whoever saw to that ended before it was noted.
            self.control.change_volume(project, id, |it| it.class = VolumeClass::Plain).await?;
        }
        match qmp {
            Some(qmp) => self.expect(project, id, qmp).await?,
            // The guest before it is asked no more.
            None if before.is_some() => {
                self.control.change_volume(project, id, |it| it.qmp = None).await?;
            }
            None => {}
        }
        Ok(VolumeStart { limits, ..start })
    }

    /// Sets what its guest may do, now and whenever its limits are asked for.
    pub(crate) async fn set_limits(
        &self,
        project: &ProjectName,
        id: &VolumeId,
        wanted: VolumeLimits,
    ) -> Result<Volume, VolumesError> {
        let VolumeLimits { limits, qmp } = wanted;
        check_limits(limits)?;
        let record = self.usable(project, id)?;
        if let Some(qmp) = qmp {
            check_monitor(&qmp)?;
            let facts = record.facts();
            self.ask_monitor(move |executor| executor.set_limits(&facts, limits, qmp)).await?;
        }
        let asked_ms = self.environment.now_ms();
        let changed = self.control.change_volume(project, id, move |it| {
            it.limits = limits;
            // Of one that is seen to they are changed within a second; so are they of one that could
            // be, and it is seen to no longer than that.
            if it.guest.is_none() && it.interval().is_none() {
                let guest = |qmp| GuestRecord { qmp, asked_ms, has_run: true };
                it.guest = it.qmp.clone().map(guest);
            }
        });
        Ok(self.shown(changed.await?.as_ref()))
    }
}
