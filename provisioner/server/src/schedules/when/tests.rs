//! When schedules are due.

use proptest::prelude::*;
use time::Month;

use super::*;

fn utc(year: i32, month: u8, day: u8, hour: u8, minute: u8) -> OffsetDateTime {
    let date = Date::from_calendar_date(year, Month::try_from(month).unwrap(), day).unwrap();
    date.with_hms(hour, minute, 0).unwrap().assume_utc()
}

fn ms(at: OffsetDateTime) -> u64 {
    u64::try_from(at.unix_timestamp()).unwrap() * 1000
}

fn next(text: &str, after: OffsetDateTime) -> OffsetDateTime {
    let next = When::parse(text).unwrap().next_after(ms(after)).unwrap();
    OffsetDateTime::from_unix_timestamp(i64::try_from(next / 1000).unwrap()).unwrap()
}

#[test]
fn each_field_is_followed() {
    let begin = utc(2026, 1, 1, 0, 0); // A Thursday.
    assert_eq!(next("* * * * *", begin), utc(2026, 1, 1, 0, 1));
    assert_eq!(next("30 2 * * *", begin), utc(2026, 1, 1, 2, 30));
    assert_eq!(next("0 0 * * *", begin), utc(2026, 1, 2, 0, 0));
    assert_eq!(next("0 */6 * * *", begin), utc(2026, 1, 1, 6, 0));
    assert_eq!(next("15,45 8-17/3 * * *", begin), utc(2026, 1, 1, 8, 15));
    assert_eq!(next("0 3 * * 0", begin), utc(2026, 1, 4, 3, 0));
    assert_eq!(next("0 3 * * 7", begin), utc(2026, 1, 4, 3, 0));
    assert_eq!(next("0 3 15 2 *", begin), utc(2026, 2, 15, 3, 0));
    assert_eq!(next("0 0 29 2 *", begin), utc(2028, 2, 29, 0, 0));
}

#[test]
fn of_two_days_that_are_restricted_one_is_enough_as_crontab_says() {
    let begin = utc(2026, 1, 1, 0, 0);
    assert_eq!(next("0 3 13 * 5", begin), utc(2026, 1, 2, 3, 0));
    assert_eq!(next("0 3 13 * 5", utc(2026, 1, 9, 3, 0)), utc(2026, 1, 13, 3, 0));
    // A step of all is no restriction.
    assert_eq!(next("0 3 */2 * 5", begin), utc(2026, 1, 9, 3, 0));
}

#[test]
fn a_time_of_day_is_each_day_and_utc_may_be_said() {
    let begin = utc(2026, 1, 1, 2, 30);
    assert_eq!(next("02:30", begin), utc(2026, 1, 2, 2, 30));
    assert_eq!(next("2:31 UTC", begin), utc(2026, 1, 1, 2, 31));
    assert_eq!(next("0 3 * * * UTC", begin), utc(2026, 1, 1, 3, 0));
    assert_eq!(When::parse("00:00"), When::parse("0 0 * * *"));
    assert_eq!(When::parse("24:00"), Err(WhenError::Clock("24:00".into())));
}

#[test]
fn every_so_often_is_at_the_same_minutes_whenever_it_was_last() {
    let begin = utc(2026, 1, 1, 5, 59);
    assert_eq!(next("every 1m", begin), utc(2026, 1, 1, 6, 0));
    assert_eq!(next("every 15m", utc(2026, 1, 1, 6, 1)), utc(2026, 1, 1, 6, 15));
    assert_eq!(When::parse("every 1d"), When::parse("every 24h"));
    assert_eq!(next("every 6h", begin), utc(2026, 1, 1, 6, 0));
    assert_eq!(next("every 6h", utc(2026, 1, 1, 6, 0)), utc(2026, 1, 1, 12, 0));
}

#[test]
fn what_is_no_time_table_is_refused() {
    for text in [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "-1 * * * *",
        "5/10 * * * *",
        "*/0 * * * *",
        "7-3 * * * *",
        "a * * * *",
        "1,,2 * * * *",
        "+1 * * * *",
        "every 0h",
        "every 673h",
        "every 29d",
        "every 40321m",
        "every 4294967295d",
        "every 6",
        "every 6s",
        "every +6h",
        "every 6é",
        "every ",
        "24:00",
        "12:60",
        "1:5",
        "001:05",
        ":",
        "12:00 CET",
        "UTC",
        "*/+5 * * * *",
        "5/1 * * * *",
        "every h",
        "every -1h",
        "@daily",
        "* * * jan *",
        "0 0 * * 1/2",
    ] {
        assert!(When::parse(text).is_err(), "{text}");
    }
    assert_eq!(When::parse("0 0 30 2 *"), Err(WhenError::Never));
    assert_eq!(When::parse("0 0 31 4,6,9,11 *"), Err(WhenError::Never));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(every )?[0-9*/,\\-: a-zé]{0,24}( UTC)?", at in any::<u64>()) {
        if let Ok(when) = When::parse(&text) {
            let _ = when.next_after(at);
        }
    }

    #[test]
    fn what_comes_next_is_later_fits_and_nothing_between_does(
        minute in 0..60u8, hour in 0..24u8, day in 0..7u8, from in 0..4_000_000_000_000u64,
    ) {
        let when = When::parse(&format!("{minute} {hour} * * {day}")).unwrap();
        let next = when.next_after(from).unwrap();
        prop_assert!(next > from && next - from <= 7 * 24 * 60 * MINUTE_MS);
        let at = OffsetDateTime::from_unix_timestamp((next / 1000) as i64).unwrap();
        prop_assert_eq!((at.minute(), at.hour()), (minute, hour));
        prop_assert_eq!(at.weekday().number_days_from_sunday(), day);
        prop_assert_eq!(when.next_after(next - 1), Some(next));
    }

    #[test]
    fn every_minute_between_is_looked_at_where_months_are_left_out(
        months in prop::collection::btree_set(1..=12u8, 1..4), day in 1..=28u8,
        from in 0..4_000_000_000_000u64,
    ) {
        let list: Vec<String> = months.iter().map(ToString::to_string).collect();
        let when = When::parse(&format!("0 0 {day} {} *", list.join(","))).unwrap();
        let next = when.next_after(from).unwrap();
        // The slow way: day by day.
        let day_ms = 24 * 60 * MINUTE_MS;
        let slow = (from / day_ms + 1..).find(|number| {
            let at = i64::try_from(number * day_ms / 1000).unwrap();
            let at = OffsetDateTime::from_unix_timestamp(at).unwrap();
            at.day() == day && months.contains(&u8::from(at.month()))
        });
        prop_assert_eq!(Some(next), slow.map(|number| number * day_ms));
    }

    #[test]
    fn what_is_every_so_often_comes_so_often_and_never_drifts(
        minutes in 1..=MOST_MINUTES, from in 0..4_000_000_000_000u64,
    ) {
        let when = When::parse(&format!("every {minutes}m")).unwrap();
        let step = u64::from(minutes) * MINUTE_MS;
        let next = when.next_after(from).unwrap();
        prop_assert!(next > from && next - from <= step && next.is_multiple_of(step));
        prop_assert_eq!(when.next_after(next), Some(next + step));
    }
}
