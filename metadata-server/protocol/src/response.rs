//! A reply before it is bytes: status, the few headers that we send, body.
//!
//! Every status that a guest can see is made here or by a caller in this crate, so that the
//! choice lies in one place. The shell adds `Date` and `Connection`, and nothing else. A body is
//! shared with the record that it comes from where it can be, never copied.
//!
//! Follows RFC 9110 (semantics) and RFC 6585 (429, 431).

use std::fmt;

use bytes::Bytes;
use mezame_model::{HopLimit, SecretName, UserName, VolumeName, date::Date, freeze::OrderId};

use crate::token::UnixTime;

/// The status codes that we answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
#[expect(missing_docs, reason = "each is named as RFC 9110 names it")]
pub enum Status {
    Ok = 200,
    NoContent = 204,
    MovedPermanently = 301,
    NotModified = 304,
    BadRequest = 400,
    Unauthorized = 401,
    Forbidden = 403,
    NotFound = 404,
    MethodNotAllowed = 405,
    RequestTimeout = 408,
    Conflict = 409,
    LengthRequired = 411,
    PreconditionFailed = 412,
    ContentTooLarge = 413,
    UriTooLong = 414,
    UnsupportedMediaType = 415,
    MisdirectedRequest = 421,
    TooManyRequests = 429,
    HeaderFieldsTooLarge = 431,
    InternalServerError = 500,
    ServiceUnavailable = 503,
}

impl Status {
    /// The number.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// The reason phrase of RFC 9110.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::NoContent => "No Content",
            Self::MovedPermanently => "Moved Permanently",
            Self::NotModified => "Not Modified",
            Self::BadRequest => "Bad Request",
            Self::Unauthorized => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::RequestTimeout => "Request Timeout",
            Self::Conflict => "Conflict",
            Self::LengthRequired => "Length Required",
            Self::PreconditionFailed => "Precondition Failed",
            Self::ContentTooLarge => "Content Too Large",
            Self::UriTooLong => "URI Too Long",
            Self::UnsupportedMediaType => "Unsupported Media Type",
            Self::MisdirectedRequest => "Misdirected Request",
            Self::TooManyRequests => "Too Many Requests",
            Self::HeaderFieldsTooLarge => "Request Header Fields Too Large",
            Self::InternalServerError => "Internal Server Error",
            Self::ServiceUnavailable => "Service Unavailable",
        }
    }
}

/// A secret that a reply hands out; the shell writes an audit line for it.
///
/// Session tokens are not among them: they are no operator's secret, open nothing but what the
/// port opens already, and each is worthless after at most six hours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audit {
    /// Password hashes of these users, inside the Mezame document.
    PasswordHashes(Vec<UserName>),
    /// A read-once secret, by its name.
    Secret(SecretName),
    /// A volume's key, by its name.
    VolumeKey(VolumeName),
}

/// A reply.
#[derive(Clone, PartialEq, Eq)]
pub struct Response {
    /// The status.
    pub status: Status,
    /// The media type; empty where there is no body.
    pub content_type: &'static str,
    /// What is sent. Empty in an answer to HEAD.
    pub body: Bytes,
    /// The length that `Content-Length` says; differs from the body's only in an answer to HEAD.
    pub content_length: usize,
    /// A hash of the content, sent as a strong `ETag`.
    pub etag: Option<u64>,
    /// Whether `ETag` is the bare digits, without quotes, as Google's clients give it back.
    pub bare_etag: bool,
    /// Whether `Metadata-Flavor: Google` is sent, without which Google's clients believe nothing.
    pub flavor: bool,
    /// The path for `Location`, with status 301.
    pub location: Option<Box<str>>,
    /// Sent as `Last-Modified`.
    pub last_modified: Option<UnixTime>,
    /// The methods for `Allow`, with status 405.
    pub allow: Option<&'static str>,
    /// Seconds for `Retry-After`, with statuses 429 and 503.
    pub retry_after: Option<u32>,
    /// Seconds for `X-aws-ec2-metadata-token-ttl-seconds`: that the token has left.
    pub token_ttl: Option<u32>,
    /// Whether caches must forget it (`Cache-Control: no-store`).
    pub no_store: bool,
    /// The IP TTL (IPv6: hop limit) that the reply must leave with; set for replies with a token.
    pub hop_limit: Option<HopLimit>,
    /// Whether the connection ends with this reply.
    pub close: bool,
    /// The secret that it hands out.
    pub audit: Option<Audit>,
    /// The order that it tells the guest's agent.
    pub order: Option<OrderId>,
}

