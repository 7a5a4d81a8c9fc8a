//! Paths in canonical form.
//!
//! A path is decoded, then never decoded again: `%41` and `A` are one path, `%2541` is the path
//! with a percent sign in it. Its spelling escapes what must be escaped, so that parsing a
//! spelling gives the same path (the property that the tests hold it to).

use std::borrow::Cow;

use crate::request::Refusal;

/// A canonical path: begins with '/', no empty segment but perhaps the last, no `.` or `..`, no
/// control byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Path<'a>(Cow<'a, str>);

impl Path<'_> {
    /// The path as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The segments, without the empty one after a trailing slash.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }

    /// The path as it would be sent.
    pub(crate) fn spelling(&self) -> String {
        use std::fmt::Write;
        let mut out = String::with_capacity(self.0.len());
        for byte in self.0.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(byte.into()),
                b'/' | b'-' | b'.' | b'_' | b'~' | b'=' | b':' | b'@' | b'+' | b',' => {
                    out.push(byte.into());
                }
                // Writing to a String does not fail.
                _ => drop(write!(out, "%{byte:02X}")),
            }
        }
        out
    }
}

/// What a byte of a target is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Slash,
    Dot,
    Percent,
    Question,
    Refused,
}

/// The class of each byte. RFC 3986 lets only printable ASCII into a target; of that, `#` begins a
/// fragment, which is never sent, and `\` is a separator to some programs.
const CLASSES: [Class; 256] = {
    let mut classes = [Class::Refused; 256];
    let mut byte = 0x21;
    while byte < 0x7f {
        classes[byte] = Class::Plain;
        byte += 1;
    }
    classes[b'/' as usize] = Class::Slash;
    classes[b'.' as usize] = Class::Dot;
    classes[b'%' as usize] = Class::Percent;
    classes[b'?' as usize] = Class::Question;
    classes[b'#' as usize] = Class::Refused;
    classes[b'\\' as usize] = Class::Refused;
    classes
};

/// Splits a target into its canonical path and its query.
pub(crate) fn split(target: &[u8]) -> Result<(Path<'_>, Option<&str>), Refusal> {
    if target.first() != Some(&b'/') {
        return Err(Refusal::TargetForm);
    }
    // One pass: where the path ends, and whether it is canonical as it stands.
    let mut end = target.len();
    let mut canonical = true;
    let mut before = Class::Plain;
    for (at, byte) in target.iter().enumerate() {
        let class = CLASSES[usize::from(*byte)];
        match class {
            Class::Plain => {}
            Class::Slash | Class::Dot => canonical &= before != Class::Slash,
            Class::Percent => canonical = false,
            Class::Question => {
                end = at;
                break;
            }
            Class::Refused => return Err(Refusal::TargetByte),
        }
        before = class;
    }
    let (path, query) = target.split_at(end);
    let path = if canonical {
        Cow::Borrowed(std::str::from_utf8(path).map_err(|_| Refusal::TargetByte)?)
    } else {
        Cow::Owned(canonicalize(path)?)
    };
    let query = match query.split_first() {
        None => None,
        Some((_, query)) => {
            if query.iter().any(|byte| CLASSES[usize::from(*byte)] == Class::Refused) {
                return Err(Refusal::TargetByte);
            }
            Some(std::str::from_utf8(query).map_err(|_| Refusal::TargetByte)?)
        }
    };
    Ok((Path(path), query))
}

/// Collapses slashes, decodes escapes, refuses dot segments.
fn canonicalize(path: &[u8]) -> Result<String, Refusal> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'/' if out.last() == Some(&b'/') => {}
            b'%' => {
                let (digits, after) = after.split_at_checked(2).ok_or(Refusal::Escape)?;
                rest = after;
                match hex(digits[0]).zip(hex(digits[1])).map(|(high, low)| high << 4 | low) {
                    None => return Err(Refusal::Escape),
                    Some(b'.' | b'/' | b'\\') => return Err(Refusal::DotSegment),
                    Some(0..0x20 | 0x7f) => return Err(Refusal::TargetByte),
                    Some(byte) => out.push(byte),
                }
            }
            byte => out.push(byte),
        }
    }
    // Overlong forms and lone surrogates are no UTF-8.
    let text = String::from_utf8(out).map_err(|_| Refusal::Escape)?;
    if text.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(Refusal::DotSegment);
    }
    Ok(text)
}

/// The value of a hexadecimal digit.
fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}
