//! MIME multi-part messages (RFC 2045, RFC 2046), as far as user-data uses them.
//!
//! Own code and not a mail library: nothing of a mail but its parts is wanted, and the bounds are
//! ours: [`MAX_DEPTH`] levels, [`MAX_PARTS`] parts, [`MAX_HEADERS`] header lines a part. A message
//! with a damaged end gives the parts that are whole up to there, as mail readers do.

use base64::{Engine, engine::general_purpose::STANDARD};

/// How deep multi-parts may be nested.
pub const MAX_DEPTH: usize = 8;
/// How many parts a message may have, all levels together.
pub const MAX_PARTS: usize = 256;
/// How many header lines a part may have.
pub const MAX_HEADERS: usize = 128;

/// Why a message is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MimeError {
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("multi-part nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// More parts than [`MAX_PARTS`].
    #[error("more than {MAX_PARTS} parts")]
    TooManyParts,
    /// More header lines than [`MAX_HEADERS`].
    #[error("more than {MAX_HEADERS} header lines in a part")]
    TooManyHeaders,
    /// A multi-part without a boundary parameter.
    #[error("a multi-part names no boundary")]
    NoBoundary,
    /// The boundary that the header names is nowhere in the body.
    #[error("no part begins with the boundary that the header names")]
    NoParts,
    /// A transfer encoding that is none of RFC 2045's.
    #[error("unknown Content-Transfer-Encoding")]
    Encoding,
    /// The body is no base64.
    #[error("a base64 part can't be decoded")]
    Base64,
}

/// A part that is no multi-part itself.
#[derive(Clone, PartialEq, Eq)]
pub struct MimePart {
    /// Type and subtype in lower case, without parameters; `text/plain` where none is named.
    pub content_type: String,
    /// From Content-Disposition's `filename` or Content-Type's `name`.
    pub filename: Option<String>,
    /// Content-Encoding is `gzip`.
    pub gzip: bool,
    /// The header `X-Merge-Type` or `Merge-Type`, cloud-config's merging rule.
    pub merge: Option<String>,
    /// The transfer encoding removed.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for MimePart {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // It may hold a password.
        write!(out, "MimePart({}, {} bytes)", self.content_type, self.body.len())
    }
}

/// Whether the bytes begin as a MIME message does.
pub fn is_message(bytes: &[u8]) -> bool {
    ["content-type:", "mime-version:"].iter().any(|name| {
        bytes.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name.as_bytes()))
    })
}

/// Takes a message apart, in the order in which the parts are written.
pub fn parse(bytes: &[u8]) -> Result<Vec<MimePart>, MimeError> {
    let mut parts = Vec::new();
    entity(bytes, 0, &mut parts)?;
    Ok(parts)
}

fn entity(bytes: &[u8], depth: usize, parts: &mut Vec<MimePart>) -> Result<(), MimeError> {
    let (headers, body) = split_headers(bytes)?;
    let (content_type, parameters) = match find(&headers, "content-type") {
        Some(value) => with_parameters(value),
        None => ("text/plain".into(), Vec::new()),
    };
    if content_type.starts_with("multipart/") {
        if depth >= MAX_DEPTH {
            return Err(MimeError::TooDeep);
        }
        let boundary = parameter(&parameters, "boundary")
            .filter(|text| !text.is_empty())
            .ok_or(MimeError::NoBoundary)?;
        for part in split_parts(body, boundary.as_bytes())? {
            entity(part, depth + 1, parts)?;
        }
        return Ok(());
    }
    if parts.len() >= MAX_PARTS {
        return Err(MimeError::TooManyParts);
    }
    let disposition = find(&headers, "content-disposition").map(|v| with_parameters(v).1);
    let filename = disposition
        .as_deref()
        .and_then(|list| parameter(list, "filename"))
        .or_else(|| parameter(&parameters, "name"))
        .map(str::to_owned);
    parts.push(MimePart {
        content_type,
        filename,
        gzip: find(&headers, "content-encoding")
            .is_some_and(|value| value.trim().eq_ignore_ascii_case("gzip")),
        merge: find(&headers, "merge-type")
            .or_else(|| find(&headers, "x-merge-type"))
            .map(|value| value.trim().to_owned()),
        body: decode(body, find(&headers, "content-transfer-encoding"))?,
    });
    Ok(())
}

type Headers = Vec<(String, String)>;

