//! Scripts for Windows in user-data, by the marks of the three clouds that have them.
//!
//! - EC2: `<script>` (cmd.exe) and `<powershell>` with their ends, in any case of letters;
//!   `<powershellArguments>`; `<persist>true</persist>` for each boot. The batch script runs first,
//!   whatever the order (Amazon EC2 User Guide, "How Amazon EC2 handles user data for Windows
//!   instances").
//! - OpenStack: the first line is `rem cmd`, `#ps1_sysnative`, `#ps1` or `#ps1_x86`
//!   (cloudbase-init, "User data").
//! - GCE: the tags `windows-startup-script-{ps1,cmd,bat}` (Compute Engine, "Use startup scripts on
//!   Windows VMs"), each boot. They are tags here, so at most 256 characters.
//!
//! Takes any bytes, never panics, and drops nothing in silence: what stands outside the marks is a
//! part that says so.

use super::Content;
use crate::step::{Frequency, Language, PowerShell};

/// The tags that Google's own agent looks at, in its order.
pub const STARTUP_TAGS: [&str; 3] =
    ["windows-startup-script-ps1", "windows-startup-script-cmd", "windows-startup-script-bat"];

/// Of Google's, not done here: a script that is to be fetched first, and those of sysprep.
pub const UNSUPPORTED_TAGS: [&str; 5] = [
    "windows-startup-script-url",
    "sysprep-specialize-script-ps1",
    "sysprep-specialize-script-cmd",
    "sysprep-specialize-script-bat",
    "sysprep-specialize-script-url",
];

/// How many arguments `<powershellArguments>` may name.
const MAX_ARGUMENTS: usize = 32;

/// What a startup tag's script is written in.
pub fn language_of_tag(tag: &str) -> Language {
    if tag.ends_with("-ps1") {
        Language::PowerShell(PowerShell::default())
    } else {
        Language::Batch
    }
}

/// The scripts in a text that has one of the marks; none where it has none.
pub(super) fn parse(bytes: &[u8]) -> Option<Vec<Content>> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    if let Some(language) = by_first_line(text) {
        let body = text.to_vec();
        let frequency = Frequency::PerInstance;
        return Some(vec![Content::Script { body, frequency, language }]);
    }
    let starts = |tag: &Tag| tag.opens(text, 0).is_some();
    TAGS.iter().any(starts).then(|| tagged(text))
}

fn by_first_line(text: &[u8]) -> Option<Language> {
    let end = text.iter().position(|byte| *byte == b'\n').unwrap_or(text.len());
    let line = &text[..end];
    let is = |mark: &str| {
        let head = line.get(..mark.len());
        head.is_some_and(|head| head.eq_ignore_ascii_case(mark.as_bytes()))
            && line.get(mark.len()).is_none_or(u8::is_ascii_whitespace)
    };
    if is("rem cmd") {
        Some(Language::Batch)
    } else if is("#ps1_sysnative") || is("#ps1") {
        Some(Language::PowerShell(PowerShell::default()))
    } else if is("#ps1_x86") {
        Some(Language::PowerShell(PowerShell { narrow: true, ..PowerShell::default() }))
    } else {
        None
    }
}

/// One of EC2's tags, in lower case.
struct Tag(&'static str);

const SCRIPT: Tag = Tag("script");
const POWERSHELL: Tag = Tag("powershell");
const ARGUMENTS: Tag = Tag("powershellarguments");
const PERSIST: Tag = Tag("persist");
/// It runs as that account anyway.
const LOCAL_SYSTEM: Tag = Tag("runaslocalsystem");
const TAGS: [Tag; 5] = [SCRIPT, POWERSHELL, ARGUMENTS, PERSIST, LOCAL_SYSTEM];

impl Tag {
    /// The length of `<NAME>` where it stands here.
    fn opens(&self, text: &[u8], at: usize) -> Option<usize> {
        self.stands(text, at, b"<")
    }

    fn stands(&self, text: &[u8], at: usize, head: &[u8]) -> Option<usize> {
        let rest = text.get(at..)?.strip_prefix(head)?;
        let name = rest.get(..self.0.len())?;
        let closed = rest.get(self.0.len()) == Some(&b'>');
        (closed && name.eq_ignore_ascii_case(self.0.as_bytes()))
            .then_some(head.len() + self.0.len() + 1)
    }

    /// Where `</NAME>` begins and where it ends.
    fn end(&self, text: &[u8], from: usize) -> Option<(usize, usize)> {
        (from..text.len()).find_map(|at| Some((at, at + self.stands(text, at, b"</")?)))
    }
}

/// What the tags hold, each of the first one of its name.
#[derive(Default)]
struct Blocks<'a> {
    found: [Option<&'a [u8]>; TAGS.len()],
    outside: usize,
    again: bool,
    open: Option<&'static str>,
}

fn tagged(text: &[u8]) -> Vec<Content> {
    let blocks = blocks(text);
    let [script, powershell, arguments, persist, _] = blocks.found;
    let is_true = |text: &[u8]| text.trim_ascii().eq_ignore_ascii_case(b"true");
    let frequency =
        if persist.is_some_and(is_true) { Frequency::PerBoot } else { Frequency::PerInstance };
    let arguments: Vec<String> = String::from_utf8_lossy(arguments.unwrap_or_default())
        .split_ascii_whitespace()
        .take(MAX_ARGUMENTS)
        .map(str::to_owned)
        .collect();
    let shell = Language::PowerShell(PowerShell { arguments, narrow: false });
    let mut contents: Vec<Content> = [(script, Language::Batch), (powershell, shell)]
        .into_iter()
        .filter_map(|(body, language)| {
            let body = body?.trim_ascii_start().to_vec();
            Some(Content::Script { body, frequency, language })
        })
        .collect();
    if let Some(name) = blocks.open {
        contents.push(super::refused("damaged", format!("<{name}> has no end")));
    }
    if blocks.again {
        let detail = "a tag stands there twice: only the first of each is taken";
        contents.push(super::refused("unknown-format", detail));
    }
    if blocks.outside > 0 {
        let detail = format!("{} bytes stand outside of the tags", blocks.outside);
        contents.push(super::refused("unknown-format", detail));
    }
    contents
}

fn blocks(text: &[u8]) -> Blocks<'_> {
    let mut blocks = Blocks::default();
    let mut at = 0;
    while at < text.len() {
        let opened = TAGS.iter().enumerate().find_map(|(number, tag)| {
            let length = tag.opens(text, at)?;
            Some((number, tag, at + length))
        });
        let Some((number, tag, from)) = opened else {
            blocks.outside += usize::from(!text[at].is_ascii_whitespace());
            at += 1;
            continue;
        };
        let Some((end, next)) = tag.end(text, from) else {
            blocks.open = Some(tag.0);
            break;
        };
        blocks.again |= blocks.found[number].is_some();
        blocks.found[number].get_or_insert(&text[from..end]);
        at = next;
    }
    blocks
}

#[cfg(test)]
mod tests;
