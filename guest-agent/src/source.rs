//! Where the document comes from: the metadata service, in Mezame's own dialect.
//!
//! ```text
//!   PUT /latest/api/token ─► GET /mezame/v1/document ─► … ─► POST /mezame/v1/report
//!                                   └─ ?watch=ETAG: waits for a change
//! ```
//! A token is asked for first and once; where the service says 401, anew. Nothing here retries by
//! itself: how long to wait is [`crate::boot`]'s affair.

mod error;
pub mod http;
mod orders;
pub mod volume_key;

use std::time::{Duration, Instant};

use mezame_model::{
    Document, Report, SecretName, SecretString,
    report::{HostKey, SealedPassword, StepReport},
};

pub use self::error::SourceError;
use self::{
    error::refusal,
    http::{Client, Request, Response},
};
use crate::platform::Platform;

/// Where a token is asked for, in EC2's way.
pub(crate) const TOKEN: &str = "/latest/api/token";
/// The header that asks how long it is to live.
pub(crate) const TOKEN_TTL_HEADER: &str = "X-aws-ec2-metadata-token-ttl-seconds";
/// How long a token is asked to live: the longest that there is, six hours.
pub(crate) const TOKEN_TTL: &str = "21600";
/// The header that shows it.
pub(crate) const TOKEN_HEADER: &str = "X-aws-ec2-metadata-token";
/// The document.
pub(crate) const DOCUMENT: &str = "/mezame/v1/document";
/// For an answer that is there at once.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often, with which pause, and how long each time the service is asked whether it is still
/// reached after a change of the network.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(3);
/// The server takes no longer report.
const MAX_REPORT: usize = 200 << 10;

/// A document and its tag.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// What the guest is to become.
    pub document: Document,
    /// For the next watch.
    pub etag: String,
}

/// A secret, and the tag of its value.
#[derive(Debug, Clone)]
pub struct FetchedSecret {
    /// The value.
    pub value: SecretString,
    /// For the acknowledgement; none from a service that gives none.
    pub etag: Option<String>,
}

/// What steps need of the service, so that they can be tested without one.
pub trait Upstream {
    /// Reads a secret; none where it is gone.
    fn secret(&mut self, name: &SecretName) -> Result<Option<FetchedSecret>, SourceError>;
    /// Says that a secret was received, so that this value is never handed out again.
    fn acknowledge(&mut self, name: &SecretName, etag: Option<&str>) -> Result<(), SourceError>;
    /// Posts a sealed password.
    fn post_password(&mut self, password: &SealedPassword) -> Result<(), SourceError>;
    /// Posts a report.
    fn post_report(&mut self, report: &Report) -> Result<(), SourceError>;
    /// Whether the service answers, with the network as it is now. Takes some seconds at most.
    fn is_reached(&mut self) -> bool {
        true
    }
    /// A change of the network was taken back: the way to the service is to be opened anew.
    fn rolled_back(&mut self, _platform: &dyn Platform) {}
    /// The configuration is whole: what was opened only for reaching the service can go.
    fn configured(&mut self, platform: &dyn Platform, network_changed: bool);
}

/// The service at one endpoint, through one device.
#[derive(Debug)]
pub struct Source {
    client: Client,
    token: Option<(SecretString, Instant)>,
}

impl Source {
    /// A source that has not asked for anything yet.
    pub fn new(client: Client) -> Self {
        Self { client, token: None }
    }

    /// When the first packet left and the first answer was there.
    pub fn first_times(&self) -> (Option<Instant>, Option<Instant>) {
        (self.client.first_packet, self.client.first_reply)
    }

    /// Counts those times from this moment on.
    pub fn begin_at(&mut self, now: Instant) {
        self.client.first_packet = Some(now);
        self.client.first_reply = Some(now);
    }

    /// Forgets the connection, since the addresses have changed.
    pub fn disconnect(&mut self) {
        self.client.disconnect();
    }

    /// Asks through another device from now on.
    pub fn move_to(&mut self, device: &str, index: u32) {
        self.client.move_to(device, index);
    }

    /// Fetches the document. With an ETag and a time to wait, answers when there is another one,
    /// or with none when the time is over.
    pub fn document(
        &mut self,
        watch: Option<(&str, Duration)>,
    ) -> Result<Option<Fetched>, SourceError> {
        let (target, timeout) = match watch {
            None => (DOCUMENT.to_owned(), TIMEOUT),
            Some((etag, wait)) => {
                let tag = etag.trim_start_matches("W/").trim_matches('"');
                let seconds = wait.as_secs();
                (format!("{DOCUMENT}?watch={tag}&timeout={seconds}"), wait + TIMEOUT)
            }
        };
        let response = self.authorized("GET", &target, None, timeout)?;
        if response.head.status == 304 {
            return Ok(None);
        }
        let etag = response.head.header("etag").filter(|it| !it.is_empty());
        let etag = etag.ok_or_else(|| SourceError::Document("it came without an ETag".into()))?;
        let etag = etag.to_owned();
        let document: Document = serde_json::from_slice(&response.body)
            .map_err(|error| SourceError::Document(json_error(&error, &response.body)))?;
        if document.version != Document::VERSION {
            return Err(SourceError::Version(document.version));
        }
        Ok(Some(Fetched { document, etag }))
    }

    /// Asks for a token. None where the service has none, which is no failure: it may not want
    /// them.
    fn fetch_token(&mut self) -> Result<Option<SecretString>, SourceError> {
        self.fetch_token_within(TIMEOUT)
    }

