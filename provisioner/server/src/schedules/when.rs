//! When a schedule is due: a time of day, five fields as crontab(5) has them, or every so often. Pure.
//!
//! All times are UTC, which may be said behind them (`02:30 UTC`): days have 24 hours, and no time
//! comes twice or never. What is taken:
//!
//! | Form | Due |
//! |---|---|
//! | `02:30` | each day at this time |
//! | `30 2 * * 0` | at the minutes that fit |
//! | `every 15m`, `every 6h`, `every 2d` | each so often, counted from 1970-01-01T00:00:00Z |
//!
//! | Field | Values |
//! |---|---|
//! | minute, hour | 0-59, 0-23 |
//! | day of month, month | 1-31, 1-12 |
//! | day of week | 0-7, of which 0 and 7 are Sunday |
//!
//! A field is `*`, a number, a range `2-5`, each with a step (`*/6`, `0-20/4`), or several with commas.
//! As in crontab(5), where both days are restricted one of them is enough. Names, `@daily` and the
//! like are not taken.

use time::{Date, Duration, OffsetDateTime, Time};

/// A minute, in milliseconds.
const MINUTE_MS: u64 = 60_000;
/// The most minutes between two runs: four weeks.
const MOST_MINUTES: u32 = 28 * 24 * 60;
/// How many days and months ahead a run is looked for: a leap day is due within eight years, or never.
const HORIZON: u32 = 8 * 366 + 1;

/// A text that is no time table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WhenError {
    /// It has other than five fields.
    #[error(
        "a time is '02:30', 'every 6h', or five fields (minute, hour, day of month, month, day of \
         week)"
    )]
    Fields,
    /// A field is none.
    #[error("{text:?} is no {field}: {least} to {most}, '*', ranges, steps and lists of these")]
    Field { field: &'static str, text: String, least: u8, most: u8 },
    /// It is no time of day.
    #[error("{0:?} is no time of day: 00:00 to 23:59")]
    Clock(String),
    /// It names no day that there is.
    #[error("there is no such day in any year")]
    Never,
    /// So often it can't be.
    #[error("every 1m to {MOST_MINUTES}m, and the same in hours 'h' or days 'd'")]
    Every,
}

/// When something is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum When {
    /// At these minutes.
    Table(Table),
    /// Each so many minutes, counted from 1970: it does not drift.
    Every(u32),
}

/// One bit for each value that fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether either of the days is enough.
    is_either: bool,
}

impl When {
    /// Reads a time table.
    pub(crate) fn parse(text: &str) -> Result<Self, WhenError> {
        let text = text.strip_suffix(" UTC").unwrap_or(text).trim_ascii();
        if let Some(text) = text.strip_prefix("every ") {
            return every(text).map(Self::Every).ok_or(WhenError::Every);
        }
        if text.contains(':') {
            let (hour, minute) = clock(text).ok_or_else(|| WhenError::Clock(cut(text)))?;
            return Self::parse(&format!("{minute} {hour} * * *"));
        }
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(WhenError::Fields);
        };
        let mut weekdays = bits("day of week", weekday, 0, 7)?;
        if weekdays & 1 << 7 != 0 {
            weekdays |= 1;
        }
        let table = Table {
            minutes: bits("minute", minute, 0, 59)?,
            hours: bits("hour", hour, 0, 23)?,
            days: bits("day of month", day, 1, 31)?,
            months: bits("month", month, 1, 12)?,
            weekdays,
            is_either: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        // The year does not matter, but for leap days.
        let when = Self::Table(table);
        when.next_after(0).ok_or(WhenError::Never)?;
        Ok(when)
    }

    /// The first time after this one, in milliseconds since 1970; None where none can be counted.
    pub(crate) fn next_after(&self, ms: u64) -> Option<u64> {
        match self {
            Self::Every(minutes) => {
                let step = u64::from(*minutes) * MINUTE_MS;
                (ms / step + 1).checked_mul(step)
            }
            Self::Table(table) => table.next_after(ms),
        }
    }
}

