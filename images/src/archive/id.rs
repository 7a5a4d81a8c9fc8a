//! What names an image, a chunk, a pack, and each object of a store.
//!
//! Ids of images and packs are drawn at random and never used again: the collection of garbage is
//! safe because a name that is gone stays gone. Ids of chunks are digests of their contents.

use std::fmt;

use mezame_model::ProjectName;
use serde::{Deserialize, Serialize};

/// Bytes as lower-case hexadecimal digits.
fn write_hex(bytes: &[u8], out: &mut fmt::Formatter<'_>) -> fmt::Result {
    out.write_str(&hex(bytes))
}

/// The same as a text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of exactly `2 * N` lower-case hexadecimal digits.
pub(crate) fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

/// Why a text is no id of an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no image id: that is 'img-' and 32 digits of 0-9 and a-f")]
pub struct ImageIdError(String);

/// An image of the archive: `img-` and 32 hexadecimal digits, drawn when its import begins.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageId([u8; 16]);

impl ImageId {
    /// The id of these random bytes.
    pub(crate) fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Parses what [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Result<Self, ImageIdError> {
        let hex = text.strip_prefix("img-").and_then(parse_hex);
        hex.map(Self).ok_or_else(|| ImageIdError(text.chars().take(80).collect()))
    }

    fn from_hex(text: &str) -> Option<Self> {
        parse_hex(text).map(Self)
    }

    fn hex(self) -> String {
        hex(&self.0)
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("img-")?;
        write_hex(&self.0, out)
    }
}

impl fmt::Debug for ImageId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl TryFrom<String> for ImageId {
    type Error = ImageIdError;

    fn try_from(text: String) -> Result<Self, ImageIdError> {
        Self::parse(&text)
    }
}

impl From<ImageId> for String {
    fn from(id: ImageId) -> Self {
        id.to_string()
    }
}

/// The digest of a chunk's plain contents; of encrypted projects a keyed one. All zeros stand for
/// a chunk of zeros, which is stored nowhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkId(pub(crate) [u8; 32]);

impl ChunkId {
    /// A chunk of nothing but zeros, whatever its length.
    pub const ZEROS: Self = Self([0; 32]);
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, out)
    }
}

/// The digest of a whole image's contents: its size and its chunks in order. Two images of one
/// project with the same contents have the same one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentId(pub(crate) [u8; 32]);

impl fmt::Display for ContentId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, out)
    }
}

impl fmt::Debug for ContentId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, out)
    }
}

/// A pack: the random id of the session that wrote it, and a number in that session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PackId {
    pub(crate) writer: ImageId,
    pub(crate) number: u32,
}

/// The name of an object of a store: a kind, `/`, and characters of `0-9 a-z - _ / .`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName(String);

/// What there is in a store, and under which prefix.
pub(crate) mod prefix {
    /// Images' records; and the tombstones of sessions that were ended by others.
    pub(crate) const IMAGES: &str = "images/";
    /// Chunks' contents.
    pub(crate) const PACKS: &str = "packs/";
    /// Sessions that may still publish an image.
    pub(crate) const WRITERS: &str = "writers/";
    /// Packs that are to be deleted, in lists.
    pub(crate) const CONDEMNED: &str = "condemned/";
    /// For each such list, which sessions may not know it.
    pub(crate) const WAITS: &str = "waits/";
    /// Packs that nobody new may count on.
    pub(crate) const QUARANTINED: &str = "quarantined/";
    /// Who sees whose image.
    pub(crate) const SHARES: &str = "shares/";
    /// All of them.
    pub(crate) const ALL: [&str; 7] =
        [IMAGES, PACKS, WRITERS, CONDEMNED, WAITS, QUARANTINED, SHARES];
    /// Those of which a listing without the marker is not believed: something would be deleted, or
    /// counted on, for what it does not show.
    pub(crate) const MARKED: [&str; 3] = [IMAGES, WRITERS, CONDEMNED];
}

impl ObjectName {
    /// The archive's own description, the first object that is written.
    pub(crate) fn format() -> Self {
        Self("format".into())
    }

    /// What every archive has below this prefix, so that a folder that is not there is told from
    /// an empty one.
    pub(crate) fn marker(prefix: &str) -> Self {
        Self(format!("{prefix}folder"))
    }