    fn fetch_token_within(
        &mut self,
        timeout: Duration,
    ) -> Result<Option<SecretString>, SourceError> {
        let request = Request {
            method: "PUT",
            target: TOKEN,
            headers: &[(TOKEN_TTL_HEADER, TOKEN_TTL)],
            body: Some(b""),
            timeout,
        };
        let response = self.client.exchange(&request)?;
        match response.head.status {
            200 => {
                let text = String::from_utf8(response.body).ok().filter(|text| is_token(text));
                Ok(text.map(SecretString::new))
            }
            404 | 405 => Ok(None),
            _ => Err(refusal(&response)),
        }
    }

    fn authorized(
        &mut self,
        method: &str,
        target: &str,
        body: Option<&[u8]>,
        timeout: Duration,
    ) -> Result<Response, SourceError> {
        self.conditional(method, target, None, body, timeout)
    }

    fn conditional(
        &mut self,
        method: &str,
        target: &str,
        condition: Option<(&str, &str)>,
        body: Option<&[u8]>,
        timeout: Duration,
    ) -> Result<Response, SourceError> {
        for attempt in 0..2 {
            let age = Duration::from_secs(6 * 3600 - 300);
            if self.token.as_ref().is_none_or(|(_, since)| since.elapsed() > age) {
                self.token = self.fetch_token()?.map(|token| (token, Instant::now()));
            }
            let mut headers: Vec<(&str, &str)> = condition.into_iter().collect();
            if let Some((token, _)) = &self.token {
                headers.push((TOKEN_HEADER, token.expose()));
            }
            if body.is_some_and(|body| !body.is_empty()) {
                headers.push(("Content-Type", "application/json"));
            }
            let request = Request { method, target, headers: &headers, body, timeout };
            let response = self.client.exchange(&request)?;
            match response.head.status {
                200..=299 | 304 => return Ok(response),
                401 if attempt == 0 => self.token = None,
                _ => return Err(refusal(&response)),
            }
        }
        Err(SourceError::Unauthorized)
    }
}

impl Upstream for Source {
    fn secret(&mut self, name: &SecretName) -> Result<Option<FetchedSecret>, SourceError> {
        match self.authorized("GET", &format!("/mezame/v1/secrets/{name}"), None, TIMEOUT) {
            Ok(response) => {
                let etag = response.head.header("etag").filter(|it| !it.is_empty());
                let etag = etag.map(str::to_owned);
                String::from_utf8(response.body)
                    .map(|text| Some(FetchedSecret { value: SecretString::new(text), etag }))
                    .map_err(|_| SourceError::Document("the secret is not UTF-8".into()))
            }
            Err(SourceError::NoDocument) => Ok(None),
            Err(SourceError::Status { status: 410, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn acknowledge(&mut self, name: &SecretName, etag: Option<&str>) -> Result<(), SourceError> {
        let target = format!("/mezame/v1/secrets/{name}/ack");
        let condition = etag.map(|etag| ("If-Match", etag));
        self.conditional("POST", &target, condition, Some(b""), TIMEOUT).map(drop)
    }

    fn post_password(&mut self, password: &SealedPassword) -> Result<(), SourceError> {
        let body = serde_json::to_vec(password).unwrap_or_default();
        self.authorized("POST", "/mezame/v1/password", Some(&body), TIMEOUT).map(drop)
    }

    fn post_report(&mut self, report: &Report) -> Result<(), SourceError> {
        let body = fitting(report);
        self.authorized("POST", "/mezame/v1/report", Some(&body), TIMEOUT).map(drop)
    }

    fn is_reached(&mut self) -> bool {
        // A connection of before the change would prove nothing.
        self.disconnect();
        for attempt in 1..=ATTEMPTS {
            match self.fetch_token_within(PATIENCE) {
                Err(SourceError::Http(_)) if attempt < ATTEMPTS => std::thread::sleep(PAUSE),
                // Whatever it answers, it has answered.
                result => return !matches!(result, Err(SourceError::Http(_))),
            }
        }
        false
    }

    fn configured(&mut self, _platform: &dyn Platform, network_changed: bool) {
        if network_changed {
            self.disconnect();
        }
    }
}

/// The report as JSON; too long a one loses the details first, then the last steps.
fn fitting(report: &Report) -> Vec<u8> {
    let json = |report: &Report| serde_json::to_vec(report).unwrap_or_default();
    let bytes = json(report);
    if bytes.len() <= MAX_REPORT {
        return bytes;
    }
    let mut short = report.clone();
    let cut = |step: &mut StepReport| step.detail = step.detail.chars().take(120).collect();
    short.steps.iter_mut().for_each(cut);
    short.host_keys.truncate(8);
    let long = |key: &HostKey| key.public_key.len() > 2048;
    short.host_keys.retain(|key| !long(key));
    while json(&short).len() > MAX_REPORT && !short.steps.is_empty() {
        short.steps.truncate(short.steps.len() * 3 / 4);
    }
    json(&short)
}

/// Whether a text can be a token.
pub(crate) fn is_token(text: &str) -> bool {
    (1..=4096).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Where the document is wrong, without its content.
fn json_error(error: &serde_json::Error, body: &[u8]) -> String {
    let kind = match error.classify() {
        serde_json::error::Category::Data => "a value is not of its form",
        _ => "it is no JSON",
    };
    format!("{kind} at line {}, column {}, of {} bytes", error.line(), error.column(), body.len())
}

#[cfg(test)]
mod tests;
