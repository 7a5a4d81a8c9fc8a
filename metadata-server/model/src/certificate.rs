//! A certificate that a guest is to trust.
//!
//! X.509 in PEM (RFC 7468), one a value, written in one way alone, so that two of them are equal
//! where they are the same. That it is a certificate is seen by its outermost form; whether it is one
//! of a certificate authority, only the guest's own programs say.

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

/// A certificate in PEM, with a line break at its end.
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
        // A sequence that is all of it, and begins with a sequence (RFC 5280, section 4.1).
        match sequence(&der) {
            Some((content, [])) if sequence(content).is_some() => {}
            _ => return Err(CertificateError::Form),
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

/// The content of a sequence of DER, and what follows it (X.690, section 8.1).
fn sequence(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = der.split_at_checked(2)?;
    if head[0] != 0x30 {
        return None;
    }
    let (length, rest) = match head[1] {
        short @ 0..=0x7f => (usize::from(short), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => {
            let (bytes, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*bytes)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

impl TryFrom<String> for Certificate {
    type Error = CertificateError;

    fn try_from(text: String) -> Result<Self, CertificateError> {
        let mut all = Self::parse_all(&text)?;
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

    /// An empty sequence in a sequence: as little as has the form.
    const LEAST: &str = "-----BEGIN CERTIFICATE-----\nMAIwAA==\n-----END CERTIFICATE-----\n";

    #[test]
    fn several_are_taken_out_of_a_bundle_and_written_in_one_way() {
        let long = STANDARD.encode([&[0x30, 0x81, 0x82, 0x30, 0x81, 0x7f][..], &[7; 127]].concat());
        let bundle = format!(
            "# Somebody's\r\n-----BEGIN CERTIFICATE-----\r\n MAIw\r\nAA== \r\n-----END \
             CERTIFICATE-----\r\ntext\n{BEGIN}\n{long}\n{END}"
        );
        let all = Certificate::parse_all(&bundle).unwrap();
        assert_eq!((all.len(), all[0].pem()), (2, LEAST));
        assert!(all[1].pem().lines().all(|line| line.len() <= COLUMNS));
        assert_eq!(STANDARD.encode(all[1].der()), long);
        for one in &all {
            assert_eq!(Certificate::parse_all(one.pem()).unwrap(), std::slice::from_ref(one));
            let json = serde_json::to_string(one).unwrap();
            assert_eq!(serde_json::from_str::<Certificate>(&json).unwrap(), *one);
        }
        assert!(serde_json::from_value::<Certificate>(bundle.into()).is_err());
    }

    #[test]
    fn what_is_none_is_refused_with_its_reason() {
        let of = |body: &str| format!("{BEGIN}\n{body}\n{END}\n");
        let long = STANDARD.encode(vec![0x30; Certificate::LENGTH_MAX + 1]);
        for (text, why) in [
            (String::new(), CertificateError::None),
            ("hunter2".into(), CertificateError::None),
            (format!("{LEAST}-----BEGIN PRIVATE KEY-----"), CertificateError::Private),
            (of("%%%"), CertificateError::Form),
            (of(""), CertificateError::Form),
            // Cut short; followed by more; no sequence within.
            (of("MAMwAA=="), CertificateError::Form),
            (of("MAIwAAA="), CertificateError::Form),
            (of("MAICAQ=="), CertificateError::Form),
            (format!("{BEGIN}\nMAIwAA=="), CertificateError::Form),
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