/// Unfolds the header lines (RFC 5322, section 2.2.3) and gives the body after the empty line.
fn split_headers(bytes: &[u8]) -> Result<(Headers, &[u8]), MimeError> {
    let mut headers: Headers = Vec::new();
    let mut rest = bytes;
    // A mailbox's first line, which cloud-init's own tool does not write but others do.
    if rest.starts_with(b"From ") {
        rest = take_line(rest).1;
    }
    while !rest.is_empty() {
        let (line, after) = take_line(rest);
        if line.is_empty() {
            return Ok((headers, after));
        }
        let text = String::from_utf8_lossy(line);
        if line[0] == b' ' || line[0] == b'\t' {
            if let Some((_, value)) = headers.last_mut() {
                value.push(' ');
                value.push_str(text.trim());
            }
        } else if let Some((name, value)) = text.split_once(':') {
            if headers.len() >= MAX_HEADERS {
                return Err(MimeError::TooManyHeaders);
            }
            headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        } else {
            // No header: the body begins here, without the empty line.
            return Ok((headers, rest));
        }
        rest = after;
    }
    Ok((headers, rest))
}

/// The first line without its end, and what follows.
fn take_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(at) => {
            let line = &bytes[..at];
            (line.strip_suffix(b"\r").unwrap_or(line), &bytes[at + 1..])
        }
        None => (bytes.strip_suffix(b"\r").unwrap_or(bytes), &[]),
    }
}

fn find<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn parameter<'a>(list: &'a [(String, String)], name: &str) -> Option<&'a str> {
    list.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// `value; name=text; name="text"` (RFC 2045, section 5.1).
fn with_parameters(text: &str) -> (String, Vec<(String, String)>) {
    let mut pieces = Vec::new();
    let mut piece = String::new();
    let mut quoted = false;
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '"' => quoted = !quoted,
            '\\' if quoted => piece.extend(chars.next()),
            ';' if !quoted => pieces.push(std::mem::take(&mut piece)),
            _ => piece.push(char),
        }
    }
    pieces.push(piece);
    let mut pieces = pieces.into_iter();
    let value = pieces.next().unwrap_or_default().trim().to_ascii_lowercase();
    let parameters = pieces
        .filter_map(|piece| {
            let (name, value) = piece.split_once('=')?;
            Some((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        })
        .collect();
    (value, parameters)
}

/// The bodies between `--boundary` lines; the line end before a boundary belongs to it
/// (RFC 2046, section 5.1.1).
fn split_parts<'a>(body: &'a [u8], boundary: &[u8]) -> Result<Vec<&'a [u8]>, MimeError> {
    let mut parts = Vec::new();
    let mut start: Option<usize> = None;
    let mut at = 0;
    let mut ended = false;
    while at < body.len() && !ended {
        let (line, after) = take_line(&body[at..]);
        let next = body.len() - after.len();
        if let Some(rest) = line.strip_prefix(b"--").and_then(|l| l.strip_prefix(boundary)) {
            let tail = rest.trim_ascii();
            ended = tail.starts_with(b"--");
            if ended || tail.is_empty() {
                if let Some(from) = start {
                    parts.push(without_line_end(&body[from..at.max(from)]));
                }
                if parts.len() > MAX_PARTS {
                    return Err(MimeError::TooManyParts);
                }
                start = Some(next);
            }
        }
        at = next;
    }
    match start {
        None => Err(MimeError::NoParts),
        Some(from) if !ended => {
            parts.push(&body[from..]);
            Ok(parts)
        }
        Some(_) => Ok(parts),
    }
}

fn without_line_end(bytes: &[u8]) -> &[u8] {
    let bytes = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    bytes.strip_suffix(b"\r").unwrap_or(bytes)
}

fn decode(body: &[u8], encoding: Option<&str>) -> Result<Vec<u8>, MimeError> {
    match encoding.unwrap_or("7bit").trim().to_ascii_lowercase().as_str() {
        "" | "7bit" | "8bit" | "binary" => Ok(body.to_vec()),
        "base64" => {
            let text: Vec<u8> =
                body.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
            STANDARD.decode(text).map_err(|_| MimeError::Base64)
        }
        "quoted-printable" => Ok(quoted_printable(body)),
        _ => Err(MimeError::Encoding),
    }
}

/// RFC 2045, section 6.7; a malformed escape stays as it is, as that section advises.
fn quoted_printable(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut at = 0;
    while let Some(&byte) = body.get(at) {
        let rest = &body[at + 1..];
        let pair = rest.get(..2).and_then(|pair| {
            let text = std::str::from_utf8(pair).ok()?;
            let hex = pair.iter().all(u8::is_ascii_hexdigit);
            hex.then(|| u8::from_str_radix(text, 16).ok())?
        });
        match (byte, pair) {
            (b'=', Some(value)) => {
                out.push(value);
                at += 3;
            }
            (b'=', None) if rest.starts_with(b"\r\n") => at += 3,
            (b'=', None) if rest.starts_with(b"\n") => at += 2,
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests;
