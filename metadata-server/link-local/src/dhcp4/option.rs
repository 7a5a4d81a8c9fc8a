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

    /// Writes an option, whole or not at all; whether there was room for it.
    pub(super) fn add(&mut self, code: u8, value: &[u8]) -> bool {
        let before = self.fields.each_ref().map(|field| field.bytes.len());
        // An option without a value is one piece too.
        let pieces = value.chunks(255).chain(value.is_empty().then_some(value));
        let mut at = 0;
        for piece in pieces {
            let fits = |field: &Field| field.bytes.len() + 2 + piece.len() <= field.room;
            // The pieces are read in the order of the fields.
            let Some(found) = self.fields[at..].iter().position(fits) else {
                for (field, length) in self.fields.iter_mut().zip(before) {
                    field.bytes.truncate(length);
                }
                return false;
            };
            at += found;
            let bytes = &mut self.fields[at].bytes;
            // A piece has 255 bytes at most.
            bytes.extend([code, piece.len() as u8]);
            bytes.extend_from_slice(piece);
        }
        true
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
