//! The lists that the collection of garbage leaves for the next one: an object's name a line.

use crate::archive::id::{ImageId, ObjectName, PackId, prefix};

fn lines(names: impl Iterator<Item = ObjectName>) -> Vec<u8> {
    names.flat_map(|name| format!("{name}\n").into_bytes()).collect()
}

fn parse<T>(bytes: &[u8], one: impl Fn(&ObjectName) -> Option<T>) -> Option<Vec<T>> {
    let text = std::str::from_utf8(bytes).ok()?;
    text.lines().map(|line| ObjectName::parse(line).as_ref().and_then(&one)).collect()
}

/// A list of condemned packs.
pub(crate) fn packs(ids: &[PackId]) -> Vec<u8> {
    lines(ids.iter().map(|id| ObjectName::pack(*id)))
}

/// Reads one; None of anything else.
pub(crate) fn parse_packs(bytes: &[u8]) -> Option<Vec<PackId>> {
    parse(bytes, ObjectName::as_pack)
}

/// A list of sessions that are waited for.
pub(crate) fn writers(ids: &[ImageId]) -> Vec<u8> {
    lines(ids.iter().map(|id| ObjectName::writer(*id)))
}

/// Reads one; None of anything else.
pub(crate) fn parse_writers(bytes: &[u8]) -> Option<Vec<ImageId>> {
    parse(bytes, |name| name.as_id(prefix::WRITERS))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lists_are_read_back_and_are_not_taken_for_each_other() {
        let id = ImageId::new([7; 16]);
        let pack = PackId { writer: id, number: 3 };
        assert_eq!(parse_packs(&packs(&[pack, pack])), Some(vec![pack, pack]));
        assert_eq!(parse_writers(&writers(&[id])), Some(vec![id]));
        assert_eq!(parse_packs(b""), Some(Vec::new()));
        assert_eq!(parse_packs(&writers(&[id])), None);
        assert_eq!(parse_writers(&packs(&[pack])), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..99)) {
            let _ = parse_packs(&bytes);
            let _ = parse_writers(&bytes);
        }
    }
}
