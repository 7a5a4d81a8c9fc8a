//! The calls about long work.

use hyper::Method;
use mezame_model::{ProjectName, api::jobs::Job};

use super::{Client, ClientError};

impl Client {
    /// The jobs of a project, or all without one; newest first.
    pub async fn jobs(&self, project: Option<&ProjectName>) -> Result<Vec<Job>, ClientError> {
        self.get(&jobs(project)).await
    }

    /// One of them.
    pub async fn job(&self, project: Option<&ProjectName>, id: &str) -> Result<Job, ClientError> {
        self.get(&format!("{}/{id}", jobs(project))).await
    }

    /// Ends one of them.
    pub async fn cancel_job(
        &self,
        project: Option<&ProjectName>,
        id: &str,
    ) -> Result<Job, ClientError> {
        self.act(Method::POST, &format!("{}/{id}/cancel", jobs(project))).await
    }
}

fn jobs(project: Option<&ProjectName>) -> String {
    project.map_or("/v1/jobs".into(), |project| Client::of(project, "jobs"))
}
