//! Whether bytes have the structure of a certificate of X.509 (RFC 5280, section 4.1), by DER
//! (X.690, section 10). Nothing is said of names, keys or signatures: only the guest's own
//! programs judge those.
//!
//! ```text
//!   SEQUENCE { tbsCertificate SEQUENCE { [0] version?, serialNumber INTEGER, signature,
//!                                        issuer, validity { time, time }, subject,
//!                                        subjectPublicKeyInfo { algorithm, BIT STRING },
//!                                        [1]?, [2]?, [3] extensions? },
//!              signatureAlgorithm SEQUENCE { OBJECT IDENTIFIER, … }, the same as `signature`,
//!              signatureValue BIT STRING }
//! ```
//! Nothing stands behind the last value of any of them.

use crate::der::{Reader, tag};

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// Of the issuer and of the subject: implicit bit strings (RFC 5280, section 4.1.2.8).
const UNIQUE_IDS: [u8; 2] = [0x81, 0x82];
const EXTENSIONS: u8 = 0xa3;

/// Whether the bytes are one certificate and nothing else.
pub(super) fn is_certificate(der: &[u8]) -> bool {
    certificate(der).is_some()
}

fn certificate(der: &[u8]) -> Option<()> {
    let mut outer = Reader(der);
    let mut whole = Reader(outer.expect(tag::SEQUENCE)?.content);
    outer.end()?;
    let tbs = whole.expect(tag::SEQUENCE)?.content;
    let algorithm = whole.expect(tag::SEQUENCE)?.content;
    is_algorithm(algorithm)?;
    bits(whole.expect(tag::BIT_STRING)?.content)?;
    whole.end()?;
    to_be_signed(tbs, algorithm)
}

fn to_be_signed(tbs: &[u8], algorithm: &[u8]) -> Option<()> {
    let mut tbs = Reader(tbs);
    if let Some(version) = tbs.expect(tag::CONTEXT_0) {
        let mut version = Reader(version.content);
        // 0 is the first version, which is not written.
        matches!(version.expect(tag::INTEGER)?.content, [1 | 2]).then_some(())?;
        version.end()?;
    }
    (!tbs.expect(tag::INTEGER)?.content.is_empty()).then_some(())?;
    (tbs.expect(tag::SEQUENCE)?.content == algorithm).then_some(())?;
    let _issuer = tbs.expect(tag::SEQUENCE)?;
    let mut validity = Reader(tbs.expect(tag::SEQUENCE)?.content);
    for _ in 0..2 {
        validity.expect(UTC_TIME).or_else(|| validity.expect(GENERALIZED_TIME))?;
    }
    validity.end()?;
    let _subject = tbs.expect(tag::SEQUENCE)?;
    let mut key = Reader(tbs.expect(tag::SEQUENCE)?.content);
    is_algorithm(key.expect(tag::SEQUENCE)?.content)?;
    bits(key.expect(tag::BIT_STRING)?.content)?;
    key.end()?;
    for id in UNIQUE_IDS {
        let _ = tbs.expect(id);
    }
    if let Some(extensions) = tbs.expect(EXTENSIONS) {
        let mut extensions = Reader(extensions.content);
        (!extensions.expect(tag::SEQUENCE)?.content.is_empty()).then_some(())?;
        extensions.end()?;
    }
    tbs.end()
}

/// An algorithm's name, and perhaps one parameter.
fn is_algorithm(content: &[u8]) -> Option<()> {
    let mut values = Reader(content);
    (!values.expect(tag::OID)?.content.is_empty()).then_some(())?;
    if let Some(tag) = values.0.first().copied() {
        values.expect(tag)?;
    }
    values.end()
}

/// Whole bytes of bits: the number of unused ones comes first, and at least one byte follows.
fn bits(content: &[u8]) -> Option<()> {
    matches!(content, [0, _, ..]).then_some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{certificate::tests::example, der::element};

    /// The three values of a certificate.
    fn parts() -> [Vec<u8>; 3] {
        let der = example().der();
        let mut whole = Reader(Reader(&der).expect(tag::SEQUENCE).unwrap().content);
        [(); 3].map(|()| whole.next().unwrap().whole.to_vec())
    }

    #[test]
    fn a_certificate_is_one_and_none_that_lacks_a_value_or_has_one_too_many() {
        let [tbs, algorithm, signature] = parts();
        let of = |parts: &[&[u8]]| element(tag::SEQUENCE, parts);
        assert!(is_certificate(&of(&[&tbs, &algorithm, &signature])));
        let other = element(tag::SEQUENCE, &[&element(tag::OID, &[&[42, 3]])]);
        let padded = element(tag::BIT_STRING, &[&[3, 8]]);
        for bad in [
            // As little as a sequence in a sequence.
            vec![tag::SEQUENCE, 2, tag::SEQUENCE, 0],
            of(&[&tbs, &algorithm]),
            of(&[&tbs, &algorithm, &signature, &signature]),
            of(&[&algorithm, &tbs, &signature]),
            of(&[&tbs, &other, &signature]),
            of(&[&tbs, &algorithm, &padded]),
            of(&[&element(tag::SEQUENCE, &[]), &algorithm, &signature]),
            [of(&[&tbs, &algorithm, &signature]), vec![0]].concat(),
        ] {
            assert!(!is_certificate(&bad), "{bad:02x?}");
        }
    }

    #[test]
    fn nothing_is_a_certificate_that_was_cut_short_anywhere_inside() {
        let [tbs, algorithm, signature] = parts();
        let content = Reader(&tbs).expect(tag::SEQUENCE).unwrap().content;
        for length in 0..content.len() {
            let less = element(tag::SEQUENCE, &[&content[..length]]);
            let der = element(tag::SEQUENCE, &[&less, &algorithm, &signature]);
            // Extensions may be left out, in the first version.
            let is_whole = content[length..].first() == Some(&EXTENSIONS);
            assert_eq!(is_certificate(&der), is_whole, "{length} of {}", content.len());
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(der in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = is_certificate(&der);
        }

        #[test]
        fn no_changed_byte_makes_it_panic(at in 0_usize..308, byte in any::<u8>()) {
            let mut der = example().der();
            der[at] = byte;
            let _ = is_certificate(&der);
        }
    }
}
