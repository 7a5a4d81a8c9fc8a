//! What user-data and vendor-data hold: scripts, cloud-config, and packings of them.
//!
//! [`parse`] takes any bytes, unpacks gzip, base64 and MIME, and names each part. Nothing is
//! dropped in silence: what is not understood or not supported becomes a part that says so.
//! The forms are cloud-init's (its page "User-data formats"), since that is what people write.

pub mod cloud_config;
pub mod gzip;
pub mod include;
pub mod merge;
pub mod mime;
pub mod windows;
pub mod yaml;

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::step::{Frequency, Language};

/// How often packings may be inside each other.
const MAX_LAYERS: usize = 6;

/// One piece of user-data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The file name that it came with, or `part N`.
    pub name: String,
    /// What it is.
    pub content: Content,
}

/// What a part is.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// Begins with `#!`, or has a mark of a script for Windows.
    Script {
        /// The whole file.
        body: Vec<u8>,
        /// How often it is run.
        frequency: Frequency,
        /// What runs it.
        language: Language,
    },
    /// Runs in each boot, before the accounts are made.
    Boothook(Vec<u8>),
    /// The text after `#cloud-config`, and the merging rule that came with the part.
    CloudConfig {
        /// YAML.
        text: Vec<u8>,
        /// From a MIME header.
        merge: Option<String>,
    },
    /// Addresses of further parts.
    Include {
        /// As written.
        urls: Vec<String>,
    },
    /// Known, but not done here; or not known; or damaged.
    Refused {
        /// A stable word.
        reason: &'static str,
        /// For people; nothing of the content.
        detail: String,
    },
}

impl std::fmt::Debug for Content {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Script { body, frequency, .. } => {
                write!(out, "Script({} bytes, {frequency})", body.len())
            }
            Self::Boothook(body) => write!(out, "Boothook({} bytes)", body.len()),
            Self::CloudConfig { text, .. } => write!(out, "CloudConfig({} bytes)", text.len()),
            Self::Include { urls } => write!(out, "Include({} addresses)", urls.len()),
            Self::Refused { reason, detail } => write!(out, "Refused({reason}: {detail})"),
        }
    }
}

/// Takes user-data apart. Empty data has no parts.
pub fn parse(bytes: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut unpacker = Unpacker { budget: gzip::Budget::default(), parts: &mut parts };
    unpacker.unpack(bytes, None, None, 0);
    for (number, part) in parts.iter_mut().enumerate() {
        if part.name.is_empty() {
            part.name = format!("part {}", number + 1);
        }
    }
    parts
}

struct Unpacker<'a> {
    budget: gzip::Budget,
    parts: &'a mut Vec<Part>,
}

impl Unpacker<'_> {
    fn unpack(&mut self, bytes: &[u8], name: Option<&str>, merge: Option<&str>, layer: usize) {
        if layer >= MAX_LAYERS {
            return self.put(name, refused("packed-too-deep", "packed more than six times over"));
        }
        if gzip::is_gzip(bytes) {
            return match self.budget.unpack(bytes) {
                Ok(plain) => self.unpack(&plain, name, merge, layer + 1),
                Err(error) => self.put(name, refused("damaged", error.to_string())),
            };
        }
        if mime::is_message(bytes) {
            return match mime::parse(bytes) {
                Ok(found) => {
                    for part in found.into_iter().take(mime::MAX_PARTS) {
                        self.typed(part, layer + 1);
                    }
                }
                Err(error) => self.put(name, refused("damaged", error.to_string())),
            };
        }
        if let Some(content) = by_first_line(bytes, merge) {
            return self.put(name, content);
        }
        if let Some(contents) = windows::parse(bytes) {
            return contents.into_iter().for_each(|content| self.put(name, content));
        }
        if let Some(plain) = as_base64(bytes) {
            return self.unpack(&plain, name, merge, layer + 1);
        }
        if !bytes.trim_ascii().is_empty() {
            self.put(
                name,
                refused(
                    "unknown-format",
                    format!("{} bytes that begin like nothing known", bytes.len()),
                ),
            );
        }
    }

    /// A part whose type its MIME header names; `text/plain` is looked into.
    fn typed(&mut self, part: mime::MimePart, layer: usize) {
        let name = part.filename.as_deref();
        let body = if part.gzip || gzip::is_gzip(&part.body) {
            match self.budget.unpack(&part.body) {
                Ok(plain) => plain,
                Err(error) => {
                    let content = refused("damaged", error.to_string());
                    return self.put(name, content);
                }
            }
        } else {
            part.body
        };
        let language = Language::Shebang;
        let script = |frequency, body: Vec<u8>| match body.starts_with(b"#!") {
            true => Content::Script { body, frequency, language },
            false => refused("no-interpreter", "a script part does not begin with '#!'"),
        };
        let is_script = part.content_type.starts_with("text/x-shellscript");
        if let Some(contents) = windows::parse(&body).filter(|_| is_script) {
            // How often it runs is the mark's affair, as in a text that is no part.
            return contents.into_iter().for_each(|content| self.put(name, content));
        }
        let content = match part.content_type.as_str() {
            "text/x-shellscript" | "text/x-shellscript-per-instance" => {
                script(Frequency::PerInstance, body)
            }
            "text/x-shellscript-per-boot" => script(Frequency::PerBoot, body),
            "text/x-shellscript-per-once" => script(Frequency::Once, body),
            "text/cloud-config" => Content::CloudConfig { text: body, merge: part.merge },
            "text/cloud-boothook" => {
                Content::Boothook(without_first_line(&body, b"#cloud-boothook"))
            }
            "text/x-include-url" | "text/x-include-once-url" => include(&body),
            "text/plain"
            | "application/octet-stream"
            | "application/x-gzip"
            | "application/gzip"
            | "text/x-not-multipart" => {
                return self.unpack(&body, name, part.merge.as_deref(), layer);
            }
            other => {
                refused("unsupported-part", format!("parts of type {other} are not supported"))
            }
        };
        self.put(name, content);
    }

    fn put(&mut self, name: Option<&str>, content: Content) {
        self.parts.push(Part { name: name.unwrap_or_default().to_owned(), content });
    }
}

