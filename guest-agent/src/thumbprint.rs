//! What Windows names a certificate by: the SHA-1 of its DER, in hexadecimal and in capitals. It
//! says which one is meant, and nothing of whether it is to be believed.

use sha1::{Digest as _, Sha1};

/// A certificate's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thumbprint {
    bytes: [u8; 20],
    text: String,
}

impl Thumbprint {
    /// Of a certificate in DER.
    pub fn of(der: &[u8]) -> Self {
        Self::new(Sha1::digest(der).into())
    }

    fn new(bytes: [u8; 20]) -> Self {
        Self { bytes, text: bytes.iter().map(|byte| format!("{byte:02X}")).collect() }
    }

    /// As Windows writes it, in whatever case, or None.
    pub fn parse(text: &str) -> Option<Self> {
        let is_one = text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let mut bytes = [0; 20];
        for (at, byte) in bytes.iter_mut().enumerate().filter(|_| is_one) {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        is_one.then(|| Self::new(bytes))
    }

    /// In capitals.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The digest itself.
    pub fn bytes(&self) -> [u8; 20] {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_in_any_case_and_written_in_capitals() {
        let print = Thumbprint::of(b"abc");
        assert_eq!(print.as_str(), "A9993E364706816ABA3E25717850C26C9CD0D89D");
        assert_eq!(print.bytes()[..2], [0xa9, 0x99]);
        let known = Thumbprint::parse("a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(known, Some(print));
        for bad in ["", "A9", &"+9".repeat(20), &"é".repeat(20), &"A9".repeat(21)] {
            assert_eq!(Thumbprint::parse(bad), None, "{bad}");
        }
    }
}
