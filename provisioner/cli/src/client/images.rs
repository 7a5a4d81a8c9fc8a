//! The calls about images. A file goes out and an image comes in as they are read and written,
//! never held in memory.

use std::{
    io::{self, Read},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    Method, Request, StatusCode,
    body::{Body, Frame, Incoming, SizeHint},
    header,
};
use mezame_model::{
    ProjectName,
    api::{
        images::{ArchiveStatus, Image, ImageList, NewImage},
        jobs::Job,
    },
};
use tokio::sync::mpsc;

use super::{Client, ClientError, RequestBody, connection::Live, parse, problem};

/// Bytes that are read of a file at once.
const PART: usize = 256 << 10;
/// Parts that wait to be sent.
const PARTS: usize = 8;
/// How long after the last byte of a file the answer may take.
const AFTER: Duration = Duration::from_secs(120);
/// Pages of a list; an archive has far fewer images.
const MOST_PAGES: usize = 10_000;

/// Why a file could not be read.
type Unread = Arc<Mutex<Option<io::Error>>>;

/// How much of a file is sent.
pub type Sent = Arc<AtomicU64>;

impl Client {
    /// What lies below a project's path.
    pub(super) fn of(project: &ProjectName, rest: &str) -> String {
        format!("/v1/projects/{project}/{rest}")
    }

    /// The images that a project sees; all, of every project, without one.
    pub async fn images(&self, project: Option<&ProjectName>) -> Result<Vec<Image>, ClientError> {
        let first = match project {
            Some(project) => Self::of(project, "images"),
            None => "/v1/archive/images".into(),
        };
        let pages: Vec<ImageList> = self.pages(first).await?;
        Ok(pages.into_iter().flat_map(|page| page.items).collect())
    }

    /// A list's pages, of which each names the next one.
    pub(super) async fn pages<T: serde::de::DeserializeOwned>(
        &self,
        first: String,
    ) -> Result<Vec<T>, ClientError> {
        let mut next = Some(first);
        let mut pages = Vec::new();
        for _ in 0..MOST_PAGES {
            let Some(path) = next else { break };
            let answer = self.call(Method::GET, &path, None, None).await?;
            let link = answer.headers().get(header::LINK).and_then(|value| value.to_str().ok());
            next = link.and_then(next_page);
            pages.push(parse(answer.body())?);
        }
        Ok(pages)
    }

    /// One image.
    pub async fn image(&self, project: &ProjectName, id: &str) -> Result<Image, ClientError> {
        self.get(&Self::of(project, &format!("images/{id}"))).await
    }

    /// Begins an import.
    pub async fn begin_import(
        &self,
        project: &ProjectName,
        new: &NewImage,
    ) -> Result<Job, ClientError> {
        self.post(&Self::of(project, "images"), new).await
    }

    /// Sends the file of an import.
    pub async fn upload(
        &self,
        project: &ProjectName,
        job: &str,
        file: impl Read + Send + 'static,
        length: u64,
        sent: &Sent,
    ) -> Result<Job, ClientError> {
        let path = Self::of(project, &format!("jobs/{job}/content"));
        let unread = Unread::default();
        let body = FileBody::of(file, length, Arc::clone(sent), Arc::clone(&unread));
        let mut request =
            self.request(Method::PUT, &path, None, None)?.map(|_| body.boxed_unsync());
        let kind = header::HeaderValue::from_static("application/octet-stream");
        request.headers_mut().insert(header::CONTENT_TYPE, kind);
        // As long as bytes go out it may take; the server gives up who sends none.
        let sending = self.connection.send_alone(request);
        let (answer, _keep) = self.while_it_moves(sending, sent).await.map_err(|error| {
            // What breaks the connection then is this side.
            let why = unread.lock().unwrap_or_else(PoisonError::into_inner).take();
            why.map_or(error, ClientError::Sent)
        })?;
        if !answer.status().is_success() {
            return Err(self.in_time(problem(answer)).await.unwrap_or_else(|failed| failed));
        }
        let read = super::read(answer.into_body(), super::MAX_ANSWER);
        parse(&self.in_time(read).await?)
    }

    /// Waits for an answer while a count grows, and a while longer.
    async fn while_it_moves<T>(
        &self,
        call: impl Future<Output = Result<T, ClientError>>,
        sent: &Sent,
    ) -> Result<T, ClientError> {
        let mut call = std::pin::pin!(call);
        loop {
            let before = sent.load(Ordering::Relaxed);
            match tokio::time::timeout(AFTER.max(self.timeout), &mut call).await {
                Ok(answer) => return answer,
                Err(_) if sent.load(Ordering::Relaxed) > before => {}
                Err(_) => {
                    let address = self.connection.address().clone();
                    return Err(ClientError::TimedOut { address, timeout: AFTER });
                }
            }
        }
    }

    /// An image's bytes from a place on, as a raw disk. An image never changes, so it is the same
    /// one however often it is asked for.
    pub async fn image_content(
        &self,
        project: &ProjectName,
        id: &str,
        from: u64,
    ) -> Result<Content, ClientError> {
        let path = Self::of(project, &format!("images/{id}/content"));
        let mut request = self.request(Method::GET, &path, None, None)?;
        if from > 0 {
            // RFC 9110, section 14.2.
            let range = header::HeaderValue::try_from(format!("bytes={from}-"));
            let range = range.map_err(|error| ClientError::Request(error.into()))?;
            request.headers_mut().insert(header::RANGE, range);
        }
        self.content(request, from).await
    }