fn by_first_line(bytes: &[u8], merge: Option<&str>) -> Option<Content> {
    let text = bytes.trim_ascii_start();
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    let line = text[..end].trim_ascii_end();
    let is = |head: &[u8]| {
        line.strip_prefix(head).is_some_and(|rest| rest.first().is_none_or(u8::is_ascii_whitespace))
    };
    if text.starts_with(b"#!") {
        let frequency = Frequency::PerInstance;
        Some(Content::Script { body: text.to_vec(), frequency, language: Language::Shebang })
    } else if is(b"#cloud-config") {
        Some(Content::CloudConfig { text: text.to_vec(), merge: merge.map(str::to_owned) })
    } else if is(b"#cloud-boothook") {
        Some(Content::Boothook(without_first_line(text, b"#cloud-boothook")))
    } else if is(b"#include") || is(b"#include-once") {
        Some(include(text))
    } else if line.starts_with(b"## template:") {
        Some(refused("unsupported-template", "templates ('## template: jinja') are not supported"))
    } else if is(b"#cloud-config-archive") {
        Some(refused("unsupported-format", "'#cloud-config-archive' is not supported"))
    } else if is(b"#cloud-config-jsonp") {
        Some(refused("unsupported-format", "'#cloud-config-jsonp' is not supported"))
    } else if is(b"#part-handler") {
        Some(refused("unsupported-format", "'#part-handler' is Python for cloud-init only"))
    } else if is(b"#upstart-job") {
        Some(refused("unsupported-format", "'#upstart-job' is not supported"))
    } else {
        None
    }
}

fn refused(reason: &'static str, detail: impl Into<String>) -> Content {
    Content::Refused { reason, detail: detail.into() }
}

fn without_first_line(body: &[u8], head: &[u8]) -> Vec<u8> {
    match body.strip_prefix(head) {
        Some(rest) => {
            let at = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1);
            rest[at..].to_vec()
        }
        None => body.to_vec(),
    }
}

fn include(body: &[u8]) -> Content {
    let urls = String::from_utf8_lossy(body)
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .take(include::MAX_ADDRESSES)
        .map(str::to_owned)
        .collect();
    Content::Include { urls }
}

/// Some tools hand user-data over in base64 once too often. Taken only where the plain bytes are
/// something known.
fn as_base64(bytes: &[u8]) -> Option<Vec<u8>> {
    let ours = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=\r\n \t".contains(byte);
    if bytes.is_empty() || !bytes.iter().all(ours) {
        return None;
    }
    let text: Vec<u8> = bytes.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    let plain = STANDARD.decode(text).ok()?;
    let known = gzip::is_gzip(&plain)
        || mime::is_message(&plain)
        || by_first_line(&plain, None).is_some()
        || windows::parse(&plain).is_some();
    known.then_some(plain)
}

#[cfg(test)]
mod tests;
