//! The operator API, call by call.
//!
//! One connection is kept and used again. Answers are bounded in size and time. Nothing here
//! writes to the terminal or retries a change: whether a lost answer meant a done change, the
//! operator must be told.

pub mod address;
mod connection;
pub mod error;
pub mod events;
pub mod files;
pub mod images;
mod jobs;
mod missing;
pub mod trust;
mod volumes;

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header};
use mezame_model::{
    Generation, ProjectName, SecretString, UserName, VolumeName,
    api::{
        Applied, Apply, Device, Kind, List, NewPasswordReset, NewVersion, NewVolumeKey,
        PasswordReset, Problem, Resource, Revocation, StoredKeyRequest, StoredPassword,
        StoredReport, VolumeKeyView,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use self::{
    address::ServerAddress,
    connection::{Connection, RequestBody},
    error::ClientError,
    trust::Trust,
};
use crate::kind_name::{Name, collection};

/// The longest answer that is read, in bytes: room for 100,000 instances.
const MAX_ANSWER: usize = 1 << 30;

/// Where and as whom to call.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// The server.
    pub address: ServerAddress,
    /// The bearer token, for a server on the network.
    pub token: Option<SecretString>,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// For one call from its first byte to its last.
    pub timeout: Duration,
}

/// A resource with the tag that its next change must name.
#[derive(Debug, Clone)]
pub struct Tagged {
    /// What it is.
    pub resource: Resource,
    /// The server's ETag.
    pub etag: Option<String>,
}

/// What must be so for a change to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// It must have this ETag.
    Match(String),
    /// It must have been last changed in this generation.
    Revision(Generation),
    /// It must be there.
    Exists,
    /// It must not be there.
    Absent,
}

impl Precondition {
    fn header(&self) -> (header::HeaderName, String) {
        match self {
            Self::Match(etag) => (header::IF_MATCH, etag.clone()),
            Self::Revision(revision) => (header::IF_MATCH, format!("\"{revision}\"")),
            Self::Exists => (header::IF_MATCH, "*".into()),
            Self::Absent => (header::IF_NONE_MATCH, "*".into()),
        }
    }
}

/// A client of one server.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    timeout: Duration,
}

impl Client {
    /// A client that has not connected yet.
    pub fn new(settings: ClientSettings) -> Result<Self, ClientError> {
        let timeout = settings.timeout;
        Ok(Self { connection: Connection::new(settings)?, timeout })
    }

    /// All things of a kind, in a project if the kind lies in one.
    pub async fn list(
        &self,
        kind: Kind,
        project: Option<&ProjectName>,
    ) -> Result<List, ClientError> {
        self.get(&collection(kind, project)).await
    }

    /// One thing.
    pub async fn fetch(&self, name: &Name) -> Result<Tagged, ClientError> {
        let answer = self.call(Method::GET, &name.path(), None, None).await?;
        let etag = answer
            .headers()
            .get(header::ETAG)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        Ok(Tagged { resource: parse(answer.body())?, etag })
    }

    /// Applies documents together, all or none; with `dry_run` only says what it would do.
    pub async fn apply(
        &self,
        documents: Vec<Value>,
        dry_run: bool,
    ) -> Result<Applied, ClientError> {
        let path = if dry_run { "/v1/apply?dry_run=true" } else { "/v1/apply" };
        let answer = self.call(Method::POST, path, json(&Apply { documents })?, None).await?;
        parse(answer.body())
    }

    /// Replaces one thing.
    pub async fn replace(
        &self,
        name: &Name,
        fields: &Value,
        precondition: &Precondition,
    ) -> Result<Resource, ClientError> {
        let answer =
            self.call(Method::PUT, &name.path(), json(fields)?, Some(precondition)).await?;
        parse(answer.body())
    }

    /// Deletes one thing.
    pub async fn delete(
        &self,
        name: &Name,
        precondition: &Precondition,
    ) -> Result<(), ClientError> {
        self.call(Method::DELETE, &name.path(), None, Some(precondition)).await.map(drop)
    }

    /// Says which tap a port has, or with none that it has its own name's.
    pub async fn set_device(
        &self,
        port: &Name,
        device: Option<&Device>,
    ) -> Result<Option<Resource>, ClientError> {
        let path = format!("{}/device", port.path());
        let answer = match device {
            Some(device) => self.call(Method::PUT, &path, json(device)?, None).await?,
            None => self.call(Method::DELETE, &path, None, None).await?,
        };
        if answer.body().is_empty() { Ok(None) } else { parse(answer.body()).map(Some) }
    }

    /// An instance's reports, newest first.
    pub async fn reports(&self, instance: &Name) -> Result<Vec<StoredReport>, ClientError> {
        self.get(&format!("{}/reports", instance.path())).await
    }

    /// An instance's sealed passwords.
    pub async fn passwords(&self, instance: &Name) -> Result<Vec<StoredPassword>, ClientError> {
        self.get(&format!("{}/passwords", instance.path())).await
    }

    /// Has a guest make another password of a user's.
    pub async fn reset_password(
        &self,
        instance: &Name,
        user: &UserName,
        what: &NewPasswordReset,
    ) -> Result<PasswordReset, ClientError> {
        self.post(&format!("{}/passwords/{user}/reset", instance.path()), what).await
    }

    /// The keys of an instance's volumes, without what is secret.
    pub async fn volume_keys(&self, instance: &Name) -> Result<Vec<VolumeKeyView>, ClientError> {
        self.get(&format!("{}/volume-keys", instance.path())).await
    }

    /// Gives an instance the key of a volume.
    pub async fn create_key(
        &self,
        instance: &Name,
        key: &NewVolumeKey,
    ) -> Result<VolumeKeyView, ClientError> {
        self.post(&format!("{}/volume-keys", instance.path()), key).await
    }

