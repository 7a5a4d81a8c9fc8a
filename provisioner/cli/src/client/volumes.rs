//! The calls about volumes, pools and backups. Long work is followed by the calls about jobs
//! ([`super::jobs`]).

use hyper::Method;
use mezame_model::{
    ProjectName,
    api::{
        jobs::Job,
        schedules::{Schedule, ScheduleView},
        volumes::{
            Backup, Capture, Hydrate, Leftover, Master, Monitor, NewBackup, NewPool, NewVolume,
            Pool, PruneBackups, Pruned, ResizeVolume, RestoreVolume, Volume, VolumeDeleted,
            VolumeLimits, VolumeStart,
        },
    },
};
use serde::Serialize;

use super::{Client, ClientError, Precondition, json, parse};

impl Client {
    fn volume_path(project: &ProjectName, id: &str, rest: &str) -> String {
        format!("/v1/projects/{project}/volumes/{id}{rest}")
    }

    /// The pools.
    pub async fn pools(&self) -> Result<Vec<Pool>, ClientError> {
        self.get("/v1/pools").await
    }

    /// Makes one.
    pub async fn create_pool(&self, name: &str, new: &NewPool) -> Result<Pool, ClientError> {
        self.post(&format!("/v1/pools/{name}"), new).await
    }

    /// What volumes are clones of.
    pub async fn masters(&self) -> Result<Vec<Master>, ClientError> {
        self.get("/v1/masters").await
    }

    /// Deletes one that no volume stands on.
    pub async fn delete_master(&self, name: &str) -> Result<(), ClientError> {
        let path = format!("/v1/masters/{name}");
        self.call(Method::DELETE, &path, None, None).await.map(drop)
    }

    /// Old contents of volumes, which restores have kept.
    pub async fn leftovers(&self) -> Result<Vec<Leftover>, ClientError> {
        self.get("/v1/leftovers").await
    }

    /// Deletes one.
    pub async fn delete_leftover(
        &self,
        pool: &str,
        file: &str,
    ) -> Result<VolumeDeleted, ClientError> {
        let path = format!("/v1/leftovers/{pool}/{file}");
        parse(self.call(Method::DELETE, &path, None, None).await?.body())
    }

    /// A project's volumes.
    pub async fn volumes(&self, project: &ProjectName) -> Result<Vec<Volume>, ClientError> {
        self.get(&format!("/v1/projects/{project}/volumes")).await
    }

    /// One of them.
    pub async fn volume(&self, project: &ProjectName, id: &str) -> Result<Volume, ClientError> {
        self.get(&Self::volume_path(project, id, "")).await
    }

    /// Begins to make one.
    pub async fn create_volume(
        &self,
        project: &ProjectName,
        new: &NewVolume,
    ) -> Result<Job, ClientError> {
        self.post(&format!("/v1/projects/{project}/volumes"), new).await
    }

    /// Deletes one.
    pub async fn delete_volume(
        &self,
        project: &ProjectName,
        id: &str,
    ) -> Result<VolumeDeleted, ClientError> {
        let path = Self::volume_path(project, id, "");
        parse(self.call(Method::DELETE, &path, None, None).await?.body())
    }

    /// What QEMU is to be started with; with a monitor its guest is seen to.
    pub async fn open_volume(
        &self,
        project: &ProjectName,
        id: &str,
        monitor: &Monitor,
    ) -> Result<VolumeStart, ClientError> {
        self.post(&Self::volume_path(project, id, "/open"), monitor).await
    }

    /// Has a running guest's volume flushed.
    pub async fn flush_volume(
        &self,
        project: &ProjectName,
        id: &str,
        monitor: &Monitor,
    ) -> Result<Volume, ClientError> {
        let (path, body) = (Self::volume_path(project, id, "/flush"), json(monitor)?);
        parse(self.call(Method::PUT, &path, body, None).await?.body())
    }

    /// Has it flushed no more.
    pub async fn end_volume_flush(
        &self,
        project: &ProjectName,
        id: &str,
    ) -> Result<Volume, ClientError> {
        let path = Self::volume_path(project, id, "/flush");
        parse(self.call(Method::DELETE, &path, None, None).await?.body())
    }

    /// Sets what its guest may do.
    pub async fn limit_volume(
        &self,
        project: &ProjectName,
        id: &str,
        limits: &VolumeLimits,
    ) -> Result<Volume, ClientError> {
        let body = json(limits)?;
        let path = Self::volume_path(project, id, "/limits");
        parse(self.call(Method::PUT, &path, body, None).await?.body())
    }

    /// Begins to give it another key.
    pub async fn rotate_volume_key(
        &self,
        project: &ProjectName,
        id: &str,
        monitor: &Monitor,
    ) -> Result<Job, ClientError> {
        self.post(&Self::volume_path(project, id, "/rotate-key"), monitor).await
    }

    /// Begins to make it longer.
    pub async fn resize_volume(
        &self,
        project: &ProjectName,
        id: &str,
        size: u64,
    ) -> Result<Job, ClientError> {
        self.post(&Self::volume_path(project, id, "/resize"), &ResizeVolume { size }).await
    }