impl Table {
    fn next_after(&self, ms: u64) -> Option<u64> {
        let minute = ms / MINUTE_MS + 1;
        let seconds = i64::try_from(minute.checked_mul(60)?).ok()?;
        let begin = OffsetDateTime::from_unix_timestamp(seconds).ok()?;
        let mut earliest = Some(begin.time());
        let mut date = begin.date();
        for _ in 0..HORIZON {
            if !self.has_month(date) {
                // The days of a month that does not fit are not looked at one by one.
                let first = date.replace_day(1).ok()?;
                date =
                    first.checked_add(Duration::days(date.month().length(date.year()).into()))?;
                earliest = None;
                continue;
            }
            if self.has_day(date)
                && let Some(time) = self.first_in_day(earliest)
            {
                let at = date.with_time(time).assume_utc().unix_timestamp();
                return u64::try_from(at).ok()?.checked_mul(1000);
            }
            date = date.checked_add(Duration::DAY)?;
            earliest = None;
        }
        None
    }

    fn has_month(&self, date: Date) -> bool {
        has(self.months, u8::from(date.month()))
    }

    /// Whether the day fits, of a month that does.
    fn has_day(&self, date: Date) -> bool {
        let day = has(self.days, date.day());
        let weekday = has(self.weekdays, date.weekday().number_days_from_sunday());
        if self.is_either { day || weekday } else { day && weekday }
    }

    /// The first time of a day, from one on.
    fn first_in_day(&self, from: Option<Time>) -> Option<Time> {
        let (hour, minute) = from.map_or((0, 0), |from| (from.hour(), from.minute()));
        let next = |bits: u64, from: u8, end: u8| (from..end).find(|at| has(bits, *at));
        if has(self.hours, hour)
            && let Some(minute) = next(self.minutes, minute, 60)
        {
            return Time::from_hms(hour, minute, 0).ok();
        }
        let hour = next(self.hours, hour + 1, 24)?;
        Time::from_hms(hour, next(self.minutes, 0, 60)?, 0).ok()
    }
}

fn has(bits: u64, value: u8) -> bool {
    bits & 1 << value != 0
}

/// A number of these digits alone: no sign, no blank.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

/// The minutes of `15m`, `6h` or `2d`.
fn every(text: &str) -> Option<u32> {
    let minutes = match text.char_indices().next_back()? {
        (end, 'm') => number::<u32>(&text[..end])?,
        (end, 'h') => number::<u32>(&text[..end])?.checked_mul(60)?,
        (end, 'd') => number::<u32>(&text[..end])?.checked_mul(24 * 60)?,
        _ => return None,
    };
    Some(minutes).filter(|minutes| (1..=MOST_MINUTES).contains(minutes))
}

/// The hour and minute of `02:30`.
fn clock(text: &str) -> Option<(u8, u8)> {
    let (hour, minute) = text.split_once(':')?;
    let is_clock = (1..=2).contains(&hour.len()) && minute.len() == 2;
    let (hour, minute) = (number(hour)?, number(minute)?);
    (is_clock && hour < 24 && minute < 60).then_some((hour, minute))
}

/// As much of a text as is told back.
fn cut(text: &str) -> String {
    text.chars().take(40).collect()
}

/// The values that a field names.
fn bits(field: &'static str, text: &str, least: u8, most: u8) -> Result<u64, WhenError> {
    let wrong = || WhenError::Field { field, text: cut(text), least, most };
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            None => (part, 1),
            Some((range, step)) => {
                let step = number::<u8>(step).filter(|step| *step > 0).ok_or_else(wrong)?;
                (range, step)
            }
        };
        let number = |text: &str| {
            let number = number::<u8>(text).filter(|number| (least..=most).contains(number));
            number.ok_or_else(wrong)
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((first, last)) => (number(first)?, number(last)?),
            // `5/10` is no range with a step.
            None if part.contains('/') => return Err(wrong()),
            None => (number(range)?, number(range)?),
        };
        if first > last {
            return Err(wrong());
        }
        for value in (first..=last).step_by(step.into()) {
            bits |= 1 << value;
        }
    }
    Ok(bits)
}

#[cfg(test)]
mod tests;
