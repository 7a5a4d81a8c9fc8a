//! From a head's parts to one canonical form, or a refusal.
//!
//! Here, so that no later step sees two spellings of one path or two values of one header: what
//! several programs could read in several ways is refused, everything else has one form. Doubled
//! slashes collapse, since real clients send them; dot segments, escapes that hide structure
//! (`%2e`, `%2f`, `%5c`), control bytes and overlong UTF-8 do not pass. Never decides what a guest
//! may see, and never takes a header for the guest's identity.
//!
//! Follows RFC 9112 (sections 3 and 6: target forms, framing), RFC 9110 (section 7.2: Host) and
//! RFC 3986 (section 2: escapes).

use std::fmt;

use crate::{
    gate::Gate,
    host,
    path::{self, Path},
    response::{Response, Status},
};

/// The versions of HTTP that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: needs no Host.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// The methods that some path answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Read.
    Get,
    /// Read without a body.
    Head,
    /// Ask for a token.
    Put,
    /// Report something.
    Post,
    /// Remove something.
    Delete,
    /// Any other, which no path answers.
    Other,
}

impl Method {
    /// Parses a method's name; names are case-sensitive.
    fn parse(name: &str) -> Result<Self, Refusal> {
        match name {
            "GET" => Ok(Self::Get),
            "HEAD" => Ok(Self::Head),
            "PUT" => Ok(Self::Put),
            "POST" => Ok(Self::Post),
            "DELETE" => Ok(Self::Delete),
            // CONNECT names an authority instead of a path, and TRACE would send back headers
            // that something between the guest's program and us has added.
            "CONNECT" | "TRACE" => Err(Refusal::Method),
            _ => Ok(Self::Other),
        }
    }
}

/// Why a request is refused before anybody looks at what it asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// CONNECT or TRACE.
    #[error("the method is refused for every path")]
    Method,
    /// Absolute, authority or asterisk form, a fragment, or no target at all.
    #[error("the request target is not a path")]
    TargetForm,
    /// Longer than [`Request::TARGET_MAX`].
    #[error("the request target is too long")]
    TargetTooLong,
    /// A byte that no path or query may have, plain or escaped.
    #[error("the request target has a byte that it may not have")]
    TargetByte,
    /// A `%` without two hexadecimal digits, or bytes that are not UTF-8.
    #[error("the request target has an invalid escape")]
    Escape,
    /// `.` or `..` as a segment, or an escape that hides `.`, `/` or `\`.
    #[error("the request target has a dot segment or a hidden separator")]
    DotSegment,
    /// No Host in HTTP/1.1, or one that is no host and port.
    #[error("the Host header is missing or malformed")]
    Host,
    /// A Host that only a page from elsewhere would send.
    #[error("the Host header names another service")]
    ForeignHost,
    /// A header of which there may be one came twice.
    #[error("a header that may come once came twice")]
    DoubledHeader,
    /// A Content-Length that is no number, or several that differ.
    #[error("the Content-Length is malformed or ambiguous")]
    ContentLength,
    /// Both Transfer-Encoding and Content-Length.
    #[error("the body is framed in two ways")]
    TwoFramings,
    /// A Transfer-Encoding.
    #[error("a body needs a Content-Length")]
    TransferEncoding,
    /// Not HTTP at all, as far as a reader of bytes can tell.
    #[error("the request is malformed")]
    Malformed,
}

impl Refusal {
    /// What the guest is told. After a fault in the framing the connection ends, since nobody
    /// knows where the next request begins.
    pub fn response(self) -> Response {
        let text = Response::text;
        match self {
            Self::Method => {
                let mut response = text(Status::MethodNotAllowed, "method not allowed\n");
                response.allow = Some("GET, HEAD");
                response.closing()
            }
            Self::TargetForm | Self::TargetByte | Self::Escape | Self::DotSegment => {
                text(Status::BadRequest, "bad request target\n")
            }
            Self::TargetTooLong => text(Status::UriTooLong, "request target too long\n"),
            Self::Host => text(Status::BadRequest, "bad Host header\n"),
            Self::ForeignHost => text(Status::MisdirectedRequest, "wrong Host header\n"),
            Self::DoubledHeader => text(Status::BadRequest, "doubled header\n").closing(),
            Self::ContentLength => text(Status::BadRequest, "bad Content-Length\n").closing(),
            Self::TwoFramings => text(Status::BadRequest, "ambiguous body length\n").closing(),
            Self::TransferEncoding => {
                text(Status::LengthRequired, "Content-Length required\n").closing()
            }
            Self::Malformed => text(Status::BadRequest, "bad request\n").closing(),
        }
    }
}

/// The headers that some part of this crate looks at; each at most once.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Headers<'a> {
    /// `X-aws-ec2-metadata-token`.
    pub(crate) token: Option<&'a [u8]>,
    /// `X-aws-ec2-metadata-token-ttl-seconds`.
    pub(crate) token_ttl: Option<&'a [u8]>,
    /// `If-None-Match`.
    pub(crate) if_none_match: Option<&'a [u8]>,
    /// `If-Match`.
    pub(crate) if_match: Option<&'a [u8]>,
    /// `Content-Type`.
    pub(crate) content_type: Option<&'a [u8]>,
    /// `Metadata-Flavor`, which Google's clients must send.
    pub(crate) flavor: Option<&'a [u8]>,
    /// `Metadata`, which Azure's clients must send.
    pub(crate) metadata: Option<&'a [u8]>,
    /// `DomU_Request`: what CloudStack's clients want of the password server.
    pub(crate) domu_request: Option<&'a [u8]>,
    /// Whether a proxy says that it relays: `X-Forwarded-For`, `Forwarded` or `X-Real-IP`.
    pub(crate) relayed: bool,
    /// Whether a browser says which page asks (`Origin`).
    pub(crate) origin: bool,
}

