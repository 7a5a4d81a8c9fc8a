//! Which overlay a LUN begins with: what its head names and how long it is, and a mark of ours. Pure.
//!
//! An overlay in a file is told from another by its inode. One on a LUN has nothing of the kind: two
//! overlays of one master begin with the same bytes. So a header extension of our own says which one it
//! is. QEMU keeps extensions that it doesn't know whenever it writes a header anew.
//!
//! It names no file and opens none. The form is that of QEMU's docs/interop/qcow2.rst.

use super::{MAGIC, be32, be64};

/// Header extension: our mark.
const MARK: u32 = u32::from_be_bytes(*b"MEZA");
/// Where the length of a header of version 3 is, and the shortest one.
const LENGTH: (usize, usize) = (100, 104);
/// Subclusters: what our overlays have and few others do.
const EXTENDED_L2: u64 = 1 << 4;

/// The head of an overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Overlay {
    /// The volume's length in bytes.
    pub(crate) size: u64,
    /// The length of a cluster, in bits.
    pub(crate) cluster_bits: u32,
    /// Whether it has subclusters.
    pub(crate) has_subclusters: bool,
    /// What it stands on; nothing where QEMU has not come to that yet.
    pub(crate) backing: Option<Vec<u8>>,
    /// What was [marked](marked).
    pub(crate) mark: Option<Vec<u8>>,
}

impl Overlay {
    /// Reads a head of version 3; none where it is no such thing.
    pub(crate) fn parse(head: &[u8]) -> Option<Self> {
        let (start, name) = layout(head)?;
        let end = name.as_ref().map_or(head.len(), |name| name.start);
        Some(Self {
            size: be64(head, 24)?,
            cluster_bits: be32(head, 20)?,
            has_subclusters: be64(head, 72)? & EXTENDED_L2 != 0,
            backing: name.map(|name| head[name].to_vec()),
            mark: find(&head[..end], start),
        })
    }
}

/// The beginning of a head with this mark in it; none where the head is no overlay, has no room, or
/// has a mark already. What is behind the beginning stays as it is.
pub(crate) fn marked(head: &[u8], mark: &[u8]) -> Option<Vec<u8>> {
    let (start, name) = layout(head)?;
    let name = name?;
    if find(&head[..name.start], start).is_some() {
        return None;
    }
    let mut extension = MARK.to_be_bytes().to_vec();
    extension.extend(u32::try_from(mark.len()).ok()?.to_be_bytes());
    extension.extend(mark);
    extension.resize(extension.len().next_multiple_of(8), 0);
    let place = u64::try_from(name.start + extension.len()).ok()?;
    let mut begin = [&head[..start], &extension, &head[start..name.end]].concat();
    let cluster = 1usize.checked_shl(be32(head, 20)?)?;
    if begin.len() > cluster.min(head.len()) {
        return None;
    }
    begin[8..16].copy_from_slice(&place.to_be_bytes());
    Some(begin)
}

/// Where the extensions begin, and where the backing file's name is.
fn layout(head: &[u8]) -> Option<(usize, Option<std::ops::Range<usize>>)> {
    if !head.starts_with(MAGIC) || be32(head, 4)? != 3 {
        return None;
    }
    let start = usize::try_from(be32(head, LENGTH.0)?).ok()?;
    if start < LENGTH.1 || start % 8 != 0 || start > head.len() {
        return None;
    }
    let at = usize::try_from(be64(head, 8)?).ok()?;
    if at == 0 {
        return Some((start, None));
    }
    let end = at.checked_add(usize::try_from(be32(head, 16)?).ok()?)?;
    (start <= at && end <= head.len()).then_some((start, Some(at..end)))
}

/// Our mark among the extensions.
fn find(head: &[u8], mut at: usize) -> Option<Vec<u8>> {
    // Each takes at least eight bytes of the head, so this ends.
    loop {
        let kind = be32(head, at)?;
        let length = usize::try_from(be32(head, at + 4)?).ok()?;
        let end = (at + 8).checked_add(length)?;
        match kind {
            0 => return None,
            MARK => return head.get(at + 8..end).map(<[u8]>::to_vec),
            _ => at = end.checked_next_multiple_of(8)?,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use proptest::prelude::*;

    use super::*;

    fn tool(words: &[&str]) -> String {
        let ended = Command::new("qemu-img").args(words).output().unwrap();
        assert!(ended.status.success(), "{ended:?}");
        String::from_utf8(ended.stdout).unwrap()
    }

    #[test]
    fn a_mark_is_read_and_qemu_keeps_it_and_what_was_there_when_it_writes_the_head_anew() {
        let directory = tempfile::tempdir().unwrap();
        let of = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let (backing, path) = (of("backing"), of("overlay"));
        fs::write(&backing, vec![7; 1 << 20]).unwrap();
        let options = "extended_l2=on,cluster_size=1M";
        tool(&["create", "-q", "-f", "qcow2", "-o", options, "-F", "raw", "-b", &backing, &path]);
        let mut bytes = fs::read(&path).unwrap();
        let before = Overlay::parse(&bytes).unwrap();
        assert_eq!((before.size, before.cluster_bits), (1 << 20, 20));
        assert_eq!((before.has_subclusters, &before.mark), (true, &None));
        assert_eq!(before.backing.as_deref(), Some(backing.as_bytes()));
        let begin = marked(&bytes, b"one 0123").unwrap();
        bytes[..begin.len()].copy_from_slice(&begin);
        assert_eq!(marked(&bytes, b"another"), None);
        fs::write(&path, &bytes).unwrap();
        let expected = Overlay { mark: Some(b"one 0123".to_vec()), ..before };
        assert_eq!(Overlay::parse(&bytes), Some(expected.clone()));
        // QEMU's own list of bitmaps comes into the head, and goes.
        for change in ["--add", "--remove"] {
            tool(&["bitmap", change, &path, "changes"]);
            assert_eq!(Overlay::parse(&fs::read(&path).unwrap()), Some(expected.clone()));
        }
        tool(&["check", "-q", &path]);
        let info = tool(&["info", &path]);
        assert!(info.contains(&format!("backing file: {backing}\n")), "{info}");
        assert!(info.contains("backing file format: raw"), "{info}");
        tool(&["compare", "-q", &path, &backing]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            at in 0..64usize,
            by in prop::collection::vec((0..200usize, any::<u8>()), 0..6),
        ) {
            let mut head = [&MAGIC[..], &[0, 0, 0, 3], &bytes].concat();
            head.resize(512, 0);
            head[96..104].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 104]);
            head[8..16].copy_from_slice(&(at as u64 * 8).to_be_bytes());
            for (at, byte) in by {
                head[at] = byte;
            }
            let _ = Overlay::parse(&head);
            if let Some(begin) = marked(&head, b"mark") {
                head[..begin.len()].copy_from_slice(&begin);
                prop_assert!(Overlay::parse(&head).is_some());
            }
            let _ = (Overlay::parse(&bytes), marked(&bytes, b"mark"));
        }
    }
}