    /// Begins to copy it into a plain one.
    pub async fn hydrate_volume(
        &self,
        project: &ProjectName,
        id: &str,
        hydrate: &Hydrate,
    ) -> Result<Job, ClientError> {
        self.post(&Self::volume_path(project, id, "/hydrate"), hydrate).await
    }

    /// Has a hydration `pause`, or `resume`.
    pub async fn pace_hydration(
        &self,
        project: &ProjectName,
        id: &str,
        what: &str,
        monitor: &Monitor,
    ) -> Result<(), ClientError> {
        let path = Self::volume_path(project, id, &format!("/hydration/{what}"));
        self.tell(&path, monitor).await
    }

    /// Begins to replace what it holds by an image.
    pub async fn restore_volume(
        &self,
        project: &ProjectName,
        id: &str,
        restore: &RestoreVolume,
    ) -> Result<Job, ClientError> {
        self.post(&Self::volume_path(project, id, "/restore"), restore).await
    }

    /// Gives up a restore that was cut short.
    pub async fn abandon_restore(
        &self,
        project: &ProjectName,
        id: &str,
    ) -> Result<(), ClientError> {
        let path = Self::volume_path(project, id, "/restore");
        self.call(Method::DELETE, &path, None, None).await.map(drop)
    }

    /// Begins to make an image of what it holds.
    pub async fn capture_volume(
        &self,
        project: &ProjectName,
        id: &str,
        capture: &Capture,
    ) -> Result<Job, ClientError> {
        self.post(&Self::volume_path(project, id, "/capture"), capture).await
    }

    /// A project's backups, of this volume where one is named; newest first.
    pub async fn backups(
        &self,
        project: &ProjectName,
        volume: Option<&str>,
    ) -> Result<Vec<Backup>, ClientError> {
        let of = volume.map_or_else(String::new, |volume| format!("?volume={volume}"));
        let pages: Vec<Vec<Backup>> =
            self.pages(format!("/v1/projects/{project}/backups{of}")).await?;
        Ok(pages.into_iter().flatten().collect())
    }

    /// One of them.
    pub async fn backup(&self, project: &ProjectName, id: &str) -> Result<Backup, ClientError> {
        self.get(&format!("/v1/projects/{project}/backups/{id}")).await
    }

    /// Begins one.
    pub async fn back_up(
        &self,
        project: &ProjectName,
        new: &NewBackup,
    ) -> Result<Job, ClientError> {
        self.post(&format!("/v1/projects/{project}/backups"), new).await
    }

    /// Deletes the backups of a volume that a policy does not keep.
    pub async fn prune_backups(
        &self,
        project: &ProjectName,
        wanted: &PruneBackups,
        dry_run: bool,
    ) -> Result<Pruned, ClientError> {
        let path = format!("/v1/projects/{project}/backups/prune?dry_run={dry_run}");
        self.post(&path, wanted).await
    }

    /// Deletes one.
    pub async fn delete_backup(&self, project: &ProjectName, id: &str) -> Result<(), ClientError> {
        let path = format!("/v1/projects/{project}/backups/{id}");
        self.call(Method::DELETE, &path, None, None).await.map(drop)
    }

    /// A project's schedules of backups.
    pub async fn schedules(&self, project: &ProjectName) -> Result<Vec<ScheduleView>, ClientError> {
        self.get(&format!("/v1/projects/{project}/backup-schedules")).await
    }

    /// One of them.
    pub async fn schedule(
        &self,
        project: &ProjectName,
        name: &str,
    ) -> Result<ScheduleView, ClientError> {
        self.get(&format!("/v1/projects/{project}/backup-schedules/{name}")).await
    }

    /// Makes one, or gives one that is there another form, as the precondition says.
    pub async fn put_schedule(
        &self,
        project: &ProjectName,
        name: &str,
        spec: &Schedule,
        precondition: &Precondition,
    ) -> Result<ScheduleView, ClientError> {
        let path = format!("/v1/projects/{project}/backup-schedules/{name}");
        let put = self.call(Method::PUT, &path, json(spec)?, Some(precondition));
        parse(put.await?.body())
    }

    /// Has one rest, or go on.
    pub async fn pace_schedule(
        &self,
        project: &ProjectName,
        name: &str,
        paused: bool,
    ) -> Result<ScheduleView, ClientError> {
        let what = if paused { "pause" } else { "resume" };
        let path = format!("/v1/projects/{project}/backup-schedules/{name}/{what}");
        parse(self.call(Method::POST, &path, None, None).await?.body())
    }

    /// Deletes one.
    pub async fn delete_schedule(
        &self,
        project: &ProjectName,
        name: &str,
    ) -> Result<(), ClientError> {
        let path = format!("/v1/projects/{project}/backup-schedules/{name}");
        self.call(Method::DELETE, &path, None, None).await.map(drop)
    }

    async fn tell(&self, path: &str, body: &impl Serialize) -> Result<(), ClientError> {
        let body = json(body)?;
        self.call(Method::POST, path, body, None).await.map(drop)
    }
}
