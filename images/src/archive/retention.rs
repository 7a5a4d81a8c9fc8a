//! Which backups are kept: the newest ones, and the newest of each hour, day, week, month and year.
//!
//! Pure: from times to decisions. Days begin at midnight UTC, weeks on Monday (ISO 8601).

use std::collections::BTreeSet;

use super::ImageId;

/// How many of each are kept. All zero keeps everything: a policy that nobody has set deletes
/// nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retention {
    /// The newest ones.
    pub last: usize,
    /// The newest of each of so many hours that have any.
    pub hourly: usize,
    /// The newest of each of so many days that have any.
    pub daily: usize,
    /// The newest of each of so many weeks that have any.
    pub weekly: usize,
    /// The newest of each of so many months that have any.
    pub monthly: usize,
    /// The newest of each of so many years that have any.
    pub yearly: usize,
}

/// A point in time that an image is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dated {
    /// The image.
    pub id: ImageId,
    /// Milliseconds since 1970.
    pub created_ms: u64,
}

/// Numbers the period that a time is in.
type Period = fn(u64) -> u64;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl Retention {
    /// Which of these images are not kept. They should be of one volume; their order is free.
    pub fn dropped(&self, images: &[Dated]) -> Vec<ImageId> {
        if *self == Self::default() {
            return Vec::new();
        }
        let mut newest: Vec<Dated> = images.to_vec();
        newest.sort_by_key(|image| std::cmp::Reverse((image.created_ms, image.id)));
        let mut kept: BTreeSet<ImageId> =
            newest.iter().take(self.last).map(|image| image.id).collect();
        let periods: [(usize, Period); 5] = [
            (self.hourly, hour),
            (self.daily, day),
            (self.weekly, week),
            (self.monthly, month),
            (self.yearly, year),
        ];
        for (count, period) in periods {
            let mut seen = BTreeSet::new();
            for image in &newest {
                let of = period(image.created_ms);
                if seen.len() >= count && !seen.contains(&of) {
                    break;
                }
                if seen.insert(of) {
                    kept.insert(image.id);
                }
            }
        }
        images.iter().map(|image| image.id).filter(|id| !kept.contains(id)).collect()
    }
}

fn hour(ms: u64) -> u64 {
    ms / (DAY_MS / 24)
}

fn day(ms: u64) -> u64 {
    ms / DAY_MS
}

fn week(ms: u64) -> u64 {
    // 1970-01-01 was a Thursday.
    (day(ms) + 3) / 7
}

/// Months since the year 0, by Howard Hinnant's `civil_from_days`: years that begin in March have
/// the leap day at their end.
fn month(ms: u64) -> u64 {
    let days = day(ms) + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    (era * 400 + year_of_era) * 12 + from_march + 2
}

