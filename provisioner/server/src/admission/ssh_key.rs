//! Lines of `authorized_keys` (sshd(8), "AUTHORIZED_KEYS FILE FORMAT"): options, type, key, comment.
//!
//! Checks that sshd would take the line: a known type, and a blob that names the same type
//! (RFC 4253, section 6.6). What is wrong is said without the line, since people paste private
//! keys.

use base64::{Engine, engine::general_purpose::STANDARD};

/// The longest line, in bytes. An RSA key of 16,384 bits has 2,800.
const LONGEST: usize = 8192;

/// Key types that today's OpenSSH takes; ssh-dss is no more.
const TYPES: [&str; 13] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-ed25519-cert-v01@openssh.com",
    "ssh-rsa-cert-v01@openssh.com",
    "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384-cert-v01@openssh.com",
    "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "sk-ssh-ed25519-cert-v01@openssh.com",
];

/// Why a text is no `authorized_keys` line. Says nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyLineError {
    #[error("this is a private key; whoever has seen this document can log in with it")]
    Private,
    #[error("this is a key in another program's form")]
    OtherForm,
    #[error("this is empty or a comment")]
    Empty,
    #[error("this has several lines, or control characters")]
    Lines,
    #[error("this is longer than {LONGEST} bytes")]
    Long,
    #[error("this names no key type that OpenSSH takes")]
    Type,
    #[error("DSA keys are not taken by OpenSSH any more")]
    Dsa,
    #[error("the key is cut short or damaged")]
    Blob,
    #[error("the options before the key have an open quote")]
    Options,
}

impl KeyLineError {
    /// How to mend it.
    pub(super) fn mend(self) -> &'static str {
        match self {
            Self::Private => "give the public half (the .pub file), and make a new pair",
            Self::OtherForm => "convert it with `ssh-keygen -i`",
            Self::Empty => "remove it",
            Self::Lines => "make each key an entry of its own",
            Self::Dsa => "make a new key with `ssh-keygen -t ed25519`",
            Self::Long | Self::Type | Self::Blob | Self::Options => {
                "give one line of a .pub file, such as 'ssh-ed25519 AAAA… name'"
            }
        }
    }
}

/// Checks a line and gives the key's type.
pub(super) fn key_type(line: &str) -> Result<&'static str, KeyLineError> {
    if line.contains("PRIVATE KEY") || line.starts_with("PuTTY-User-Key-File") {
        return Err(KeyLineError::Private);
    }
    if line.starts_with("---- BEGIN") || line.starts_with("-----BEGIN") {
        return Err(KeyLineError::OtherForm);
    }
    if line.len() > LONGEST {
        return Err(KeyLineError::Long);
    }
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Err(KeyLineError::Empty);
    }
    if line.chars().any(|c| c.is_control() && c != '\t') {
        return Err(KeyLineError::Lines);
    }
    let rest = match type_at(line) {
        Some(found) => return check_blob(found, &line[found.len()..]),
        None => after_options(line)?,
    };
    match type_at(rest) {
        Some(found) => check_blob(found, &rest[found.len()..]),
        None if line.contains("ssh-dss ") => Err(KeyLineError::Dsa),
        None => Err(KeyLineError::Type),
    }
}

fn type_at(text: &str) -> Option<&'static str> {
    let word = text.split([' ', '\t']).next()?;
    TYPES.into_iter().find(|known| *known == word)
}

/// What follows the options: they end at the first blank outside quotes.
fn after_options(line: &str) -> Result<&str, KeyLineError> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b' ' | b'\t' if !quoted => return Ok(line[at..].trim_start()),
            _ => {}
        }
    }
    Err(if quoted { KeyLineError::Options } else { KeyLineError::Type })
}

/// The blob's first string is the type once more, and something follows it.
fn check_blob(found: &'static str, rest: &str) -> Result<&'static str, KeyLineError> {
    let encoded = rest.split_ascii_whitespace().next().ok_or(KeyLineError::Blob)?;
    let blob = STANDARD.decode(encoded).map_err(|_| KeyLineError::Blob)?;
    let mut rest = blob.as_slice();
    if string(&mut rest) != Some(found.as_bytes()) {
        return Err(KeyLineError::Blob);
    }
    let fields = match found {
        "ssh-ed25519" => {
            if string(&mut rest).is_none_or(|key| key.len() != 32) {
                return Err(KeyLineError::Blob);
            }
            0
        }
        // Exponent and modulus; curve and point; at least one field of the other types.
        "ssh-rsa" | "ecdsa-sha2-nistp256" | "ecdsa-sha2-nistp384" | "ecdsa-sha2-nistp521" => 2,
        _ => 1,
    };
    for _ in 0..fields {
        string(&mut rest).filter(|s| !s.is_empty()).ok_or(KeyLineError::Blob)?;
    }
    Ok(found)
}

/// Takes a string of the SSH wire form (RFC 4251, section 5).
fn string<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let (string, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
    *rest = after;
    Some(string)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ED25519: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ4yJHhSYAb3RwEwsbxA2zMlrMMhn31iSlbiEvYr1LvR";

    #[test]
    fn a_line_is_taken_with_and_without_options_and_comment() {
        for line in [
            ED25519.to_owned(),
            format!("{ED25519} someone@somewhere and more"),
            format!("no-pty,command=\"echo \\\"a b\\\" ssh-rsa\" {ED25519} x"),
            format!("from=\"10.0.0.0/8\"\t{ED25519}"),
        ] {
            assert_eq!(key_type(&line), Ok("ssh-ed25519"), "{line}");
        }
    }

    #[test]
    fn what_sshd_would_not_take_is_refused_with_its_reason() {
        use KeyLineError::*;
        for (line, why) in [
            ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n", Private),
            ("PuTTY-User-Key-File-3: ssh-ed25519", Private),
            ("---- BEGIN SSH2 PUBLIC KEY ----", OtherForm),
            ("", Empty),
            ("# a comment", Empty),
            ("ssh-dss AAAAB3NzaC1kc3MAAACB x", Dsa),
            ("ssh-ed25519", Blob),
            ("ssh-ed25519 AAAA", Blob),
            ("ssh-ed25519 %%%", Blob),
            ("ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIJ4yJHhSYAb3RwEwsbxA2zMlrMMhn31iSlbiEvYr1LvR", Blob),
            ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ4yJHhSYAb3RwEw", Blob),
            ("command=\"open ssh-ed25519 AAAA", Options),
            ("hunter2", Type),
        ] {
            assert_eq!(key_type(line), Err(why), "{line}");
        }
        let two = format!("{ED25519}\n{ED25519}");
        assert_eq!(key_type(&two), Err(Lines));
        assert_eq!(key_type(&"x".repeat(LONGEST + 1)), Err(Long));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,300}") {
            let _ = key_type(&text);
            let _ = key_type(&format!("ssh-rsa {text}"));
        }

        #[test]
        fn no_blob_makes_the_parser_panic(blob in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = key_type(&format!("ssh-rsa {}", STANDARD.encode(blob)));
        }
    }
}
