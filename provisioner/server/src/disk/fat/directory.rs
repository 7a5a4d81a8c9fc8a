//! The entries of a directory: 32 bytes each, and before a file's own those of its long name.
//!
//! ```text
//! "meta_data.json"   long, part 2: "n"               0x42
//!                    long, part 1: "meta_data.jso"   0x01
//!                    short: META_D~1JSO, cluster, size, times
//! ```
//! The parts of a long name come last part first, each with a sum over the short name, so that a
//! system which knows nothing of long names can't leave one at a wrong file.
//!
//! Follows fatgen103, "FAT Long Directory Entries".

use std::collections::BTreeSet;

use super::Timestamp;

/// Bytes of a volume's label.
pub(super) const LABEL_LENGTH: usize = 11;

/// Bytes of an entry.
const ENTRY: usize = 32;
/// Characters of a long name in an entry.
const PART: usize = 13;
/// Where the characters of a part stand in its entry.
const PLACES: [usize; PART] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
/// The longest long name.
const LONGEST: usize = 255;

const IS_LABEL: u8 = 0x08;
const IS_DIRECTORY: u8 = 0x10;
/// Changed since a back-up; what every new file is.
const IS_NEW: u8 = 0x20;
const IS_LONG_NAME: u8 = 0x0f;
/// Marks the part of a long name that comes first, which is its end.
const LAST_PART: u8 = 0x40;

type ShortName = [u8; 11];

/// Whether this can be the name of a file here (whose directory has no other of the same letters in
/// another case): ASCII, without what some system forbids.
pub(super) fn is_name(name: &str) -> bool {
    let fits = |byte: u8| (b' '..=b'~').contains(&byte) && !b"\"*/:<>?\\|".contains(&byte);
    (1..=LONGEST).contains(&name.len())
        && name.bytes().all(fits)
        && !name.starts_with(' ')
        && !name.ends_with([' ', '.'])
}

/// How many bytes a directory with these names takes.
pub(super) fn length<'a>(names: impl Iterator<Item = &'a str>, is_root: bool) -> usize {
    let own = if is_root { 1 } else { 2 };
    let entries: usize = names.map(|name| 1 + parts(name)).sum();
    (own + entries) * ENTRY
}

/// How many parts the long name has; none where the short name says it all.
fn parts(name: &str) -> usize {
    if plain(name).is_some() { 0 } else { name.len().div_ceil(PART) }
}

/// A directory's bytes as they come to be.
pub(super) struct Entries {
    bytes: Vec<u8>,
    time: Timestamp,
    taken: BTreeSet<ShortName>,
}

impl Entries {
    /// None yet.
    pub(super) fn new(time: Timestamp) -> Self {
        Self { bytes: Vec::new(), time, taken: BTreeSet::new() }
    }

    /// The volume's label, which the root has.
    pub(super) fn label(&mut self, label: [u8; LABEL_LENGTH]) {
        self.short(label, IS_LABEL, 0, 0);
    }

    /// The directory itself, and the one above it: 0 where that is the root.
    pub(super) fn dots(&mut self, own: u16, above: u16) {
        self.short(*b".          ", IS_DIRECTORY, own, 0);
        self.short(*b"..         ", IS_DIRECTORY, above, 0);
    }

    /// A file of a length, or a directory.
    pub(super) fn add(&mut self, name: &str, cluster: u16, length: Option<u32>) {
        let short = plain(name).unwrap_or_else(|| self.numbered(name));
        self.long(name, &short);
        self.taken.insert(short);
        match length {
            Some(length) => self.short(short, IS_NEW, cluster, length),
            None => self.short(short, IS_DIRECTORY, cluster, 0),
        }
    }

    /// All of them.
    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    fn short(&mut self, name: ShortName, attributes: u8, cluster: u16, length: u32) {
        let mut entry = [0; ENTRY];
        let mut put = |at: usize, bytes: &[u8]| entry[at..at + bytes.len()].copy_from_slice(bytes);
        let (date, time) = (self.time.date.to_le_bytes(), self.time.time.to_le_bytes());
        put(0, &name);
        put(11, &[attributes]);
        put(13, &[self.time.rest]);
        put(14, &time);
        put(16, &date);
        put(18, &date);
        put(22, &time);
        put(24, &date);
        put(26, &cluster.to_le_bytes());
        put(28, &length.to_le_bytes());
        self.bytes.extend_from_slice(&entry);
    }

    fn long(&mut self, name: &str, short: &ShortName) {
        let sum = short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        let count = parts(name);
        for number in (1..=count).rev() {
            let mut entry = [0; ENTRY];
            // 255 characters are 20 parts.
            entry[0] = number as u8 | if number == count { LAST_PART } else { 0 };
            entry[11] = IS_LONG_NAME;
            entry[13] = sum;
            let part = &name.as_bytes()[(number - 1) * PART..];
            for (at, place) in PLACES.into_iter().enumerate() {
                // After the end comes a zero, and then what is no character.
                let character = match part.get(at) {
                    Some(byte) => u16::from(*byte),
                    None if at == part.len() => 0,
                    None => 0xffff,
                };
                entry[place..place + 2].copy_from_slice(&character.to_le_bytes());
            }
            self.bytes.extend_from_slice(&entry);
        }
    }

