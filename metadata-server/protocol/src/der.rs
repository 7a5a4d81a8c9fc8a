//! As much of DER as a CMS signature takes: write an element, step through a certificate.
//!
//! Own code, since the whole of it is shorter than the types that a library for CMS wants to be
//! filled in. The reader walks elements that were checked to lie within their parents, and makes
//! no sense of what they hold.
//!
//! Follows ITU-T X.690, section 10.

/// Tags that we write or look for.
pub(crate) mod tag {
    pub(crate) const INTEGER: u8 = 0x02;
    pub(crate) const BIT_STRING: u8 = 0x03;
    pub(crate) const OCTET_STRING: u8 = 0x04;
    pub(crate) const NULL: u8 = 0x05;
    pub(crate) const OID: u8 = 0x06;
    pub(crate) const SEQUENCE: u8 = 0x30;
    pub(crate) const SET: u8 = 0x31;
    /// `[0]`, constructed.
    pub(crate) const CONTEXT_0: u8 = 0xa0;
}

/// An element that holds the parts one after another.
pub(crate) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Vec::with_capacity(length + 6);
    out.push(tag);
    if length < 0x80 {
        out.push(length as u8);
    } else {
        let bytes = length.to_be_bytes();
        let bytes = &bytes[(length.leading_zeros() / 8) as usize..];
        out.push(0x80 | bytes.len() as u8);
        out.extend_from_slice(bytes);
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// An element that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    /// What it holds.
    pub(crate) content: &'a [u8],
    /// All of it, with tag and length.
    pub(crate) whole: &'a [u8],
}

/// Reads elements that follow each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next element, if there is a whole one with a single-byte tag and a definite length.
    pub(crate) fn next(&mut self) -> Option<Element<'a>> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        let whole = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        Some(Element { tag, content, whole })
    }

    /// The next element, if it has this tag.
    pub(crate) fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        self.next().filter(|element| element.tag == tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(tag in 1u8..31, content: Vec<u8>) {
            let written = element(tag, &[&content[..content.len() / 2], &content[content.len() / 2..]]);
            let mut reader = Reader(&written);
            let read = reader.next().unwrap();
            proptest::prop_assert_eq!(read, Element { tag, content: &content, whole: &written });
            proptest::prop_assert!(reader.next().is_none());
        }

        #[test]
        fn reading_any_bytes_ends_and_stays_within_them(bytes: Vec<u8>) {
            let mut reader = Reader(&bytes);
            let mut read = 0;
            while let Some(element) = reader.next() {
                read += element.whole.len();
            }
            proptest::prop_assert!(read <= bytes.len());
        }
    }

    #[test]
    fn lengths_take_as_many_bytes_as_they_need() {
        for (length, head) in [
            (0, &[4, 0][..]),
            (127, &[4, 127]),
            (128, &[4, 0x81, 128]),
            (255, &[4, 0x81, 255]),
            (256, &[4, 0x82, 1, 0]),
            (65_536, &[4, 0x83, 1, 0, 0]),
        ] {
            let written = element(4, &[&vec![7; length]]);
            assert_eq!(&written[..head.len()], head, "{length}");
            assert_eq!(written.len(), head.len() + length);
        }
    }
}