    pub(crate) fn image(id: ImageId) -> Self {
        Self(format!("{}{}", prefix::IMAGES, id.hex()))
    }

    pub(crate) fn writer(id: ImageId) -> Self {
        Self(format!("{}{}", prefix::WRITERS, id.hex()))
    }

    pub(crate) fn condemned(id: ImageId) -> Self {
        Self(format!("{}{}", prefix::CONDEMNED, id.hex()))
    }

    pub(crate) fn wait(id: ImageId) -> Self {
        Self(format!("{}{}", prefix::WAITS, id.hex()))
    }

    pub(crate) fn pack(id: PackId) -> Self {
        Self(format!("{}{}-{:08x}", prefix::PACKS, id.writer.hex(), id.number))
    }

    pub(crate) fn quarantined(id: PackId) -> Self {
        Self(format!("{}{}-{:08x}", prefix::QUARANTINED, id.writer.hex(), id.number))
    }

    /// That an image is shared with a project, or with all of them.
    pub(crate) fn share(id: ImageId, with: Option<&ProjectName>) -> Self {
        // No project's name has an underscore.
        let with = with.map_or("_all", ProjectName::as_str);
        Self(format!("{}{}/{with}", prefix::SHARES, id.hex()))
    }

    /// A name that a store lists. None of what no archive writes.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_./".contains(&b);
        let is_part = |part: &str| !part.is_empty() && !part.starts_with('.');
        let is_good = text.len() <= 200 && text.bytes().all(plain) && text.split('/').all(is_part);
        is_good.then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The image, writer or list that this is the object of.
    pub(crate) fn as_id(&self, prefix: &str) -> Option<ImageId> {
        ImageId::from_hex(self.0.strip_prefix(prefix)?)
    }

    pub(crate) fn as_pack(&self) -> Option<PackId> {
        self.as_pack_below(prefix::PACKS)
    }

    /// The pack that is in quarantine.
    pub(crate) fn as_quarantined(&self) -> Option<PackId> {
        self.as_pack_below(prefix::QUARANTINED)
    }

    fn as_pack_below(&self, prefix: &str) -> Option<PackId> {
        let (writer, number) = self.0.strip_prefix(prefix)?.split_once('-')?;
        let number = u32::from_be_bytes(parse_hex(number)?);
        Some(PackId { writer: ImageId::from_hex(writer)?, number })
    }

    /// The image that is shared, and with whom; None as the latter is everybody.
    pub(crate) fn as_share(&self) -> Option<(ImageId, Option<ProjectName>)> {
        let (id, with) = self.0.strip_prefix(prefix::SHARES)?.split_once('/')?;
        let with = if with == "_all" { None } else { Some(ProjectName::parse(with).ok()?) };
        Some((ImageId::from_hex(id)?, with))
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_is_read_back_from_its_object_s_name() {
        let id = ImageId::new([0x5a; 16]);
        assert_eq!(ImageId::parse(&id.to_string()), Ok(id));
        assert_eq!(ObjectName::image(id).as_id(prefix::IMAGES), Some(id));
        assert_eq!(ObjectName::image(id).as_id(prefix::WRITERS), None);
        let pack = PackId { writer: id, number: 77 };
        assert_eq!(ObjectName::pack(pack).as_pack(), Some(pack));
        assert_eq!(ObjectName::quarantined(pack).as_quarantined(), Some(pack));
        assert_eq!(ObjectName::quarantined(pack).as_pack(), None);
        let project = ProjectName::parse("web").unwrap();
        let named = ObjectName::share(id, Some(&project));
        assert_eq!(named.as_share(), Some((id, Some(project))));
        assert_eq!(ObjectName::share(id, None).as_share(), Some((id, None)));
    }

    #[test]
    fn a_name_leads_nowhere_outside_its_store() {
        for bad in ["", "/etc", "a//b", "a/../b", "a/.b", "A", "a b", "a/", "a\0", "packs/é"] {
            assert_eq!(ObjectName::parse(bad), None, "{bad:?}");
        }
        assert!(ObjectName::parse("packs/00-11").is_some());
    }

    #[test]
    fn what_is_no_image_id_is_refused() {
        let long = format!("img-{}", "0".repeat(33));
        for bad in ["", "img-", "img-0", "i-00000000000000000", &long, &long.to_uppercase()] {
            assert!(ImageId::parse(bad).is_err(), "{bad}");
        }
    }
}
