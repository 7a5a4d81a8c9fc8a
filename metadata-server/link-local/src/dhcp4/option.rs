//! Numbers of DHCPv4 options (RFC 2132, but where another is named), and how options are read and
//! written in the three fields that may hold them.
//!
//! What is longer than the 255 bytes of one option is in several of the same number (RFC 3396).
//! What doesn't fit into the options field may be in `file` and `sname` (option overload).

use super::Silence;

pub(super) const PAD: u8 = 0;
pub(super) const SUBNET_MASK: u8 = 1;
pub(super) const ROUTER: u8 = 3;
pub(super) const RESOLVERS: u8 = 6;
pub(super) const HOST_NAME: u8 = 12;
pub(super) const DOMAIN: u8 = 15;
pub(super) const MTU: u8 = 26;
pub(super) const BROADCAST: u8 = 28;
pub(super) const TIME_SERVERS: u8 = 42;
pub(super) const REQUESTED_ADDRESS: u8 = 50;
pub(super) const LEASE_TIME: u8 = 51;
pub(super) const OVERLOAD: u8 = 52;
pub(super) const MESSAGE_TYPE: u8 = 53;
pub(super) const SERVER: u8 = 54;
pub(super) const PARAMETERS: u8 = 55;
pub(super) const MESSAGE: u8 = 56;
pub(super) const LONGEST_MESSAGE: u8 = 57;
pub(super) const RENEWAL_TIME: u8 = 58;
pub(super) const REBINDING_TIME: u8 = 59;
pub(super) const VENDOR_CLASS: u8 = 60;
pub(super) const CLIENT: u8 = 61;
pub(super) const BOOT_SERVER: u8 = 66;
pub(super) const BOOT_FILE: u8 = 67;
/// RFC 4039.
pub(super) const RAPID_COMMIT: u8 = 80;
/// RFC 3046.
pub(super) const RELAY_AGENT: u8 = 82;
/// RFC 3397.
pub(super) const SEARCH: u8 = 119;
/// RFC 3442.
pub(super) const CLASSLESS_ROUTES: u8 = 121;
/// The same as Windows had it before there was a number for it ([MS-DHCPE], section 2.2.8).
pub(super) const CLASSLESS_ROUTES_OF_WINDOWS: u8 = 249;
pub(super) const END: u8 = 255;

/// Longest value of one option.
const LONGEST: usize = 255;

/// The options of a message, those of one number joined.
#[derive(Debug, Default)]
pub(super) struct Options(Vec<(u8, Vec<u8>)>);

impl Options {
    /// Adds those of a field.
    pub(super) fn collect(&mut self, field: &[u8]) -> Result<(), Silence> {
        let mut rest = field;
        while let Some((code, after)) = rest.split_first() {
            match *code {
                PAD => rest = after,
                END => break,
                code => {
                    let (length, after) = after.split_first().ok_or(Silence::Malformed)?;
                    let (value, after) =
                        after.split_at_checked(usize::from(*length)).ok_or(Silence::Malformed)?;
                    match self.0.iter_mut().find(|known| known.0 == code) {
                        Some((_, known)) => known.extend_from_slice(value),
                        None => self.0.push((code, value.to_vec())),
                    }
                    rest = after;
                }
            }
        }
        Ok(())
    }

    /// The value of an option, if it is there.
    pub(super) fn get(&self, code: u8) -> Option<&[u8]> {
        self.0.iter().find(|known| known.0 == code).map(|known| known.1.as_slice())
    }
}

/// A field that options are written into.
#[derive(Debug)]
struct Field {
    bytes: Vec<u8>,
    /// How many bytes of options it takes, without the end.
    room: usize,
}

impl Field {
    /// How long a value there is room for; an option without one takes room too.
    fn left(&self) -> Option<usize> {
        self.room.checked_sub(self.bytes.len() + 2)
    }

    /// Writes an option of 255 bytes at most, for which there is room.
    fn push(&mut self, code: u8, value: &[u8]) {
        self.bytes.extend([code, value.len() as u8]);
        self.bytes.extend_from_slice(value);
    }
}

/// Options being written.
#[derive(Debug)]
pub(super) struct Writer {
    /// The options field, `file`, `sname`: the order in which they are read (RFC 3396, section 5).
    fields: [Field; 3],
}

