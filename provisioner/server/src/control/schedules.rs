//! Schedules' records, changed one at a time as volumes' are.

use std::sync::Arc;

use mezame_model::{ProjectName, api::schedules::Schedule};

use super::{Control, ControlError, Precondition, uncut};
use crate::{
    fault::plain, record::Record, schedules::record::ScheduleRecord, state::Changes, store::Batch,
};

/// Schedules of one project.
const MOST: usize = 1000;

impl Control {
    /// A project's schedules, by name.
    pub(crate) fn schedules(
        &self,
        project: &ProjectName,
    ) -> Result<Vec<Arc<ScheduleRecord>>, ControlError> {
        let state = self.state();
        let tenant = state.tenant(project).ok_or(ControlError::NotFound)?;
        Ok(tenant.schedules.values().cloned().collect())
    }

    /// Those of all projects.
    pub(crate) fn all_schedules(&self) -> Vec<Arc<ScheduleRecord>> {
        let state = self.state();
        state.tenants.values().flat_map(|tenant| tenant.schedules.values().cloned()).collect()
    }

    /// One of a project's.
    pub(crate) fn schedule(
        &self,
        project: &ProjectName,
        name: &str,
    ) -> Result<Arc<ScheduleRecord>, ControlError> {
        let state = self.state();
        let schedule = state.tenant(project).and_then(|tenant| tenant.schedules.get(name));
        schedule.cloned().ok_or(ControlError::NotFound)
    }

    /// Makes one, or gives it another form; what became of it stays.
    pub(crate) async fn put_schedule(
        self: &Arc<Self>,
        project: &ProjectName,
        name: &str,
        spec: Schedule,
        precondition: Precondition,
        now_ms: u64,
    ) -> Result<Arc<ScheduleRecord>, ControlError> {
        let (control, project, name) = (Arc::clone(self), project.clone(), name.to_owned());
        uncut(async move {
            let _turn = control.turn.lock().await;
            let record = {
                let state = control.state();
                let tenant = state.tenant(&project).ok_or(ControlError::NotFound)?;
                match tenant.schedules.get(&*name) {
                    Some(_) if precondition == Precondition::Absent => {
                        return Err(ControlError::There);
                    }
                    None if precondition == Precondition::Exists => {
                        return Err(ControlError::NotFound);
                    }
                    // Written once more it is what it was, its times included.
                    Some(before) if before.spec == spec => return Ok(Arc::clone(before)),
                    Some(before) => before.replaced(spec, now_ms),
                    None if tenant.schedules.len() >= MOST => {
                        let message = format!("the project has {MOST} schedules");
                        return Err(ControlError::Faults(vec![plain(
                            "name",
                            message,
                            "delete some",
                        )]));
                    }
                    None => ScheduleRecord::new(project, &name, spec, now_ms),
                }
            };
            control.write_schedule(record).await
        })
        .await
    }

    /// Changes one, and notes it if it is another then.
    pub(crate) async fn change_schedule(
        self: &Arc<Self>,
        project: &ProjectName,
        name: &str,
        change: impl FnOnce(&mut ScheduleRecord) + Send + 'static,
    ) -> Result<Arc<ScheduleRecord>, ControlError> {
        let (control, project, name) = (Arc::clone(self), project.clone(), name.to_owned());
        uncut(async move {
            let _turn = control.turn.lock().await;
            let before = control.schedule(&project, &name)?;
            let mut record = ScheduleRecord::clone(&before);
            change(&mut record);
            if record == *before { Ok(before) } else { control.write_schedule(record).await }
        })
        .await
    }

    /// With the turn.
    async fn write_schedule(
        self: &Arc<Self>,
        record: ScheduleRecord,
    ) -> Result<Arc<ScheduleRecord>, ControlError> {
        let record = Arc::new(record);
        let puts = vec![Record::Schedule(Arc::clone(&record))];
        self.commit(Changes { puts, ..Changes::default() }, Batch::default()).await?;
        Ok(record)
    }

    /// Forgets one.
    pub(crate) async fn forget_schedule(
        self: &Arc<Self>,
        project: &ProjectName,
        name: &str,
    ) -> Result<(), ControlError> {
        let (control, project, name) = (Arc::clone(self), project.clone(), name.to_owned());
        uncut(async move {
            let _turn = control.turn.lock().await;
            let deletes = vec![Record::Schedule(control.schedule(&project, &name)?)];
            let changes = Changes { deletes, ..Changes::default() };
            control.commit(changes, Batch::default()).await.map(drop)
        })
        .await
    }
}
