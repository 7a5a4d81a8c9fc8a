//! Texts of others on a terminal: no control characters, times and sizes for people.
//!
//! Reports and host keys were written by guests. A guest must not move the operator's cursor,
//! retitle the window or fake a line of output, so nothing is shown unescaped.

use std::{fmt::Write, time::Duration};

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};
use unicode_width::UnicodeWidthChar;

/// One line of text that is safe to show: control characters and those that reorder text are
/// written as `\u{…}`, line breaks as `\n`.
pub fn line(text: &str) -> String {
    escape(text, false)
}

/// Like [`line`], but line breaks stay.
pub fn lines(text: &str) -> String {
    escape(&text.replace("\r\n", "\n"), true)
}

fn escape(text: &str, keep_breaks: bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' if keep_breaks => safe.push(c),
            '\t' if keep_breaks => safe.push_str("    "),
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            _ if c.is_control() || is_invisible(c) => {
                let _ = write!(safe, "{}", c.escape_unicode());
            }
            _ => safe.push(c),
        }
    }
    safe
}

/// Marks that reorder or hide the text around them ("Trojan source").
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// How many columns of a terminal a text takes.
pub fn width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// Milliseconds since 1970 as `2026-11-23T12:00:00Z`; what is beyond the year 9999 as its end.
pub fn timestamp(milliseconds: u64) -> String {
    let seconds = i64::try_from(milliseconds / 1000).unwrap_or(i64::MAX);
    let at =
        OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(PrimitiveDateTime::MAX.assume_utc());
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second) = at.to_hms();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z", u8::from(month))
}

/// The text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no duration; write it as 500ms, 30s, 5m or 1h")]
pub struct DurationError(String);

/// Reads `500ms`, `30s`, `5m`, `1h`; a number alone counts seconds.
pub fn duration(text: &str) -> Result<Duration, DurationError> {
    let wrong = || DurationError(text.chars().take(40).collect());
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let factor = match unit {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).map(Duration::from_millis).ok_or_else(wrong)
}

/// The text is no moment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no moment; write it as 2026-12-31T00:00:00Z")]
pub struct MomentError(String);

/// Reads what [`timestamp`] writes, and gives the seconds since 1970.
pub fn moment(text: &str) -> Result<u64, MomentError> {
    let wrong = || MomentError(text.chars().take(40).collect());
    let form = b"0000-00-00T00:00:00Z";
    let fits = |(given, wanted): (u8, &u8)| match wanted {
        b'0' => given.is_ascii_digit(),
        _ => given == *wanted,
    };
    if text.len() != form.len() || !text.bytes().zip(form).all(fits) {
        return Err(wrong());
    }
    let number = |from: usize, to: usize| text[from..to].parse::<u8>().map_err(|_| wrong());
    let year = text[..4].parse().map_err(|_| wrong())?;
    let month = Month::try_from(number(5, 7)?).map_err(|_| wrong())?;
    let date = Date::from_calendar_date(year, month, number(8, 10)?).map_err(|_| wrong())?;
    let time = Time::from_hms(number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let at = PrimitiveDateTime::new(date, time.map_err(|_| wrong())?).assume_utc();
    u64::try_from(at.unix_timestamp()).map_err(|_| wrong())
}

/// `1 fault`, `2 faults`.
pub fn count(number: usize, one: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {one}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_writes_can_not_steer_the_terminal() {
        assert_eq!(
            line("\u{1b}[2Jroot\r\nok\u{202e}x\u{9b}"),
            "\\u{1b}[2Jroot\\r\\nok\\u{202e}x\\u{9b}"
        );
        assert_eq!(lines("a\r\nb\tc\u{7}"), "a\nb    c\\u{7}");
    }

    #[test]
    fn timestamps_are_dates_of_the_gregorian_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp(seconds * 1000), text);
            assert_eq!(moment(text), Ok(seconds));
        }
        assert_eq!(timestamp(u64::MAX), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for bad in [
            "",
            "2026-12-31",
            "2026-12-31T00:00:00",
            "2026-12-31 00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-12-31T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "2026-12-3\u{661}T00:00:0Z",
        ] {
            assert!(moment(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_have_a_number_and_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        for bad in ["", "s", "1d", "-1s", "1.5s", "99999999999999999999h", "18446744073709551615h"]
        {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
