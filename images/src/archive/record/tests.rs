//! Tests of the records of images.

use proptest::prelude::*;

use super::*;
use crate::{archive::ProjectKey, environment::fixed::FixedEnvironment};

fn id() -> ImageId {
    ImageId::new([3; 16])
}

fn image(size: u64) -> Image {
    Image {
        id: id(),
        project: ProjectName::parse("web").unwrap(),
        kind: Kind::Captured,
        created_ms: 5,
        size,
        content: ContentId([0; 32]),
        key: None,
        detail: Some(Detail {
            name: "golden".into(),
            labels: BTreeMap::from([("os".into(), "debian".into())]),
            provenance: Provenance { format: Some("qcow2".into()), ..Provenance::default() },
        }),
    }
}

fn pages(size: u64) -> Vec<ChunkId> {
    (0..counts(size).1).map(|n| ChunkId([n as u8; 32])).collect()
}

fn record(bytes: &[u8]) -> Record {
    match parse(id(), bytes) {
        Ok(Slot::Image(record)) => *record,
        Ok(Slot::Ended) => panic!("a tombstone"),
        Err(fault) => panic!("{fault}"),
    }
}

fn secret() -> Domain {
    Domain::of(Some(&ProjectKey::new([9; 32])))
}

#[test]
fn a_record_is_read_back_whole_with_the_project_s_key() {
    let environment = FixedEnvironment::new(1);
    for (domain, is_sealed) in [(Domain::of(None), false), (secret(), true)] {
        for size in [0, 1, CHUNK as u64, 300 << 20] {
            let bytes = encode(&image(size), &pages(size), &domain, &environment).unwrap();
            let read = record(&bytes);
            assert_eq!(read.pages, pages(size));
            assert_eq!((read.image.size, read.image.detail.is_none()), (size, true));
            let opened = read.open(&domain).unwrap();
            assert_eq!(opened.detail, image(size).detail);
            assert_eq!(opened.content, content(size, &pages(size)));
            assert_eq!(bytes.windows(6).any(|w| w == b"golden"), !is_sealed);
        }
    }
}

#[test]
fn a_record_of_another_key_says_which_it_wants() {
    let environment = FixedEnvironment::new(1);
    let bytes = encode(&image(1), &pages(1), &secret(), &environment).unwrap();
    let refused = record(&bytes).open(&Domain::of(None)).unwrap_err();
    assert!(matches!(&refused, RecordFault::OtherKey { given, .. } if given == "none"));
}

#[test]
fn a_record_that_was_made_without_the_key_is_forged() {
    let environment = FixedEnvironment::new(1);
    let mut bytes = encode(&image(1), &pages(1), &secret(), &environment).unwrap();
    // One who knows the form makes the digest right again.
    let at = bytes.len() - DIGESTS - 1;
    bytes[at] ^= 1;
    assert!(matches!(parse(id(), &bytes), Err(RecordFault::Digest)));
    let end = bytes.len() - 32;
    let other = content(1, &[ChunkId(bytes[end - 64..end - 32].try_into().unwrap())]).to_string();
    let was = content(1, &pages(1)).to_string();
    let place = bytes.windows(64).position(|w| w == was.as_bytes()).unwrap();
    bytes[place..place + 64].copy_from_slice(other.as_bytes());
    let digest = blake3::hash(&bytes[..end]);
    bytes[end..].copy_from_slice(digest.as_bytes());
    assert_eq!(record(&bytes).open(&secret()).unwrap_err(), RecordFault::Forged);
}

#[test]
fn a_record_under_another_image_s_name_is_refused() {
    let environment = FixedEnvironment::new(1);
    let bytes = encode(&image(1), &pages(1), &Domain::of(None), &environment).unwrap();
    let refused = parse(ImageId::new([4; 16]), &bytes);
    assert!(matches!(refused, Err(RecordFault::Impossible("id"))));
}

#[test]
fn a_tombstone_is_no_image() {
    assert!(matches!(parse(id(), &tombstone(7)), Ok(Slot::Ended)));
}

proptest! {
    #[test]
    fn every_changed_byte_is_noticed(at in any::<usize>(), by in 1..=255u8) {
        let environment = FixedEnvironment::new(1);
        let mut bytes =
            encode(&image(1 << 28), &pages(1 << 28), &Domain::of(None), &environment).unwrap();
        let at = at % bytes.len();
        bytes[at] ^= by;
        prop_assert!(parse(id(), &bytes).is_err());
    }

    #[test]
    fn no_bytes_make_the_parser_panic(
        body in prop::collection::vec(any::<u8>(), 0..300), head in 0..400u32
    ) {
        let _ = parse(id(), &body);
        // With a right digest more of it is looked at.
        let mut bytes = IMAGE.to_vec();
        bytes.extend_from_slice(&head.to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes.extend_from_slice(&[0; 32]);
        let digest = blake3::hash(&bytes);
        bytes.extend_from_slice(digest.as_bytes());
        prop_assert!(parse(id(), &bytes).is_err());
    }
}