impl Response {
    /// A known port whose record has not come yet: 503, to be asked again. Never 404, which
    /// clients remember.
    pub fn not_ready(retry_after: u32) -> Self {
        let mut response = Self::text(Status::ServiceUnavailable, "not ready, try again\n");
        response.retry_after = Some(retry_after);
        response
    }

    /// The agent has said what has become of an order: 204, or 409 where no such order stands.
    pub fn obeyed(is_known: bool) -> Self {
        if is_known {
            return Self::new(Status::NoContent, "", Bytes::new());
        }
        crate::render::error(Status::Conflict, "no-such-order", "no such order stands")
    }

    /// The bytes came through no port that we know: 403, and the connection ends.
    pub fn unknown_port() -> Self {
        Self::text(Status::Forbidden, "unknown port\n").closing()
    }

    /// The port is over its limit of requests or connections: 429.
    pub fn too_many_requests(retry_after: u32) -> Self {
        let mut response = Self::text(Status::TooManyRequests, "too many requests\n");
        response.retry_after = Some(retry_after);
        response
    }

    /// What the guest sent can't be kept durably just now: 503, to be sent again.
    pub fn not_kept(retry_after: u32) -> Self {
        let mut response = Self::text(Status::ServiceUnavailable, "not kept, try again\n");
        response.retry_after = Some(retry_after);
        response
    }

    /// The body is longer than [`body_limit`](crate::body_limit): 413, and the connection ends.
    pub fn body_too_large() -> Self {
        Self::text(Status::ContentTooLarge, "body too large\n").closing()
    }

    /// The head is longer, or has more fields, than the shell reads: 431, and the connection ends.
    pub fn head_too_large() -> Self {
        Self::text(Status::HeaderFieldsTooLarge, "header too large\n").closing()
    }

    /// The request did not come in time: 408, and the connection ends.
    pub fn too_slow() -> Self {
        Self::text(Status::RequestTimeout, "too slow\n").closing()
    }

    /// Something is wrong on our side: 500, and the connection ends.
    pub fn internal() -> Self {
        Self::text(Status::InternalServerError, "internal error\n").closing()
    }

    /// A short fixed text.
    pub(crate) fn text(status: Status, text: &'static str) -> Self {
        Self::new(status, TEXT, Bytes::from_static(text.as_bytes()))
    }

    /// A reply with a body.
    pub(crate) fn new(status: Status, content_type: &'static str, body: Bytes) -> Self {
        Self {
            status,
            content_type,
            content_length: body.len(),
            body,
            etag: None,
            bare_etag: false,
            flavor: false,
            location: None,
            last_modified: None,
            allow: None,
            retry_after: None,
            token_ttl: None,
            no_store: false,
            hop_limit: None,
            close: false,
            audit: None,
            order: None,
        }
    }

    /// The same, with the connection's end.
    pub(crate) fn closing(mut self) -> Self {
        self.close = true;
        self
    }

