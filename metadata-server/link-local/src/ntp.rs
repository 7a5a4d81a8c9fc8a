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
/// The leap indicator of a clock that is not set.
const UNKNOWN: u8 = 3;
/// Of servers whose clock is set: from one that has the time by itself on.
const STRATA: std::ops::Range<u8> = 1..16;
/// The server's copy of the client's transmit timestamp.
const ORIGIN: std::ops::Range<usize> = 24..32;
const TRANSMIT: std::ops::Range<usize> = 40..48;

/// What a server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The reply for the guest.
    Time([u8; LENGTH]),
    /// That it has no time to tell: its clock is not set (leap indicator 3, stratum 16 and above), or
    /// it wants to be left alone (stratum 0, the kiss of death; RFC 5905, sections 7.3 and 7.4).
    NoTime,
}

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

    /// What came back, if that is a server's answer to this.
    pub fn accept(&self, datagram: &[u8]) -> Option<Answer> {
        let mut bytes: [u8; LENGTH] = *datagram.first_chunk()?;
        if bytes[0] & 7 != SERVER || bytes[ORIGIN] != self.nonce {
            return None;
        }
        let (leap, stratum) = (bytes[0] >> 6, bytes[1]);
        if leap == UNKNOWN || !STRATA.contains(&stratum) {
            return Some(Answer::NoTime);
        }
        bytes[ORIGIN].copy_from_slice(&self.transmit);
        Some(Answer::Time(bytes))
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

    fn time(answer: Option<Answer>) -> Option<[u8; LENGTH]> {
        match answer? {
            Answer::Time(reply) => Some(reply),
            Answer::NoTime => None,
        }
    }

    #[test]
    fn the_guests_clock_stays_here_and_comes_back_in_the_answer() {
        let asked = client();
        let question = Question::parse(&asked, NONCE).unwrap();
        let sent = question.message();
        assert_eq!(sent[TRANSMIT], NONCE);
        assert!(sent[3..40].iter().all(|byte| *byte == 0));
        let reply = time(question.accept(&answer(&sent))).unwrap();
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

    #[test]
    fn a_server_whose_clock_is_not_set_or_that_wants_no_questions_tells_no_time() {
        let question = Question::parse(&client(), NONCE).unwrap();
        let good = answer(&question.message());
        for leap in 0..=3_u8 {
            for stratum in 0..=u8::MAX {
                let mut reply = good;
                reply[0] = (leap << 6) | (4 << 3) | SERVER;
                reply[1] = stratum;
                let told = question.accept(&reply);
                let has_time = leap < 3 && (1..=15).contains(&stratum);
                assert_eq!(time(told).is_some(), has_time, "{leap} {stratum}");
                assert_eq!(told == Some(Answer::NoTime), !has_time, "{leap} {stratum}");
            }
        }
        // Nor is one believed in this that was not asked.
        let mut forged = good;
        (forged[1], forged[24]) = (0, forged[24] ^ 1);
        assert_eq!(question.accept(&forged), None);
    }

    proptest! {
        #[test]
        fn no_answer_is_longer_than_its_question(
            asked in prop::collection::vec(any::<u8>(), 0..200),
            came in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            if let Some(question) = Question::parse(&asked, NONCE) {
                prop_assert!(question.message().len() <= asked.len());
                if let Some(reply) = time(question.accept(&came)) {
                    prop_assert!(reply.len() <= asked.len());
                }
            }
        }
    }
}
