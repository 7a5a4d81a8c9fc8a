//! As much of DER as certificates and a CMS signature take: write an element, step through others.
//!
//! Own code, since the whole of it is shorter than the types that a library for CMS wants to be
//! filled in. The reader walks elements that were checked to lie within their parents, and makes
//! no sense of what they hold.
//!
//! Follows ITU-T X.690, section 10: a length has one form, the shortest.

/// Tags that we write or look for (X.680, section 8.6).
pub mod tag {
    /// A whole number.
    pub const INTEGER: u8 = 0x02;
    /// Bits; the number of unused ones comes first.
    pub const BIT_STRING: u8 = 0x03;
    /// Bytes.
    pub const OCTET_STRING: u8 = 0x04;
    /// Nothing.
    pub const NULL: u8 = 0x05;
    /// The name of a thing.
    pub const OID: u8 = 0x06;
    /// Elements in an order.
    pub const SEQUENCE: u8 = 0x30;
    /// Elements without one.
    pub const SET: u8 = 0x31;
    /// `[0]`, constructed.
    pub const CONTEXT_0: u8 = 0xa0;
}

/// An element that holds the parts one after another.
pub fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
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
pub struct Element<'a> {
    /// What it is.
    pub tag: u8,
    /// What it holds.
    pub content: &'a [u8],
    /// All of it, with tag and length.
    pub whole: &'a [u8],
}

/// Reads elements that follow each other.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next element, if there is a whole one with a single-byte tag and a definite length.
    #[allow(clippy::should_implement_trait, reason = "what follows a damaged element is none")]
    pub fn next(&mut self) -> Option<Element<'a>> {
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
        let is_shortest = match first {
            0..=0x7f => true,
            0x81 => length >= 0x80,
            _ => length >> (8 * u32::from(first - 0x81)) != 0,
        };
        let (content, rest) = rest.split_at_checked(length).filter(|_| is_shortest)?;
        let whole = &self.0[..self.0.len() - rest.len()];
        self.0 = rest;
        Some(Element { tag, content, whole })
    }

    /// The next element, if it has this tag; else it is still the next one.
    pub fn expect(&mut self, tag: u8) -> Option<Element<'a>> {
        let mut ahead = *self;
        let element = ahead.next().filter(|element| element.tag == tag)?;
        *self = ahead;
        Some(element)
    }

    /// That nothing is left.
    pub fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
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

    #[test]
    fn a_length_is_read_in_the_shortest_form_alone() {
        let longer: [&[u8]; 5] = [
            &[2, 0x81, 1, 7],
            &[2, 0x82, 0, 1, 7],
            &[2, 0x83, 0, 0, 1, 7],
            &[2, 0x80, 7],
            &[2, 0xff],
        ];
        for longer in longer {
            assert_eq!(Reader(longer).next(), None, "{longer:02x?}");
        }
        let long = [&[2, 0x82, 0, 0xff][..], &[7; 0xff]].concat();
        assert_eq!(Reader(&long).next(), None);
    }

    #[test]
    fn an_element_of_another_tag_is_still_the_next_one() {
        let mut reader = Reader(&[2, 1, 7]);
        assert_eq!(reader.expect(tag::SEQUENCE), None);
        assert_eq!(reader.expect(tag::INTEGER).unwrap().content, [7]);
        assert!(reader.end().is_some());
    }
}