    /// A short name that nothing else in the directory has: `LATEST`, `USER-D~1`.
    fn numbered(&self, name: &str) -> ShortName {
        if let Some(short) = plain(&name.to_ascii_uppercase()) {
            return short;
        }
        let (base, extension) = name.rsplit_once('.').unwrap_or((name, ""));
        let letters = |text: &str| -> Vec<u8> {
            text.bytes().filter(|byte| !b" .".contains(byte)).map(letter).collect()
        };
        let (base, extension) = (letters(base), letters(extension));
        let mut short = [b' '; 11];
        let length = extension.len().min(3);
        short[8..8 + length].copy_from_slice(&extension[..length]);
        // There are at most as many others as are taken, so one number of these is free.
        for number in 1..=self.taken.len() + 1 {
            let tail = format!("~{number}");
            let kept = base.len().min(8_usize.saturating_sub(tail.len()));
            short[..8].fill(b' ');
            short[..kept].copy_from_slice(&base[..kept]);
            let end = (kept + tail.len()).min(8);
            short[kept..end].copy_from_slice(&tail.as_bytes()[..end - kept]);
            if !self.taken.contains(&short) {
                break;
            }
        }
        short
    }
}

/// The short name of a name that is one already: `EC2.TXT`, in capitals, at most 8 and 3.
fn plain(name: &str) -> Option<ShortName> {
    let (base, extension) = name.split_once('.').unwrap_or((name, ""));
    let fits =
        |text: &str| text.bytes().all(|byte| letter(byte) == byte && !b" .~".contains(&byte));
    let whole = fits(base) && fits(extension) && !name.ends_with('.');
    if !whole || !(1..=8).contains(&base.len()) || extension.len() > 3 {
        return None;
    }
    let mut short = [b' '; 11];
    short[..base.len()].copy_from_slice(base.as_bytes());
    short[8..8 + extension.len()].copy_from_slice(extension.as_bytes());
    Some(short)
}

/// A character as short names have it.
fn letter(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' => byte.to_ascii_uppercase(),
        b'+' | b',' | b';' | b'=' | b'[' | b']' => b'_',
        _ => byte,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shorts(names: &[&str]) -> Vec<String> {
        let mut entries = Entries::new(Timestamp::of(0));
        names.iter().for_each(|name| entries.add(name, 0, Some(0)));
        let bytes = entries.finish();
        assert_eq!(bytes.len() + ENTRY, length(names.iter().copied(), true));
        let own = bytes.chunks(ENTRY).filter(|entry| entry[11] != IS_LONG_NAME);
        own.map(|entry| String::from_utf8_lossy(&entry[..11]).into_owned()).collect()
    }

    #[test]
    fn every_name_has_a_short_one_of_its_own() {
        assert_eq!(
            shorts(&["meta_data.json", "vendor_data.json", "vendor_data2.json", "user-data"]),
            ["META_D~1JSO", "VENDOR~1JSO", "VENDOR~2JSO", "USER-D~1   "]
        );
        assert_eq!(
            shorts(&["EC2", "latest", "a.b.c", "A+B.TXT", ".x"]),
            ["EC2        ", "LATEST     ", "AB~1    C  ", "A_B~1   TXT", "~1      X  "]
        );
        let many: Vec<String> = (0..120).map(|at| format!("same-beginning-{at}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let shorts = shorts(&many);
        assert_eq!((&*shorts[8], &*shorts[9]), ("SAME-B~9   ", "SAME-~10   "));
        assert_eq!(shorts.iter().collect::<BTreeSet<_>>().len(), 120);
    }

    #[test]
    fn a_name_that_some_system_forbids_is_none() {
        for good in ["a", "meta_data.json", "2012-08-10", "a b", ".x", &"x".repeat(255)] {
            assert!(is_name(good), "{good:?}");
        }
        for bad in ["", ".", "..", "a.", "a ", " a", "a:b", "a/b", "ä", "a\n", &"x".repeat(256)] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn the_sum_over_a_short_name_is_fatgen103s() {
        let mut entries = Entries::new(Timestamp::of(0));
        entries.long("user-data", b"USER-D~1   ");
        let sum = b"USER-D~1   ".iter().fold(0_u32, |sum, byte| {
            ((if sum & 1 == 1 { 0x80 } else { 0 }) + (sum >> 1) + u32::from(*byte)) & 0xff
        });
        assert_eq!(u32::from(entries.bytes[13]), sum);
    }
}
