//! NTP for guests: which datagrams are a client's, and which answer them.
//!
//! Only a client's question passes (mode 3, RFC 5905, section 7.3), and of it only the 48 bytes of
//! the header: control and private messages (modes 6 and 7), which make servers answer with many
//! times as many bytes, never do, and neither do extensions or signatures, which are between a
//! client and a server that know each other. The time server sees a random number instead of the
//! guest's clock, which also is what an answer is known by. What it never does: tell the time.

/// The length of a header without extensions, in bytes.
pub const LENGTH: usize = 48;

const CLIENT: u8 = 3;
const SERVER: u8 = 4;
/// The server's copy of the client's transmit timestamp.
const ORIGIN: std::ops::Range<usize> = 24..32;
const TRANSMIT: std::ops::Range<usize> = 40..48;

/// A client's question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    version: u8,
    poll: u8,
    transmit: [u8; 8],
    nonce: [u8; 8],
}

impl Question {
    /// Reads one, and gives it a number that nobody can guess; nothing for anything else.
    pub fn parse(datagram: &[u8], nonce: [u8; 8]) -> Option<Self> {
        let header: &[u8; LENGTH] = datagram.first_chunk()?;
        let (version, mode) = ((header[0] >> 3) & 7, header[0] & 7);
        if mode != CLIENT || !(1..=4).contains(&version) {
            return None;
        }
        let transmit = header[TRANSMIT].try_into().ok()?;
        Some(Self { version, poll: header[2], transmit, nonce })
    }

    /// What is sent to the time server: no more than it needs to answer (the minimal form of
    /// draft-ietf-ntp-data-minimization).
    pub fn message(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[0] = (self.version << 3) | CLIENT;
        bytes[2] = self.poll;
        bytes[TRANSMIT].copy_from_slice(&self.nonce);
        bytes
    }

    /// The reply for the guest out of what came back, if that is a server's answer to this.
    pub fn accept(&self, datagram: &[u8]) -> Option<[u8; LENGTH]> {
        let mut bytes: [u8; LENGTH] = *datagram.first_chunk()?;
        if bytes[0] & 7 != SERVER || bytes[ORIGIN] != self.nonce {
            return None;
        }
        bytes[ORIGIN].copy_from_slice(&self.transmit);
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONCE: [u8; 8] = [9; 8];

    fn client() -> [u8; LENGTH] {
        let mut bytes: [u8; LENGTH] = std::array::from_fn(|at| at as u8);
        bytes[0] = (4 << 3) | CLIENT;
        bytes
    }

    fn answer(to: &[u8; LENGTH]) -> [u8; LENGTH] {
        let mut bytes = [7; LENGTH];
        bytes[0] = (4 << 3) | SERVER;
        let sent = *to;
        bytes[ORIGIN].copy_from_slice(&sent[TRANSMIT]);
        bytes
    }

    #[test]
    fn the_guests_clock_stays_here_and_comes_back_in_the_answer() {
        let asked = client();
        let question = Question::parse(&asked, NONCE).unwrap();
        let sent = question.message();
        assert_eq!(sent[TRANSMIT], NONCE);
        assert!(sent[3..40].iter().all(|byte| *byte == 0));
        let reply = question.accept(&answer(&sent)).unwrap();
        assert_eq!(reply[ORIGIN], asked[TRANSMIT]);
        assert_eq!(reply[32..], [7; 16]);
    }

    #[test]
    fn nothing_but_a_clients_question_is_one() {
        let mut bytes = client();
        assert!(Question::parse(&bytes[..47], NONCE).is_none());
        for first in 0..=u8::MAX {
            bytes[0] = first;
            let is_question = first & 7 == CLIENT && (1..=4).contains(&((first >> 3) & 7));
            assert_eq!(Question::parse(&bytes, NONCE).is_some(), is_question, "{first:#x}");
        }
    }

    #[test]
    fn an_answer_to_something_else_is_not_believed() {
        let question = Question::parse(&client(), NONCE).unwrap();
        let good = answer(&question.message());
        assert!(question.accept(&good).is_some());
        assert!(question.accept(&good[..47]).is_none());
        for at in ORIGIN {
            let mut other = good;
            other[at] ^= 1;
            assert!(question.accept(&other).is_none());
        }
        for mode in [0, 1, 2, 3, 5, 6, 7] {
            let mut other = good;
            other[0] = (4 << 3) | mode;
            assert!(question.accept(&other).is_none(), "mode {mode}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_is_longer_than_its_question(
            asked in prop::collection::vec(any::<u8>(), 0..200),
            came in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Some(question) = Question::parse(&asked, NONCE) {
                prop_assert!(question.message().len() <= asked.len());
                if let Some(reply) = question.accept(&came) {
                    prop_assert!(reply.len() <= asked.len());
                }
            }
        }
    }
}