    /// Adds the next version of a volume's key.
    pub async fn rotate_key(
        &self,
        instance: &Name,
        key: &VolumeName,
        version: &NewVersion,
    ) -> Result<VolumeKeyView, ClientError> {
        self.post(&format!("{}/volume-keys/{key}/rotate", instance.path()), version).await
    }

    /// Takes a volume's key, or a version of it, away.
    pub async fn revoke_key(
        &self,
        instance: &Name,
        key: &VolumeName,
        what: &Revocation,
    ) -> Result<VolumeKeyView, ClientError> {
        self.post(&format!("{}/volume-keys/{key}/revoke", instance.path()), what).await
    }

    /// Has a volume's revoked key given out again.
    pub async fn restore_key(
        &self,
        instance: &Name,
        key: &VolumeName,
    ) -> Result<VolumeKeyView, ClientError> {
        let path = format!("{}/volume-keys/{key}/restore", instance.path());
        parse(self.call(Method::POST, &path, None, None).await?.body())
    }

    /// Has a volume's key forgotten.
    pub async fn destroy_key(&self, instance: &Name, key: &VolumeName) -> Result<(), ClientError> {
        let path = format!("{}/volume-keys/{key}", instance.path());
        self.call(Method::DELETE, &path, None, None).await.map(drop)
    }

    /// An instance's requests for its volumes' keys, newest first.
    pub async fn key_requests(
        &self,
        instance: &Name,
    ) -> Result<Vec<StoredKeyRequest>, ClientError> {
        self.get(&format!("{}/key-requests", instance.path())).await
    }

    /// The image of an instance's disk, in a format that the control plane knows.
    pub async fn disk(&self, instance: &Name, format: &str) -> Result<Bytes, ClientError> {
        let path = format!("{}/disk?format={format}", instance.path());
        let answer = self.call(Method::GET, &path, None, None).await?;
        Ok(answer.into_body())
    }

    /// Makes a new key of a kind (`sealing` or `tokens`) the one in use.
    pub async fn rotate(&self, key: &str) -> Result<(), ClientError> {
        self.call(Method::POST, &format!("/v1/keys/{key}/rotate"), None, None).await.map(drop)
    }

    /// The certificate that instance-identity documents are verified with, in PEM.
    pub async fn identity_certificate(&self) -> Result<Bytes, ClientError> {
        let answer = self.call(Method::GET, "/v1/identity-certificate", None, None).await?;
        Ok(answer.into_body())
    }

    /// The server's version.
    pub async fn version(&self) -> Result<Value, ClientError> {
        self.get("/v1/version").await
    }

    /// Who the server takes the caller for.
    pub async fn whoami(&self) -> Result<Value, ClientError> {
        self.get("/v1/whoami").await
    }

    /// The stream of events after a generation, or from now on.
    pub async fn events(
        &self,
        after: Option<Generation>,
    ) -> Result<events::EventStream, ClientError> {
        let path = match after {
            Some(after) => format!("/v1/events?after={after}"),
            None => "/v1/events".into(),
        };
        let request = self.request(Method::GET, &path, None, None)?;
        // A stream has a connection of its own and no end, so only its beginning is timed.
        let answer = self.in_time(self.connection.send_alone(request)).await?;
        let (answer, keep) = answer;
        if !answer.status().is_success() {
            return Err(self.in_time(problem(answer)).await.unwrap_or_else(|failed| failed));
        }
        Ok(events::EventStream::new(answer.into_body(), keep))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        parse(self.call(Method::GET, path, None, None).await?.body())
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        parse(self.call(Method::POST, path, json(body)?, None).await?.body())
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        precondition: Option<&Precondition>,
    ) -> Result<Response<Bytes>, ClientError> {
        let request = self.request(method, path, body, precondition)?;
        self.in_time(async {
            let answer = self.connection.send(request).await?;
            if !answer.status().is_success() {
                return Err(problem(answer).await?.about(path));
            }
            let (head, body) = answer.into_parts();
            Ok(Response::from_parts(head, read(body, MAX_ANSWER).await?))
        })
        .await
    }

    async fn in_time<T>(
        &self,
        call: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, ClientError> {
        tokio::time::timeout(self.timeout, call).await.unwrap_or_else(|_| {
            Err(ClientError::TimedOut {
                address: self.connection.address().clone(),
                timeout: self.timeout,
            })
        })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        precondition: Option<&Precondition>,
    ) -> Result<Request<RequestBody>, ClientError> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.connection.address().host())
            .header(header::USER_AGENT, concat!("mezame/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT, "application/json, application/problem+json");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(precondition) = precondition {
            let (name, value) = precondition.header();
            request = request.header(name, value);
        }
        if let Some(authorization) = self.connection.authorization()? {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let body = Full::new(body.unwrap_or_default()).map_err(|never| match never {});
        request.body(body.boxed_unsync()).map_err(ClientError::Request)
    }
}

fn json(value: &impl Serialize) -> Result<Option<Bytes>, ClientError> {
    serde_json::to_vec(value).map(|bytes| Some(bytes.into())).map_err(ClientError::Write)
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(ClientError::Answer)
}

async fn read(body: Incoming, limit: usize) -> Result<Bytes, ClientError> {
    let collected = Limited::new(body, limit).collect().await.map_err(ClientError::Body)?;
    Ok(collected.to_bytes())
}

/// The failure that an answer tells of.
async fn problem(answer: Response<Incoming>) -> Result<ClientError, ClientError> {
    let status = answer.status();
    let body = read(answer.into_body(), 64 << 20).await?;
    Ok(match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) => ClientError::Problem(Box::new(problem)),
        Err(_) => ClientError::Status { status: StatusCode::as_u16(&status) },
    })
}
