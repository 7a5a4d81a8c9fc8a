//! A public key by which a Windows guest is asked for a password, as Google's tools ask for one.
//!
//! In JSON it has the names that stand in the metadata of Compute Engine: each line of the attribute
//! `windows-keys` is one ("Automating Windows password generation" in Google's documentation). The
//! guest makes a password for the user, encrypts it to the key and answers on its fourth serial port.

use serde::{Deserialize, Serialize};

/// An ask for a password, and the key that it is to be encrypted to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WindowsKey {
    /// Whose password.
    pub user_name: Box<str>,
    /// Of RSA, in base64, the most significant byte first.
    pub modulus: Box<str>,
    /// The same.
    pub exponent: Box<str>,
    /// From then on the ask is void: a time by RFC 3339.
    pub expire_on: Box<str>,
    /// Who asks; for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Box<str>>,
    /// OAEP's: `sha1`, `sha256` or `sha512`; `sha1` without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_function: Option<Box<str>>,
}

impl WindowsKey {
    /// The most of an instance.
    pub const COUNT_MAX: usize = 16;
    /// The shortest modulus, in bytes: 2,048 bits.
    pub const MODULUS_MIN: usize = 256;
    /// The longest modulus, in bytes: 4,096 bits.
    pub const MODULUS_MAX: usize = 512;
    /// The hash functions that are known.
    pub const HASHES: [&str; 3] = ["sha1", "sha256", "sha512"];

    /// When the ask becomes void, in seconds since 1970-01-01T00:00:00Z; None where the text is no
    /// time of these centuries by RFC 3339.
    pub fn expires_at(&self) -> Option<u64> {
        Self::time(&self.expire_on)
    }

    /// A time by RFC 3339, as [`WindowsKey::expires_at`] gives it.
    pub fn time(text: &str) -> Option<u64> {
        seconds(text)
    }
}

/// `2026-11-26T05:24:30Z`, with a fraction or an offset if need be, to seconds since 1970.
fn seconds(text: &str) -> Option<u64> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
    };
    let mark = |at: usize, wanted: &[u8]| {
        text.as_bytes().get(at).filter(|byte| wanted.contains(byte)).map(drop)
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    for (at, wanted) in [(4, "-"), (7, "-"), (10, "Tt "), (13, ":"), (16, ":")] {
        mark(at, wanted.as_bytes())?;
    }
    let ranges = [(year, 1970, 9999), (month, 1, 12), (day, 1, 31), (hour, 0, 23), (minute, 0, 59)];
    if ranges.iter().any(|(value, least, most)| value < least || value > most) || second > 60 {
        return None;
    }
    let mut rest = text.get(19..)?;
    if let Some(fraction) = rest.strip_prefix('.') {
        rest = fraction.trim_start_matches(|digit: char| digit.is_ascii_digit());
        if rest.len() == fraction.len() {
            return None;
        }
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    u64::try_from(seconds - offset(rest)?).ok()
}

/// `Z`, or hours and minutes, in seconds.
fn offset(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let is_two = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_two(hours) || !is_two(minutes) {
        return None;
    }
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

/// Days from 1970-01-01 to a day of the Gregorian calendar: years begin in March, so that a leap
/// day is a year's last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_what_date_says() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:00:00Z", 951_825_600),
            ("2026-11-26T05:24:30Z", 1_795_670_670),
            ("2026-11-26T05:24:30.123456789Z", 1_795_670_670),
            ("2026-11-26T10:54:30+05:30", 1_795_670_670),
            ("2026-11-25T21:24:30-08:00", 1_795_670_670),
            ("2100-03-01t00:00:00z", 4_107_542_400),
        ] {
            assert_eq!(seconds(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none_and_does_no_harm() {
        for text in [
            "",
            "soon",
            "2026-11-26",
            "2026-11-26T05:24:30",
            "2026-13-26T05:24:30Z",
            "2026-11-26T25:24:30Z",
            "2026-11-26T05:24:30.Z",
            "2026-11-26T05:24:30+5",
            "2026-11-26T05:24:30é",
            "+026-11-26T05:24:30Z",
            "1960-11-26T05:24:30Z",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn its_names_are_googles() {
        let text = r#"{"userName":"ops","modulus":"AQ==","exponent":"AQAB","expireOn":"2026-11-26T05:24:30Z","email":"a@b"}"#;
        let key: WindowsKey = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&key).unwrap(), text);
    }
}