    /// Calls `each` with every header but `Date` and `Connection`: lower-case name, value.
    pub fn for_each_header(&self, mut each: impl FnMut(&'static str, &[u8])) {
        let mut digits = Digits::default();
        if !self.content_type.is_empty() {
            each("content-type", self.content_type.as_bytes());
        }
        if self.has_length() {
            each("content-length", digits.decimal(self.content_length as u64));
        }
        if let Some(etag) = self.etag {
            let text = etag_text(etag);
            each("etag", if self.bare_etag { &text[1..17] } else { &text });
            // EC2 says so too: nobody resumes a download of metadata.
            each("accept-ranges", b"none");
        }
        if self.flavor {
            each("metadata-flavor", b"Google");
        }
        if let Some(path) = &self.location {
            each("location", path.as_bytes());
        }
        if let Some(time) = self.last_modified {
            each("last-modified", &http_date(time));
        }
        if let Some(methods) = self.allow {
            each("allow", methods.as_bytes());
        }
        if let Some(seconds) = self.retry_after {
            each("retry-after", digits.decimal(seconds.into()));
        }
        if let Some(seconds) = self.token_ttl {
            each("x-aws-ec2-metadata-token-ttl-seconds", digits.decimal(seconds.into()));
        }
        if self.no_store {
            each("cache-control", b"no-store");
        }
    }

    /// Whether the reply says how long it is: not with 204 and 304 (RFC 9110, section 8.6).
    fn has_length(&self) -> bool {
        !matches!(self.status, Status::NoContent | Status::NotModified)
    }

    /// The same without its body, as HEAD wants it. Nothing secret leaves, so nothing is audited.
    pub(crate) fn without_body(mut self) -> Self {
        self.body = Bytes::new();
        self.audit = None;
        self
    }
}

/// Without the body, which may hold a secret.
impl fmt::Debug for Response {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Response")
            .field("status", &self.status)
            .field("content_type", &self.content_type)
            .field("content_length", &self.content_length)
            .field("audit", &self.audit)
            .finish_non_exhaustive()
    }
}

/// Plain text, as EC2 labels all of its leaves.
pub(crate) const TEXT: &str = "text/plain";
/// Bytes that we don't look into.
pub(crate) const BYTES: &str = "application/octet-stream";
/// JSON.
pub(crate) const JSON: &str = "application/json";
/// YAML (RFC 9512).
pub(crate) const YAML: &str = "application/yaml";

/// Room for a number in decimal.
#[derive(Default)]
struct Digits([u8; 20]);

impl Digits {
    /// Writes the number, and gives its digits.
    fn decimal(&mut self, mut number: u64) -> &[u8] {
        let mut at = self.0.len();
        loop {
            at -= 1;
            self.0[at] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return &self.0[at..];
            }
        }
    }
}

/// A tag as `ETag` says it: sixteen hexadecimal digits in quotes.
pub(crate) fn etag_text(etag: u64) -> [u8; 18] {
    let mut text = [b'"'; 18];
    for (at, place) in text[1..17].iter_mut().enumerate() {
        let digit = (etag >> (60 - 4 * at)) as usize & 15;
        *place = b"0123456789abcdef"[digit];
    }
    text
}

/// A moment as `Last-Modified` says it, such as `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110,
/// section 5.6.7). Written by hand: it goes into every reply, and formatting costs more than the
/// token's check.
fn http_date(time: UnixTime) -> [u8; 29] {
    const DAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let date = Date::of(time.0);
    let mut text = *b"Day, 00 Mon 0000 00:00:00 GMT";
    let weekday = (time.0 / 86_400 % 7) as usize * 3;
    text[..3].copy_from_slice(&DAYS[weekday..weekday + 3]);
    let month = usize::from(date.month - 1) * 3;
    text[8..11].copy_from_slice(&MONTHS[month..month + 3]);
    let (century, year) = ((date.year / 100) as u8, (date.year % 100) as u8);
    let pairs = [
        (5, date.day),
        (12, century),
        (14, year),
        (17, date.hour),
        (20, date.minute),
        (23, date.second),
    ];
    for (at, number) in pairs {
        text[at] = b'0' + number / 10;
        text[at + 1] = b'0' + number % 10;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_as_rfc_9110_has_them() {
        for (seconds, text) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(http_date(UnixTime(seconds)), *text.as_bytes(), "{text}");
        }
    }

    #[test]
    fn numbers_and_tags_are_as_format_writes_them() {
        for number in [0, 7, 10, 21_600, u64::MAX] {
            assert_eq!(Digits::default().decimal(number), number.to_string().as_bytes());
            assert_eq!(etag_text(number), *format!("\"{number:016x}\"").as_bytes());
        }
    }
}
