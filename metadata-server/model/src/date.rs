//! The calendar date of a moment, in UTC, and the moment of a date that is written by RFC 3339.
//!
//! Here, since nothing that uses it has a clock or needs a time zone: the arithmetic is shorter
//! than a dependency. Proleptic Gregorian calendar, no leap seconds, as POSIX time has it. Years
//! begin in March, so that a leap day is a year's last; the first is 0000, and 400 of them are
//! 146,097 days.

/// Days from 0000-03-01 to 1970-01-01.
const BEFORE_1970: i64 = 719_468;

/// A date and a time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    /// Four digits.
    pub year: u64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
}

impl Date {
    /// The date of a moment, in seconds since 1970-01-01T00:00:00Z. Moments beyond the year 9999
    /// are taken for its last second, so that every year has four digits.
    pub fn of(seconds: u64) -> Self {
        const LAST: u64 = 253_402_300_799;
        let seconds = seconds.min(LAST);
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        let shifted = days + BEFORE_1970.unsigned_abs();
        let (era, of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * of_year + 2) / 153;
        let day = of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        Self {
            year,
            month: month as u8,
            day: day as u8,
            hour: (rest / 3_600) as u8,
            minute: (rest / 60 % 60) as u8,
            second: (rest % 60) as u8,
        }
    }

    /// As in `2026-11-23T12:00:00Z` (RFC 3339).
    pub fn rfc3339(self) -> String {
        let Self { year, month, day, hour, minute, second } = self;
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

/// `2026-11-26T05:24:30Z`, with a fraction or an offset if need be (RFC 3339, section 5.6), in
/// seconds since 1970-01-01T00:00:00Z; None where the text is no time, or one before that.
pub fn seconds(text: &str) -> Option<u64> {
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

/// Days from 1970-01-01 to a day.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + of_year - BEFORE_1970
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_agree_with_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
            (u64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(Date::of(seconds).rfc3339(), text);
        }
    }

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
}