fn year(ms: u64) -> u64 {
    month(ms) / 12
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOON: u64 = DAY_MS / 2;

    fn image(number: u64, created_ms: u64) -> Dated {
        let mut bytes = [0; 16];
        bytes[8..].copy_from_slice(&number.to_be_bytes());
        Dated { id: ImageId::new(bytes), created_ms }
    }

    /// One a day at noon from this day on.
    fn daily(first_day: u64, count: u64) -> Vec<Dated> {
        (0..count).map(|n| image(n, (first_day + n) * DAY_MS + NOON)).collect()
    }

    fn kept(policy: Retention, images: &[Dated]) -> Vec<u64> {
        let dropped = policy.dropped(images);
        let kept = images.iter().filter(|image| !dropped.contains(&image.id));
        kept.map(|image| day(image.created_ms)).collect()
    }

    /// 2026-01-01, a Thursday.
    const NEW_YEAR: u64 = 20_454;

    #[test]
    fn a_policy_that_nobody_has_set_drops_nothing() {
        assert_eq!(Retention::default().dropped(&daily(NEW_YEAR, 9)), []);
    }

    #[test]
    fn the_newest_are_kept() {
        let policy = Retention { last: 2, ..Retention::default() };
        assert_eq!(kept(policy, &daily(0, 5)), [3, 4]);
    }

    #[test]
    fn of_each_day_the_newest_is_kept() {
        let images: Vec<_> = (0..9).map(|n| image(n, n * DAY_MS / 3)).collect();
        let policy = Retention { daily: 2, ..Retention::default() };
        let dropped = policy.dropped(&images);
        assert!(!dropped.contains(&images[8].id) && !dropped.contains(&images[5].id));
        assert_eq!(dropped.len(), 7);
    }

    #[test]
    fn weeks_begin_on_monday_and_months_on_their_first() {
        // 2026-01-01 is a Thursday: the Sundays are the 4th, 11th, 18th and 25th.
        let january = daily(NEW_YEAR, 31);
        let weekly = Retention { weekly: 3, ..Retention::default() };
        assert_eq!(kept(weekly, &january), [NEW_YEAR + 17, NEW_YEAR + 24, NEW_YEAR + 30]);
        let monthly = Retention { monthly: 3, ..Retention::default() };
        // To 2026-03-10: the last days of January and February, and the last of all.
        let days = daily(NEW_YEAR, 69);
        assert_eq!(kept(monthly, &days), [NEW_YEAR + 30, NEW_YEAR + 58, NEW_YEAR + 68]);
        // 2024 is a leap year: 2024-02-29 is day 19782.
        assert_eq!(month(19_782 * DAY_MS) + 1, month(19_783 * DAY_MS));
        assert_eq!(month(0), 1970 * 12);
    }

    #[test]
    fn of_each_hour_and_each_year_the_newest_is_kept() {
        let images: Vec<_> = (0..9).map(|n| image(n, n * DAY_MS / 48)).collect();
        let policy = Retention { hourly: 2, ..Retention::default() };
        let dropped = policy.dropped(&images);
        assert!(!dropped.contains(&images[8].id) && !dropped.contains(&images[7].id));
        assert_eq!(dropped.len(), 7);
        // 2025-12-31 is the day before the new year, and the 31st of 2026 its 365th.
        let days = daily(NEW_YEAR - 40, 60);
        let yearly = Retention { yearly: 2, ..Retention::default() };
        assert_eq!(kept(yearly, &days), [NEW_YEAR - 1, NEW_YEAR + 19]);
        assert_eq!((year((NEW_YEAR - 1) * DAY_MS), year(NEW_YEAR * DAY_MS)), (2025, 2026));
        // From the first month of a year to its last.
        assert_eq!(year((NEW_YEAR + 364) * DAY_MS), 2026);
        assert_eq!(year((NEW_YEAR + 365) * DAY_MS), 2027);
    }

    #[test]
    fn days_without_a_backup_do_not_count() {
        let images = [image(1, 0), image(2, 40 * DAY_MS), image(3, 90 * DAY_MS)];
        let policy = Retention { daily: 3, ..Retention::default() };
        assert_eq!(policy.dropped(&images), []);
    }

    proptest! {
        #[test]
        fn a_policy_keeps_what_it_promises_and_no_more(
            times in prop::collection::vec(0..200 * DAY_MS, 1..80),
            last in 0..5usize, daily in 0..5usize, weekly in 0..5usize, monthly in 0..5usize,
            hourly in 0..5usize, yearly in 0..3usize,
        ) {
            let policy = Retention { last, hourly, daily, weekly, monthly, yearly };
            let images: Vec<_> = (0u64..).zip(&times).map(|(n, ms)| image(n, *ms)).collect();
            let dropped = policy.dropped(&images);
            let kept = images.len() - dropped.len();
            if policy != Retention::default() {
                prop_assert!(kept <= last + hourly + daily + weekly + monthly + yearly);
                prop_assert!(kept >= last.min(images.len()));
                // The newest of all is always kept.
                let newest = images.iter().max_by_key(|i| (i.created_ms, i.id)).unwrap();
                prop_assert!(!dropped.contains(&newest.id));
            }
            // What was kept once is kept again when nothing new came.
            let left: Vec<_> =
                images.iter().filter(|i| !dropped.contains(&i.id)).copied().collect();
            prop_assert_eq!(policy.dropped(&left), Vec::new());
        }
    }
}