impl Writer {
    /// With so much room in the options field, `file` and `sname`, each with the end.
    pub(super) fn new(options: usize, file: usize, sname: usize) -> Self {
        // What says that there are others takes three bytes of the first.
        let overload = if file + sname > 0 { 3 } else { 0 };
        let field = |room: usize| Field { bytes: Vec::new(), room: room.saturating_sub(1) };
        Self { fields: [field(options.saturating_sub(overload)), field(file), field(sname)] }
    }

    /// Keeps room in the options field for an option that is to be the last.
    pub(super) fn reserve(&mut self, length: usize) {
        let [options, ..] = &mut self.fields;
        options.room = options.room.saturating_sub(written_length(length));
    }

    /// Writes an option, all of it or nothing; whether there was room for it.
    pub(super) fn add(&mut self, code: u8, value: &[u8]) -> bool {
        let fits = |field: &&mut Field| field.left().is_some_and(|left| left >= value.len());
        if value.len() <= LONGEST
            && let Some(field) = self.fields.iter_mut().find(fits)
        {
            field.push(code, value);
            return true;
        }
        // Others than these two are one option where they can be: not every client joins them.
        let is_joined = matches!(code, SEARCH | CLASSLESS_ROUTES);
        (value.len() > LONGEST || is_joined) && self.add_in_pieces(code, value)
    }

    /// Writes an option in as many pieces as the room that is left makes of it. They are read in
    /// the order of the fields.
    fn add_in_pieces(&mut self, code: u8, value: &[u8]) -> bool {
        let before = self.fields.each_ref().map(|field| field.bytes.len());
        let mut rest = value;
        for field in &mut self.fields {
            while !rest.is_empty()
                && let Some(left @ 1..) = field.left()
            {
                let (piece, after) = rest.split_at(rest.len().min(left).min(LONGEST));
                field.push(code, piece);
                rest = after;
            }
        }
        if !rest.is_empty() {
            for (field, length) in self.fields.iter_mut().zip(before) {
                field.bytes.truncate(length);
            }
        }
        rest.is_empty()
    }

    /// The options field, and what is in `file` and `sname`, if something is.
    pub(super) fn finish(self, last: Option<(u8, &[u8])>) -> Written {
        let [Field { bytes: mut options, .. }, file, sname] = self.fields;
        let overload = u8::from(!file.bytes.is_empty()) | u8::from(!sname.bytes.is_empty()) << 1;
        if overload > 0 {
            options.extend([OVERLOAD, 1, overload]);
        }
        if let Some((code, value)) = last {
            options.extend([code, value.len() as u8]);
            options.extend_from_slice(value);
        }
        options.push(END);
        let other = |field: Field| {
            let mut bytes = field.bytes;
            (!bytes.is_empty()).then(|| {
                bytes.push(END);
                bytes
            })
        };
        Written { options, file: other(file), sname: other(sname) }
    }
}

/// What was written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) options: Vec<u8>,
    pub(super) file: Option<Vec<u8>>,
    pub(super) sname: Option<Vec<u8>>,
}

fn written_length(value: usize) -> usize {
    value + 2 * value.div_ceil(255).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_field_is_longer_than_its_room_and_what_was_written_reads_back(
            rooms in (10_usize..400, prop::sample::select(vec![0_usize, 128]),
                      prop::sample::select(vec![0_usize, 64])),
            options in prop::collection::vec((1_u8..255, 0_usize..600), 0..30),
            last in 0_usize..40,
        ) {
            let mut writer = Writer::new(rooms.0, rooms.1, rooms.2);
            writer.reserve(last);
            let mut expected = Vec::new();
            for (at, (code, length)) in options.into_iter().enumerate() {
                let value = vec![at as u8; length];
                let is_new = expected.iter().all(|known: &(u8, Vec<u8>)| known.0 != code);
                if is_new && ![OVERLOAD, RELAY_AGENT].contains(&code) && writer.add(code, &value) {
                    expected.push((code, value));
                }
            }
            let value = vec![0xee; last];
            let is_whole = rooms.0 >= last + 6;
            let written = writer.finish(is_whole.then_some((RELAY_AGENT, &value[..])));
            prop_assert!(written.options.len() <= rooms.0);
            let mut read = Options::default();
            read.collect(&written.options).unwrap();
            for (field, room) in [(&written.file, rooms.1), (&written.sname, rooms.2)] {
                if let Some(field) = field {
                    prop_assert!(field.len() <= room);
                    read.collect(field).unwrap();
                }
            }
            for (code, value) in &expected {
                prop_assert_eq!(read.get(*code), Some(&value[..]));
            }
        }
    }
}
