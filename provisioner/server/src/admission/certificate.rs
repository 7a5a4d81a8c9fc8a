//! Reading the `trusted_certificates` of an instance: PEM, several in a text if need be.

use mezame_model::{Certificate, CertificateError};

use super::form::Node;

/// The longest text, in bytes: as many certificates as are taken, and what stands around them.
const LONGEST: usize = 512 << 10;

/// Reads the list; each certificate is there once. No fault repeats a text.
pub(super) fn read_all(node: &Node<'_>) -> Option<Vec<Certificate>> {
    let texts =
        node.list(Certificate::COUNT_MAX, |n| match Certificate::parse_all(n.text(LONGEST)?) {
            Ok(all) => Some(all),
            Err(error @ CertificateError::Private) => {
                n.fault(error.to_string(), "give the certificate alone, and make a new key")
            }
            Err(error) => n.fault(error.to_string(), "give what is in a .pem file of OpenSSL's"),
        })?;
    let mut certificates: Vec<Certificate> = Vec::new();
    for certificate in texts.into_iter().flatten() {
        if !certificates.contains(&certificate) {
            certificates.push(certificate);
        }
    }
    if certificates.len() > Certificate::COUNT_MAX {
        return node.fault(
            format!("there are {} certificates in these texts", certificates.len()),
            format!("give {} at most: a guest needs the roots alone", Certificate::COUNT_MAX),
        );
    }
    Some(certificates)
}
