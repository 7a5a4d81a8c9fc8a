//! The agent's own block in an authorized_keys file (sshd(8), "AUTHORIZED_KEYS FILE FORMAT").
//!
//! The block stands between two marker lines. What is outside belongs to the user and is kept to
//! the byte. A block whose end is missing (a user's editor, a torn file) reaches only as far as
//! lines that the agent could have written: a user's line is never taken for ours just because a
//! marker is above it and none below.

/// The line above the block.
pub const BEGIN: &str = "# BEGIN mezame: managed by guest-agent, changes here are overwritten";
/// The line below it.
pub const END: &str = "# END mezame";

/// Whether a line can stand in the block: one line, not empty, no comment.
pub fn is_key_line(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty()
        && !line.starts_with('#')
        && !line.contains(['\n', '\r', '\0'])
        && line.len() <= 16 * 1024
}

/// The file's text with the block holding exactly these lines; no keys, no block.
///
/// `None` where nothing is to be changed.
pub fn edit(text: &[u8], keys: &[String]) -> Option<Vec<u8>> {
    let mut wanted = Vec::new();
    if !keys.is_empty() {
        for line in std::iter::once(BEGIN)
            .chain(keys.iter().map(|key| key.trim()))
            .chain(std::iter::once(END))
        {
            wanted.extend_from_slice(line.as_bytes());
            wanted.push(b'\n');
        }
    }
    let mut out = Vec::with_capacity(text.len() + wanted.len());
    match block(text) {
        Some(range) => {
            out.extend_from_slice(&text[..range.start]);
            out.extend_from_slice(&wanted);
            out.extend_from_slice(&text[range.end..]);
        }
        None => {
            out.extend_from_slice(text);
            if !text.is_empty() && !text.ends_with(b"\n") && !wanted.is_empty() {
                out.push(b'\n');
            }
            out.extend_from_slice(&wanted);
        }
    }
    (out != text).then_some(out)
}

/// The lines in the block.
pub fn keys(text: &[u8]) -> Vec<String> {
    let Some(range) = block(text) else { return Vec::new() };
    String::from_utf8_lossy(&text[range])
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// From the begin marker to the end of the end marker's line.
fn block(text: &[u8]) -> Option<std::ops::Range<usize>> {
    let mut start = None;
    let mut at = 0;
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        let next = at + line.len();
        let bare = line.trim_ascii();
        match start {
            None if bare == BEGIN.as_bytes() => start = Some(at),
            Some(start) if bare == END.as_bytes() => return Some(start..next),
            // A second marker before an end: the first one stands alone.
            Some(_) if bare == BEGIN.as_bytes() => start = Some(at),
            _ => {}
        }
        at = next;
    }
    // No end: only the marker itself is ours.
    let start = start?;
    let line = text[start..].iter().position(|byte| *byte == b'\n');
    Some(start..line.map_or(text.len(), |at| start + at + 1))
}

#[cfg(test)]
mod tests;
