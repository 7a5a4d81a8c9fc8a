//! A certificate that a guest is to trust.
//!
//! X.509 in PEM (RFC 7468), one a value, written in one way alone, so that two of them are equal
//! where they are the same. That it is a certificate is seen by its [`structure`] when it is given;
//! whether it is one of a certificate authority, only the guest's own programs say. What was given
//! once is read again whatever is asked of new ones: a record that can't be read is worse than one
//! certificate that a guest's programs refuse.

mod structure;

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";
/// Characters of base64 a line (RFC 7468, section 2).
const COLUMNS: usize = 64;

/// Why a text is no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// It holds a private key.
    #[error("there is a private key in it")]
    Private,
    /// There is none between the marks of PEM.
    #[error("there is no certificate in PEM in it")]
    None,
    /// What is between the marks is no base64, or no certificate.
    #[error("what stands between the marks is no certificate of X.509")]
    Form,
    /// One is too long.
    #[error("a certificate has at most {} bytes", Certificate::LENGTH_MAX)]
    Long,
}

/// A certificate in PEM, with a line break at its end. Reading one that was written here before
/// (serde) asks only that it is PEM.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Certificate(Box<str>);

impl Certificate {
    /// The most of an instance.
    pub const COUNT_MAX: usize = 32;
    /// The longest, in bytes of DER.
    pub const LENGTH_MAX: usize = 8 << 10;

    /// All certificates of a text; what stands around them is left out.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, CertificateError> {
        let all = Self::read_all(text)?;
        let are_good = all.iter().all(|it| structure::is_certificate(&it.der()));
        if are_good { Ok(all) } else { Err(CertificateError::Form) }
    }

    /// All of a text, as far as PEM goes.
    fn read_all(text: &str) -> Result<Vec<Self>, CertificateError> {
        if text.contains("PRIVATE KEY") {
            return Err(CertificateError::Private);
        }
        let mut found = Vec::new();
        let mut rest = text;
        while let Some((_, after)) = rest.split_once(BEGIN) {
            let (body, after) = after.split_once(END).ok_or(CertificateError::Form)?;
            found.push(Self::of_base64(body)?);
            rest = after;
        }
        if found.is_empty() { Err(CertificateError::None) } else { Ok(found) }
    }

    /// In PEM.
    pub fn pem(&self) -> &str {
        &self.0
    }

    /// In DER.
    pub fn der(&self) -> Vec<u8> {
        let body: String = self.0.lines().filter(|line| !line.starts_with('-')).collect();
        // It was checked when it was made.
        STANDARD.decode(body).unwrap_or_default()
    }

    fn of_base64(body: &str) -> Result<Self, CertificateError> {
        let body: Vec<u8> = body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        if body.len() > Self::LENGTH_MAX / 3 * 4 + 4 {
            return Err(CertificateError::Long);
        }
        let der = STANDARD.decode(&body).map_err(|_| CertificateError::Form)?;
        if der.len() > Self::LENGTH_MAX {
            return Err(CertificateError::Long);
        }
        let encoded = STANDARD.encode(der);
        let mut pem = format!("{BEGIN}\n");
        for line in encoded.as_bytes().chunks(COLUMNS) {
            pem.extend(line.iter().copied().map(char::from));
            pem.push('\n');
        }
        pem.push_str(END);
        pem.push('\n');
        Ok(Self(pem.into()))
    }
}

/// One that was written here before.
impl TryFrom<String> for Certificate {
    type Error = CertificateError;

    fn try_from(text: String) -> Result<Self, CertificateError> {
        let mut all = Self::read_all(&text)?;
        match (all.pop(), all.as_slice()) {
            (Some(one), []) => Ok(one),
            _ => Err(CertificateError::Form),
        }
    }
}

impl From<Certificate> for String {
    fn from(certificate: Certificate) -> Self {
        certificate.0.into()
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Certificate({} bytes of PEM)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Of a certificate authority, with Ed25519: made by `openssl req -x509`.
    const EXAMPLE: &str = include_str!("../testdata/authority.pem");

    pub(super) fn example() -> Certificate {
        Certificate::try_from(EXAMPLE.to_owned()).unwrap()
    }

    #[test]
    fn several_are_taken_out_of_a_bundle_and_written_in_one_way() {
        let body: String = EXAMPLE.lines().filter(|line| !line.starts_with('-')).collect();
        let (first, rest) = body.split_at(17);
        let bundle = format!(
            "# Somebody's\r\n{BEGIN}\r\n {first}\r\n{rest} \r\n{END}\r\ntext\n{BEGIN}\n{body}{END}"
        );
        let all = Certificate::parse_all(&bundle).unwrap();
        assert_eq!(all, [example(), example()]);
        assert_eq!(all[0].pem(), EXAMPLE);
        assert_eq!(STANDARD.encode(all[1].der()), body);
        let json = serde_json::to_string(&all[0]).unwrap();
        assert_eq!(serde_json::from_str::<Certificate>(&json).unwrap(), all[0]);
        assert!(serde_json::from_value::<Certificate>(bundle.into()).is_err());
    }

    #[test]
    fn what_was_taken_before_its_structure_was_looked_at_is_still_read() {
        let old = format!("{BEGIN}\nMAIwAA==\n{END}\n");
        assert_eq!(Certificate::parse_all(&old), Err(CertificateError::Form));
        let read: Certificate = serde_json::from_value(old.clone().into()).unwrap();
        assert_eq!(read.pem(), old);
        assert_eq!(read.der(), [0x30, 2, 0x30, 0]);
    }

    #[test]
    fn what_is_none_is_refused_with_its_reason() {
        let of = |body: &str| format!("{BEGIN}\n{body}\n{END}\n");
        let long = STANDARD.encode(vec![0x30; Certificate::LENGTH_MAX + 1]);
        for (text, why) in [
            (String::new(), CertificateError::None),
            ("hunter2".into(), CertificateError::None),
            (format!("{EXAMPLE}-----BEGIN PRIVATE KEY-----"), CertificateError::Private),
            (of("%%%"), CertificateError::Form),
            (of(""), CertificateError::Form),
            // A sequence in a sequence, and no more; a certificate without its end; no end's mark.
            (of("MAIwAA=="), CertificateError::Form),
            (of(&STANDARD.encode(&example().der()[..307])), CertificateError::Form),
            (EXAMPLE.replace(END, ""), CertificateError::Form),
            (of(&long), CertificateError::Long),
        ] {
            assert_eq!(Certificate::parse_all(&text).unwrap_err(), why, "{text:.80}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(der in proptest::collection::vec(any::<u8>(), 0..300)) {
            let text = format!("{BEGIN}{}{END}", STANDARD.encode(der));
            let _ = Certificate::parse_all(&text);
        }
    }
}
