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

/// The place of the agent's keys in a file: between two lines of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    begin: String,
    end: String,
}

impl Block {
    /// The one in a file that one user has alone.
    pub fn own() -> Self {
        Self { begin: BEGIN.to_owned(), end: END.to_owned() }
    }

    /// A user's one in a file that several share.
    pub fn of_user(user: &str) -> Self {
        Self { begin: format!("{BEGIN} ({user})"), end: format!("{END} ({user})") }
    }

    /// The file's text with the block holding exactly these lines; no keys, no block.
    ///
    /// `None` where nothing is to be changed.
    pub fn edit(&self, text: &[u8], keys: &[String]) -> Option<Vec<u8>> {
        let mut wanted = Vec::new();
        if !keys.is_empty() {
            for line in std::iter::once(self.begin.as_str())
                .chain(keys.iter().map(|key| key.trim()))
                .chain(std::iter::once(self.end.as_str()))
            {
                wanted.extend_from_slice(line.as_bytes());
                wanted.push(b'\n');
            }
        }
        let mut out = Vec::with_capacity(text.len() + wanted.len());
        match self.range(text) {
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

    /// From the begin marker to the end of the end marker's line.
    fn range(&self, text: &[u8]) -> Option<std::ops::Range<usize>> {
        let (begin, end) = (self.begin.as_bytes(), self.end.as_bytes());
        let mut start = None;
        let mut at = 0;
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let next = at + line.len();
            // A user's name may stand there in another case, where that is the same user.
            let bare = line.trim_ascii();
            let (is_begin, is_end) =
                (bare.eq_ignore_ascii_case(begin), bare.eq_ignore_ascii_case(end));
            match start {
                None if is_begin => start = Some(at),
                Some(start) if is_end => return Some(start..next),
                // A second marker before an end: the first one stands alone.
                Some(_) if is_begin => start = Some(at),
                _ => {}
            }
            at = next;
        }
        // No end: only the marker itself is ours.
        let start = start?;
        let line = text[start..].iter().position(|byte| *byte == b'\n');
        Some(start..line.map_or(text.len(), |at| start + at + 1))
    }
}

/// The text of a user's own file with the block holding exactly these lines.
///
/// `None` where nothing is to be changed.
pub fn edit(text: &[u8], keys: &[String]) -> Option<Vec<u8>> {
    Block::own().edit(text, keys)
}

/// The lines in the block of a user's own file.
pub fn keys(text: &[u8]) -> Vec<String> {
    let Some(range) = Block::own().range(text) else { return Vec::new() };
    String::from_utf8_lossy(&text[range])
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

/// The public key in a file of sshd's own, where it is one.
pub fn host_key(bytes: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(bytes).trim().to_owned();
    let is_key = text.starts_with("ssh-") || text.starts_with("ecdsa-");
    (is_key && text.len() <= 4096 && !text.contains('\n')).then_some(text)
}

#[cfg(test)]
mod tests;