/// A request in canonical form.
#[derive(Clone, PartialEq, Eq)]
pub struct Request<'a> {
    gate: Gate,
    method: Method,
    path: Path<'a>,
    query: Option<&'a str>,
    headers: Headers<'a>,
    content_length: u64,
}

impl<'a> Request<'a> {
    /// The longest request target, in bytes.
    pub const TARGET_MAX: usize = 8192;

    /// Parses a head of a request for metadata. `target` is the request target as it came (for a shell on hyper: path and
    /// query where the URI has neither scheme nor authority, else the whole URI, which is then
    /// refused). Header names may be in any case.
    pub fn parse(
        version: Version,
        method: &str,
        target: &'a [u8],
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, Refusal> {
        let method = Method::parse(method)?;
        if target.len() > Self::TARGET_MAX {
            return Err(Refusal::TargetTooLong);
        }
        let (path, query) = path::split(target)?;
        let (headers, content_length) = read_headers(version, headers)?;
        Ok(Self { gate: Gate::Metadata, method, path, query, headers, content_length })
    }

    /// The same request, by another gate.
    pub fn by(self, gate: Gate) -> Self {
        Self { gate, ..self }
    }

    /// By which gate it came.
    pub fn gate(&self) -> Gate {
        self.gate
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The canonical path, decoded: begins with '/', has no empty segment but perhaps the last.
    pub fn path(&self) -> &str {
        self.path.as_str()
    }

    /// The canonical target as it would be sent: parsing it gives this path and query again.
    pub fn target(&self) -> String {
        let mut target = self.path.spelling();
        if let Some(query) = self.query {
            target.push('?');
            target.push_str(query);
        }
        target
    }

    /// The path's segments; none for '/'. A trailing slash makes no segment.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &str> + Clone {
        self.path.segments()
    }

    /// The value of a query parameter, not decoded; of several the first.
    pub(crate) fn parameter(&self, name: &str) -> Option<&'a str> {
        self.query?.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// The headers that matter.
    pub(crate) fn headers(&self) -> &Headers<'a> {
        &self.headers
    }

    /// How long the body is, by its own account.
    pub fn content_length(&self) -> u64 {
        self.content_length
    }
}

/// Without the headers, which may hold a token.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Request")
            .field("method", &self.method)
            .field("path", &self.path())
            .finish_non_exhaustive()
    }
}

/// Reads what matters of the headers, and refuses ambiguous framing and hosts.
fn read_headers<'a>(
    version: Version,
    fields: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<(Headers<'a>, u64), Refusal> {
    let mut headers = Headers::default();
    let mut host = None;
    let mut length = None;
    let mut encoded = false;
    for (name, value) in fields {
        let value = value.trim_ascii();
        // Most names are dismissed by their length alone.
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => once(&mut host, value)?,
            6 if name.eq_ignore_ascii_case("origin") => headers.origin = true,
            8 if name.eq_ignore_ascii_case("metadata") => once(&mut headers.metadata, value)?,
            8 if name.eq_ignore_ascii_case("if-match") => once(&mut headers.if_match, value)?,
            9 if name.eq_ignore_ascii_case("forwarded")
                || name.eq_ignore_ascii_case("x-real-ip") =>
            {
                headers.relayed = true;
            }
            12 if name.eq_ignore_ascii_case("content-type") => {
                once(&mut headers.content_type, value)?;
            }
            12 if name.eq_ignore_ascii_case("domu_request") => {
                once(&mut headers.domu_request, value)?;
            }
            13 if name.eq_ignore_ascii_case("if-none-match") => {
                once(&mut headers.if_none_match, value)?;
            }
            14 if name.eq_ignore_ascii_case("content-length") => {
                length = Some(same_length(length, parse_length(value)?)?);
            }
            15 if name.eq_ignore_ascii_case("x-forwarded-for") => headers.relayed = true,
            15 if name.eq_ignore_ascii_case("metadata-flavor") => {
                once(&mut headers.flavor, value)?;
            }
            17 if name.eq_ignore_ascii_case("transfer-encoding") => encoded = true,
            24 if name.eq_ignore_ascii_case("x-aws-ec2-metadata-token") => {
                once(&mut headers.token, value)?;
            }
            36 if name.eq_ignore_ascii_case("x-aws-ec2-metadata-token-ttl-seconds") => {
                once(&mut headers.token_ttl, value)?;
            }
            _ => {}
        }
    }
    if encoded {
        return Err(length.map_or(Refusal::TransferEncoding, |_| Refusal::TwoFramings));
    }
    match (host, version) {
        (Some(host), _) => host::check(host)?,
        (None, Version::Http10) => {}
        (None, Version::Http11) => return Err(Refusal::Host),
    }
    Ok((headers, length.unwrap_or(0)))
}

/// Fills a place that may be filled once.
fn once<'a>(place: &mut Option<&'a [u8]>, value: &'a [u8]) -> Result<(), Refusal> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Refusal::DoubledHeader),
    }
}

/// A Content-Length that comes again says the same.
fn same_length(earlier: Option<u64>, number: u64) -> Result<u64, Refusal> {
    match earlier {
        Some(earlier) if earlier != number => Err(Refusal::ContentLength),
        _ => Ok(number),
    }
}

/// A Content-Length: digits and nothing else, within 18 of them.
fn parse_length(value: &[u8]) -> Result<u64, Refusal> {
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::ContentLength);
    }
    Ok(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests;
