//! A moment as FAT writes it: a date from 1980 to 2107 and a time in steps of two seconds.
//!
//! FAT has no time zone; it is UTC here, as a guest's clock is before it is told otherwise.

use time::OffsetDateTime;

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Timestamp {
    /// Year since 1980, month, day: 7, 4 and 5 bits.
    pub(super) date: u16,
    /// Hour, minute, half the second: 5, 6 and 5 bits.
    pub(super) time: u16,
    /// What `time` leaves over, in hundredths of a second: 0 or 100.
    pub(super) rest: u8,
}

impl Timestamp {
    /// The first moment that can be written.
    const FIRST: Self = Self { date: 1 << 5 | 1, time: 0, rest: 0 };
    /// The last day.
    const LAST: Self = Self { date: 127 << 9 | 12 << 5 | 31, time: 0, rest: 0 };

    /// A moment in seconds since 1970-01-01T00:00:00Z; the nearest that can be written.
    pub(crate) fn of(seconds: u64) -> Self {
        let Some(moment) = i64::try_from(seconds)
            .ok()
            .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        else {
            return Self::LAST;
        };
        let year = match moment.year() {
            ..1980 => return Self::FIRST,
            year @ 1980..=2107 => (year - 1980) as u16,
            _ => return Self::LAST,
        };
        let (hour, minute, second) = moment.time().as_hms();
        Self {
            date: year << 9 | u16::from(u8::from(moment.month())) << 5 | u16::from(moment.day()),
            time: u16::from(hour) << 11 | u16::from(minute) << 5 | u16::from(second / 2),
            rest: second % 2 * 100,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates_and_halves_of_seconds() {
        // 2026-01-02T03:04:05Z.
        let date = 46 << 9 | 1 << 5 | 2;
        let time = 3 << 11 | 4 << 5 | 2;
        assert_eq!(Timestamp::of(1_767_323_045), Timestamp { date, time, rest: 100 });
    }

    #[test]
    fn what_can_not_be_written_is_the_nearest_that_can() {
        for (seconds, nearest) in [
            (0, Timestamp::FIRST),
            (315_532_799, Timestamp::FIRST),
            (315_532_800, Timestamp::FIRST),
            (4_354_819_200, Timestamp::LAST),
            (u64::MAX, Timestamp::LAST),
        ] {
            assert_eq!(Timestamp::of(seconds), nearest, "{seconds}");
        }
    }
}
