//! Volumes' records: changed one at a time, each by a call of its own, since no document has them.

use std::sync::Arc;

use mezame_images::volume::VolumeId;
use mezame_model::{ProjectName, SecretBytes, api::Fault};

use super::{Control, ControlError, uncut};
use crate::{
    record::Record,
    state::{Changes, State, Tenant},
    store::Batch,
    volumes::record::VolumeRecord,
};

/// Volumes of one project; each is a row, and all are in memory.
const MOST: usize = 10_000;

impl Control {
    /// A project's volumes, by id.
    pub(crate) fn volumes(
        &self,
        project: &ProjectName,
    ) -> Result<Vec<Arc<VolumeRecord>>, ControlError> {
        let state = self.state();
        let tenant = state.tenant(project).ok_or(ControlError::NotFound)?;
        Ok(tenant.volumes.values().cloned().collect())
    }

    /// One of them.
    pub(crate) fn volume(
        &self,
        project: &ProjectName,
        id: &VolumeId,
    ) -> Result<Arc<VolumeRecord>, ControlError> {
        let state = self.state();
        let volume = state.tenant(project).and_then(|tenant| tenant.volumes.get(id));
        volume.cloned().ok_or(ControlError::NotFound)
    }

    /// One of any project's, whose ids all differ.
    pub(crate) fn volume_of_any(&self, id: &VolumeId) -> Option<Arc<VolumeRecord>> {
        self.state().tenants.values().find_map(|tenant| tenant.volumes.get(id).cloned())
    }

    /// Those of all projects that are on a host.
    pub(crate) fn volumes_of_host(&self, host: &str) -> Vec<Arc<VolumeRecord>> {
        let state = self.state();
        let all = state.tenants.values().flat_map(|tenant| tenant.volumes.values());
        all.filter(|volume| *volume.host == *host).cloned().collect()
    }

    /// Those of all projects, by id, whose guests this host sees to.
    pub(crate) fn volumes_of_guests(&self, host: &str) -> Vec<Arc<VolumeRecord>> {
        let state = self.state();
        let all = state.tenants.values().flat_map(|tenant| tenant.volumes.values());
        let mut found: Vec<_> =
            all.filter(|it| it.guest.is_some() && *it.host == *host).cloned().collect();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        found
    }

    /// Adds a volume, whose id no other volume of any project has: it names files and QEMU's nodes. All
    /// volumes of one master have the key of the first: it is that one's from then on.
    pub(crate) async fn add_volume(
        self: &Arc<Self>,
        mut record: VolumeRecord,
    ) -> Result<VolumeRecord, ControlError> {
        let control = Arc::clone(self);
        uncut(async move {
            let _turn = control.turn.lock().await;
            {
                let state = control.state();
                let tenant = state.tenant(&record.project).ok_or(ControlError::NotFound)?;
                if state.tenants.values().any(|it| it.volumes.contains_key(&record.id)) {
                    let message = format!("there is a volume '{}' already", record.id);
                    let mend = "take another id; those of a site's volumes all differ";
                    return Err(ControlError::Faults(vec![fault("id", message, mend)]));
                }
                if tenant.volumes.len() >= MOST {
                    let message = format!("the project has {MOST} volumes");
                    let fault = fault("id", message, "delete some");
                    return Err(ControlError::Faults(vec![fault]));
                }
                check_quota(tenant, &record.id, record.size)?;
                if record.master_key.is_some()
                    && let Some(known) = key_of_master(&state, &record)
                {
                    record.master_key = Some(known);
                }
            }
            let added = vec![Record::Volume(Arc::new(record.clone()))];
            control.write_volumes(added, Vec::new()).await?;
            Ok(record)
        })
        .await
    }

    /// That a project may have this volume become so long, as of now.
    pub(crate) fn check_growth(
        &self,
        project: &ProjectName,
        id: &VolumeId,
        size: u64,
    ) -> Result<(), ControlError> {
        let state = self.state();
        check_quota(state.tenant(project).ok_or(ControlError::NotFound)?, id, size)
    }

    /// Notes that a volume is to become so long, if its project may have that.
    pub(crate) async fn note_growth(
        self: &Arc<Self>,
        project: &ProjectName,
        id: &VolumeId,
        size: u64,
    ) -> Result<Arc<VolumeRecord>, ControlError> {
        let (control, project, id) = (Arc::clone(self), project.clone(), id.clone());
        uncut(async move {
            let _turn = control.turn.lock().await;
            control.check_growth(&project, &id, size)?;
            let before = control.volume(&project, &id)?;
            let record = VolumeRecord { growing: Some(size), ..VolumeRecord::clone(&before) };
            control.write_volumes(vec![Record::Volume(Arc::new(record))], Vec::new()).await?;
            control.volume(&project, &id)
        })
        .await
    }

    /// Changes a volume's record, which is durable when this returns.
    pub(crate) async fn change_volume(
        self: &Arc<Self>,
        project: &ProjectName,
        id: &VolumeId,
        change: impl FnOnce(&mut VolumeRecord) + Send + 'static,
    ) -> Result<Arc<VolumeRecord>, ControlError> {
        let (control, project, id) = (Arc::clone(self), project.clone(), id.clone());
        uncut(async move {
            let _turn = control.turn.lock().await;
            let before = control.volume(&project, &id)?;
            let mut record = VolumeRecord::clone(&before);
            change(&mut record);
            if record != *before {
                control.write_volumes(vec![Record::Volume(Arc::new(record))], Vec::new()).await?;
            }
            control.volume(&project, &id)
        })
        .await
    }

    /// Forgets a volume, and with it its keys.
    pub(crate) async fn forget_volume(
        self: &Arc<Self>,
        project: &ProjectName,
        id: &VolumeId,
    ) -> Result<(), ControlError> {
        let (control, project, id) = (Arc::clone(self), project.clone(), id.clone());
        uncut(async move {
            let _turn = control.turn.lock().await;
            let record = control.volume(&project, &id)?;
            control.write_volumes(Vec::new(), vec![Record::Volume(record)]).await
        })
        .await
    }

    /// Writes rows. The caller holds the turn.
    async fn write_volumes(
        self: &Arc<Self>,
        puts: Vec<Record>,
        deletes: Vec<Record>,
    ) -> Result<(), ControlError> {
        let changes = Changes { puts, deletes, ..Changes::default() };
        self.commit(changes, Batch::default()).await.map(drop)
    }
}

fn check_quota(tenant: &Tenant, id: &VolumeId, size: u64) -> Result<(), ControlError> {
    let quota = tenant.project.record.volume_quota.unwrap_or_default();
    Ok(quota.check(tenant.volumes.values(), id, size)?)
}

/// The key that another volume of the same master has.
fn key_of_master(state: &State, of: &VolumeRecord) -> Option<SecretBytes> {
    let mut all = state.tenants.values().flat_map(|tenant| tenant.volumes.values());
    let is_same = |it: &&Arc<VolumeRecord>| it.host == of.host && it.master == of.master;
    all.find(|it| is_same(it) && it.master_key.is_some())?.master_key.clone()
}

fn fault(path: &str, message: String, mend: &str) -> Fault {
    Fault { document: 0, path: path.into(), message, mend: mend.into() }
}
