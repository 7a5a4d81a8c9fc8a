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
    executor::{Attended, Executor, ExecutorError, Reason},
    record::{GuestRecord, OpenedRecord, VolumeRecord},
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
        if let (Some(qmp), Some(guest)) = (&qmp, &record.guest)
            && *qmp != guest.qmp
        {
            self.check_gone(&record, guest.qmp.clone()).await?;
        }
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

    /// That a guest that is seen to has ended, before another takes its place: its writes would be flushed
    /// no more. One whose QEMU can't be asked is left to QEMU's lock.
    async fn check_gone(&self, record: &VolumeRecord, qmp: PathBuf) -> Result<(), VolumesError> {
        let (facts, limits, path) = (record.facts(), record.limits, qmp.clone());
        // It is seen to already: to be told again changes nothing.
        let attended = self.ask_monitor(move |executor| executor.attend(&facts, limits, &path));
        match attended.await {
            Ok(Attended::Flushed | Attended::Limited) => {
                let (id, path) = (&record.id, qmp.display());
                let message = format!("{id} is in use by the QEMU behind {path}");
                Err(ExecutorError::new(Reason::InUse, message).into())
            }
            Ok(Attended::NotThere(_)) | Err(_) => Ok(()),
        }
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
        let named = qmp.clone();
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
            if let Some(qmp) = named {
                // Its QEMU has the volume, whatever it was opened for.
                it.guest = it.guest.take().filter(|guest| guest.qmp == qmp || guest.has_run);
                it.opened = Some(OpenedRecord { qmp, at_ms: now_ms });
            }
            // Its guest may be about to start.
            if !is_told && it.guest.is_none() && it.interval().is_none() {
                let is_new = |it: &OpenedRecord| now_ms.saturating_sub(it.at_ms) < PATIENCE_MS;
                it.guest = it.opened.clone().filter(is_new).map(GuestRecord::awaited);
            }
        });
        Ok(self.shown(changed.await?.as_ref()))
    }
}
