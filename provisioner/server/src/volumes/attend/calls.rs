//! What operators ask of the seeing to guests, and what they are shown.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Instant};

use mezame_images::volume::VolumeId;
use mezame_model::{
    ProjectName,
    api::volumes::{FlushState, Limits, Volume, VolumeFlush},
};

use super::entry::Entry;
use crate::volumes::{
    Volumes, VolumesError,
    executor::{Attended, ExecutorError, Reason},
    record::{GuestRecord, OpenedRecord, VolumeRecord},
};

impl Volumes {
    /// Has a guest that is about to start seen to.
    pub(in crate::volumes) async fn expect(
        &self,
        project: &ProjectName,
        id: &VolumeId,
        qmp: PathBuf,
    ) -> Result<(), VolumesError> {
        let asked_ms = self.environment.now_ms();
        let guest = GuestRecord { qmp: qmp.clone(), asked_ms, has_run: false };
        let change = self.control.change_volume(project, id, move |it| {
            it.opened = Some(OpenedRecord { qmp, at_ms: asked_ms });
            let is_needed = it.interval().is_some() || it.limits != Limits::default();
            it.guest = is_needed.then_some(guest);
        });
        change.await?;
        Ok(())
    }

    /// Has a running guest's volume flushed from now on.
    pub(crate) async fn flush(
        &self,
        project: &ProjectName,
        id: &VolumeId,
        qmp: Option<PathBuf>,
    ) -> Result<Volume, VolumesError> {
        let record = self.usable(project, id)?;
        let qmp = self.monitor_needed(project, id, qmp).await?;
        let (facts, limits, path) = (record.facts(), record.limits, qmp.clone());
        let attended = self.ask_monitor(move |executor| executor.attend(&facts, limits, &path));
        match attended.await? {
            Attended::Flushed => {}
            Attended::NotThere(why) => {
                return Err(ExecutorError::new(Reason::Monitor, why).into());
            }
            Attended::Limited => {
                // There is nothing to flush, and all else asks this QEMU from now on.
                let opened = OpenedRecord { qmp, at_ms: self.environment.now_ms() };
                let noted = self.control.change_volume(project, id, move |it| {
                    (it.opened, it.guest) = (Some(opened), None);
                });
                return Ok(self.shown(noted.await?.as_ref()));
            }
        }
        let asked_ms = self.environment.now_ms();
        let guest = GuestRecord { qmp: qmp.clone(), asked_ms, has_run: true };
        let noted = self.control.change_volume(project, id, move |it| {
            it.opened = Some(OpenedRecord { qmp, at_ms: asked_ms });
            it.guest = Some(guest);
        });
        let record = noted.await?;
        if let Some(guest) = &record.guest {
            let now = Instant::now();
            let mut entry = Entry::new(guest.clone(), Arc::clone(&record), now);
            (entry.begun, entry.limits) = (Some(now), Some(limits));
            self.attendance.all().insert(id.clone(), entry);
        }
        Ok(self.shown(&record))
    }

    /// Has it flushed no more.
    pub(crate) async fn flush_no_more(
        &self,
        project: &ProjectName,
        id: &VolumeId,
    ) -> Result<Volume, VolumesError> {
        let record = self.here(project, id)?;
        let Some(guest) = record.guest.clone() else { return Ok(self.shown(&record)) };
        // First, so that it is not begun anew.
        let changed = self.control.change_volume(project, id, |it| it.guest = None).await?;
        let facts = record.facts();
        self.ask_monitor(move |executor| executor.leave(&facts, &guest.qmp)).await?;
        Ok(self.shown(&changed))
    }

    /// A volume as operators see it.
    pub(in crate::volumes) fn shown(&self, record: &VolumeRecord) -> Volume {
        Volume { flush: self.flush_of(record), ..record.shown() }
    }

    fn flush_of(&self, record: &VolumeRecord) -> Option<VolumeFlush> {
        let guest = record.guest.as_ref()?;
        let all = self.attendance.all();
        // What is known of the guest before it, by the same monitor, is nothing of this one's.
        let is_same =
            |it: &&Entry| (&it.guest.qmp, it.guest.asked_ms) == (&guest.qmp, guest.asked_ms);
        let entry = all.get(&record.id).filter(is_same);
        let flushed = entry.and_then(|_| self.executor.flushed(&record.id));
        let unknown = if guest.has_run { FlushState::Late } else { FlushState::Waiting };
        let state = entry.map_or(unknown, |it| it.state(flushed, Instant::now()));
        let age = flushed.and_then(|it| it.age);
        let now_ms = self.environment.now_ms();
        Some(VolumeFlush {
            qmp: guest.qmp.clone(),
            state,
            durable_until_ms: age.map(|age| {
                now_ms.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX))
            }),
            flushes: flushed.map_or(0, |it| it.flushes),
            failures: flushed.map_or(0, |it| it.failures),
            lates: flushed.map_or(0, |it| it.lates),
            why: entry.and_then(|it| it.why.clone()),
        })
    }

    /// How many volumes that are flushed are in each state.
    pub(crate) fn flush_states(&self) -> BTreeMap<FlushState, u64> {
        let records = self.control.volumes_of_guests(self.executor.host());
        let mut count: BTreeMap<_, _> = FlushState::ALL.map(|state| (state, 0)).into();
        let is_flushed = |record: &&Arc<VolumeRecord>| record.interval().is_some();
        for flush in records.iter().filter(is_flushed).filter_map(|it| self.flush_of(it)) {
            *count.entry(flush.state).or_default() += 1;
        }
        count
    }
}
