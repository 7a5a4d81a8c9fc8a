//! What a path names: the project and the resource in it.
//!
//! A name that breaks its rule names nothing, and so does one that is not even text: both are 404
//! in the one form that every failure has.

use std::collections::HashMap;

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use mezame_images::{
    archive::{ImageId, ObjectName},
    volume::VolumeId,
};
use mezame_model::{InstanceName, ProjectName, UserName, VolumeName, api::Kind};

use super::problem::Failure;
use crate::control::{ControlError, Target};

/// The named parts of a request's path.
pub(super) struct Names(HashMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Names {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let named = Path::from_request_parts(parts, state).await;
        named.map(|Path(names)| Self(names)).map_err(|_| ControlError::NotFound.into())
    }
}

impl Names {
    fn text(&self, part: &str) -> &str {
        self.0.get(part).map(String::as_str).unwrap_or_default()
    }

    /// The project.
    pub(super) fn project(&self) -> Result<ProjectName, Failure> {
        ProjectName::parse(self.text("project")).map_err(|_| ControlError::NotFound.into())
    }

    /// A resource of a kind.
    pub(super) fn target(&self, kind: Kind) -> Result<Target, Failure> {
        let project = self.project()?;
        let name = match kind {
            Kind::Project => project.to_string(),
            _ => self.text("name").to_owned(),
        };
        Ok(Target { kind, project, name })
    }

    /// An instance and its project.
    pub(super) fn instance(&self) -> Result<(ProjectName, InstanceName), Failure> {
        let name = InstanceName::parse(self.text("name")).map_err(|_| ControlError::NotFound)?;
        Ok((self.project()?, name))
    }

    /// A user of an instance's.
    pub(super) fn user(&self) -> Result<UserName, Failure> {
        UserName::parse(self.text("user")).map_err(|_| ControlError::NotFound.into())
    }

    /// A volume's key.
    pub(super) fn volume(&self) -> Result<VolumeName, Failure> {
        VolumeName::parse(self.text("key")).map_err(|_| ControlError::NotFound.into())
    }

    /// An image.
    pub(super) fn image(&self) -> Result<ImageId, Failure> {
        ImageId::parse(self.text("image")).map_err(|_| ControlError::NotFound.into())
    }

    /// A volume.
    pub(super) fn volume_id(&self) -> Result<VolumeId, Failure> {
        VolumeId::parse(self.text("volume")).map_err(|_| ControlError::NotFound.into())
    }

    /// A pool.
    pub(super) fn pool(&self) -> &str {
        self.text("pool")
    }

    /// A master.
    pub(super) fn master(&self) -> &str {
        self.text("master")
    }

    /// A file in a pool.
    pub(super) fn file(&self) -> &str {
        self.text("file")
    }

    /// A schedule.
    pub(super) fn schedule(&self) -> &str {
        self.text("schedule")
    }

    /// A job.
    pub(super) fn job(&self) -> &str {
        self.text("job")
    }

    /// The project that an image is shared with.
    pub(super) fn with(&self) -> Result<ProjectName, Failure> {
        ProjectName::parse(self.text("with")).map_err(|_| ControlError::NotFound.into())
    }

    /// A pack of the image archive.
    pub(super) fn pack(&self) -> Result<ObjectName, Failure> {
        let name = ObjectName::parse(&format!("packs/{}", self.text("pack")));
        name.ok_or(ControlError::NotFound.into())
    }
}
