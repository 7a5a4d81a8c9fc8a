//! Before a guest's start: what QEMU is started with, and what its guest may do.

use std::path::PathBuf;

use mezame_images::volume::VolumeId;
use mezame_model::{
    ProjectName,
    api::volumes::{Volume, VolumeClass, VolumeLimits, VolumeStart},
};

use super::{
    Volumes, VolumesError,
    attend::PATIENCE_MS,
    checks::{check_limits, check_monitor},
    executor::Executor,
    record::{GuestRecord, OpenedRecord},
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
        if let Some(qmp) = qmp {
            self.expect(project, id, qmp).await?;
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
        let facts = record.facts();
        let is_told = match (qmp, &record.guest, record.monitor()) {
            (Some(qmp), _, _) => {
                check_monitor(&qmp)?;
                self.ask_monitor(move |executor| executor.set_limits(&facts, limits, qmp)).await?;
                true
            }
            // It is off where it can't be told; those of one that is seen to are changed within a second.
            (None, None, Some(qmp)) => {
                let qmp = qmp.to_owned();
                let told = move |executor: &dyn Executor| executor.set_limits(&facts, limits, qmp);
                self.ask_monitor(told).await.is_ok()
            }
            _ => false,
        };
        let now_ms = self.environment.now_ms();
        let changed = self.control.change_volume(project, id, move |it| {
            it.limits = limits;
            // Its guest may be about to start.
            if !is_told && it.guest.is_none() && it.interval().is_none() {
                let is_new = |it: &OpenedRecord| now_ms.saturating_sub(it.at_ms) < PATIENCE_MS;
                it.guest = it.opened.clone().filter(is_new).map(GuestRecord::awaited);
            }
        });
        Ok(self.shown(changed.await?.as_ref()))
    }
}
