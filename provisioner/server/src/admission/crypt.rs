//! Password hashes as crypt(5) has them, and nothing that could be a password itself.
//!
//! Taken: yescrypt `$y$`, gost-yescrypt `$gy$`, bcrypt `$2a$ $2b$ $2y$`, SHA-512 `$6$`, SHA-256
//! `$5$`. Each has its exact form, since a plain password that begins with '$' must not pass.
//! DES and MD5 hashes are refused: both are searched through in hours.

/// Why a text is no hash. Says nothing of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HashError {
    #[error("this is no crypt(3) hash; a plain password is never stored")]
    NotAHash,
    #[error("this is an MD5 or DES hash, which are too weak to keep")]
    Weak,
    #[error("this begins as a crypt(3) hash does, but its form is not right: it may be cut short")]
    Form,
}

/// Checks that a text is a crypt(3) hash of a kind that keeps its password.
pub(super) fn check(text: &str) -> Result<(), HashError> {
    let Some(rest) = text.strip_prefix('$') else {
        return Err(if looks_like_des(text) { HashError::Weak } else { HashError::NotAHash });
    };
    let (method, rest) = rest.split_once('$').ok_or(HashError::NotAHash)?;
    let parts: Vec<&str> = rest.split('$').collect();
    let good = match (method, parts.as_slice()) {
        ("1" | "md5" | "sha1", _) => return Err(HashError::Weak),
        ("6", [salt, hash]) => is_salt(salt) && is_coded(hash, 86),
        ("6", [rounds, salt, hash]) => are_rounds(rounds) && is_salt(salt) && is_coded(hash, 86),
        ("5", [salt, hash]) => is_salt(salt) && is_coded(hash, 43),
        ("5", [rounds, salt, hash]) => are_rounds(rounds) && is_salt(salt) && is_coded(hash, 43),
        ("2a" | "2b" | "2y", [cost, hash]) => {
            cost.len() == 2
                && cost.parse().is_ok_and(|cost: u8| (4..=31).contains(&cost))
                && is_coded(hash, 53)
        }
        ("y" | "gy", [parameters, salt, hash]) => {
            (1..=20).contains(&parameters.len())
                && is_coded(parameters, parameters.len())
                && salt.len() <= 86
                && is_coded(salt, salt.len())
                && is_coded(hash, 43)
        }
        ("y" | "gy" | "5" | "6" | "2a" | "2b" | "2y", _) => false,
        _ => return Err(HashError::NotAHash),
    };
    if good { Ok(()) } else { Err(HashError::Form) }
}

/// `n` characters of crypt's own base 64.
fn is_coded(text: &str, n: usize) -> bool {
    text.len() == n && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'/')
}

fn is_salt(text: &str) -> bool {
    (1..=16).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() && b != b':' && b != b'$')
}

fn are_rounds(text: &str) -> bool {
    text.strip_prefix("rounds=")
        .and_then(|number| number.parse().ok())
        .is_some_and(|number: u32| (1000..=999_999_999).contains(&number))
}

fn looks_like_des(text: &str) -> bool {
    text.starts_with('_') && is_coded(&text[1..], 19)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hashes_of_todays_methods_are_taken() {
        let long = "a".repeat(86);
        let short = "./".repeat(21) + "A";
        for hash in [
            format!("$6$saltsalt${long}"),
            format!("$6$rounds=656000$salt${long}"),
            format!("$5$salt${short}"),
            format!("$y$j9T$F5Jx5fExrKuPp53xLKQ..1${short}"),
            format!("$gy$j9T$F5Jx5fExrKuPp53xLKQ..1${short}"),
            format!("$2b$12${}", "a".repeat(53)),
        ] {
            assert_eq!(check(&hash), Ok(()), "{hash}");
        }
    }

    #[test]
    fn passwords_weak_hashes_and_torn_ones_are_refused() {
        let long = "a".repeat(86);
        for (text, why) in [
            ("hunter2", HashError::NotAHash),
            ("", HashError::NotAHash),
            ("$", HashError::NotAHash),
            ("$ecret$money$", HashError::NotAHash),
            ("$6$not-a-hash", HashError::Form),
            ("$1$salt$0123456789012345678901", HashError::Weak),
            ("$2b$99$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", HashError::Form),
            ("_J9..rasmBYk8r9AiWNc", HashError::Weak),
        ] {
            assert_eq!(check(text), Err(why), "{text}");
        }
        assert_eq!(check(&format!("$6$salt${}", &long[1..])), Err(HashError::Form));
        assert_eq!(check(&format!("$6$salt${long}:0:0")), Err(HashError::Form));
        assert_eq!(check(&format!("$6$rounds=1$salt${long}")), Err(HashError::Form));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_check_panic(text in "[$_]?[126ygab]{0,2}[$]?.{0,100}") {
            let _ = check(&text);
        }
    }
}