    /// What a request for bytes is answered with, which came from a place on if any does.
    pub(super) async fn content(
        &self,
        request: Request<RequestBody>,
        from: u64,
    ) -> Result<Content, ClientError> {
        let (answer, keep) = self.in_time(self.connection.send_alone(request)).await?;
        if !answer.status().is_success() {
            return Err(self.in_time(problem(answer)).await.unwrap_or_else(|failed| failed));
        }
        let start = if answer.status() == StatusCode::PARTIAL_CONTENT { from } else { 0 };
        let body = answer.into_body();
        let size = start + body.size_hint().exact().unwrap_or(0);
        Ok(Content { start, size, body, timeout: self.timeout.max(AFTER), _keep: keep })
    }

    /// Has all of an image read.
    pub async fn verify_image(&self, project: &ProjectName, id: &str) -> Result<Job, ClientError> {
        self.act(Method::POST, &Self::of(project, &format!("images/{id}/verify"))).await
    }

    /// Shares an image with a project, or with all without one; or takes that back.
    pub async fn set_share(
        &self,
        project: &ProjectName,
        id: &str,
        with: Option<&ProjectName>,
        is_shared: bool,
    ) -> Result<(), ClientError> {
        let with = with.map(|with| format!("/{with}")).unwrap_or_default();
        let path = Self::of(project, &format!("images/{id}/shares{with}"));
        let method = if is_shared { Method::PUT } else { Method::DELETE };
        self.call(method, &path, None, None).await.map(drop)
    }

    /// Deletes one of a project's own images.
    pub async fn delete_image(&self, project: &ProjectName, id: &str) -> Result<(), ClientError> {
        let path = Self::of(project, &format!("images/{id}"));
        self.call(Method::DELETE, &path, None, None).await.map(drop)
    }

    /// How much is in the archive.
    pub async fn archive(&self) -> Result<ArchiveStatus, ClientError> {
        self.get("/v1/archive").await
    }

    /// Makes it.
    pub async fn create_archive(&self) -> Result<ArchiveStatus, ClientError> {
        self.act(Method::POST, "/v1/archive").await
    }

    /// Has garbage collected (`collect`), or all packs read (`verify`).
    pub async fn archive_work(&self, what: &str) -> Result<Job, ClientError> {
        self.act(Method::POST, &format!("/v1/archive/{what}")).await
    }

    /// Deletes an image without opening it.
    pub async fn forget_image(&self, id: &str) -> Result<(), ClientError> {
        let path = format!("/v1/archive/images/{id}");
        self.call(Method::DELETE, &path, None, None).await.map(drop)
    }

    /// The packs in quarantine.
    pub async fn quarantine(&self) -> Result<Vec<String>, ClientError> {
        self.get("/v1/archive/quarantine").await
    }

    /// Puts a pack into it, or releases it.
    pub async fn set_quarantine(&self, pack: &str, is_in: bool) -> Result<(), ClientError> {
        let path = format!("/v1/archive/quarantine/{pack}");
        let method = if is_in { Method::PUT } else { Method::DELETE };
        self.call(method, &path, None, None).await.map(drop)
    }

    pub(super) async fn act<T: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
    ) -> Result<T, ClientError> {
        parse(self.call(method, path, None, None).await?.body())
    }
}

/// The next page by a `Link` header (RFC 8288), which must be one of this server's own.
fn next_page(link: &str) -> Option<String> {
    let path = link.strip_suffix(">; rel=\"next\"")?.strip_prefix('<')?;
    path.starts_with("/v1/").then(|| path.to_owned())
}

/// An image on its way in.
#[derive(Debug)]
pub struct Content {
    /// Where on the disk it begins: 0 where the server gives no part of it.
    pub start: u64,
    /// The disk's length in bytes, as the server says.
    pub size: u64,
    body: Incoming,
    timeout: Duration,
    _keep: Live,
}

impl Content {
    /// What comes next; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            let frame = tokio::time::timeout(self.timeout, self.body.frame()).await;
            let stalled = || io::Error::from(io::ErrorKind::TimedOut);
            let Some(frame) = frame.map_err(|_| ClientError::Body(stalled().into()))? else {
                return Ok(None);
            };
            let frame = frame.map_err(|error| ClientError::Body(error.into()))?;
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
        }
    }
}

/// A file as the body of a request, read by a thread of its own.
struct FileBody {
    parts: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
    sent: Sent,
}

impl FileBody {
    fn of(mut file: impl Read + Send + 'static, length: u64, sent: Sent, unread: Unread) -> Self {
        let (parts, taken) = mpsc::channel(PARTS);
        std::thread::spawn(move || {
            let mut left = length;
            while left > 0 {
                let mut part = vec![0; PART.min(usize::try_from(left).unwrap_or(PART))];
                let read = file.read_exact(&mut part).map(|()| Bytes::from(part));
                if let Err(error) = &read {
                    let why = io::Error::new(error.kind(), error.to_string());
                    *unread.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
                }
                left -= read.as_ref().map_or(left, |part| part.len() as u64);
                // The request may have ended before the file.
                if parts.blocking_send(read).is_err() {
                    break;
                }
            }
        });
        Self { parts: taken, left: length, sent }
    }
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.parts.poll_recv(context).map(|part| {
            let part = part?;
            Some(part.map(|bytes| {
                self.left = self.left.saturating_sub(bytes.len() as u64);
                self.sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                Frame::data(bytes)
            }))
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
