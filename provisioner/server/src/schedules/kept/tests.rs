//! What is deleted after a good backup, and what never is.

use proptest::prelude::*;

use super::*;

const DAY: u64 = 24 * 60 * 60 * 1000;
/// 2026-01-01T12:00:00Z.
const NOON: u64 = 20_454 * DAY + DAY / 2;

fn id(number: usize) -> String {
    format!("img-{number:032x}")
}

fn backup(number: usize, volume: &str, point: &str, taken_ms: u64) -> Backup {
    Backup {
        id: id(number),
        name: None,
        volume: volume.into(),
        point: point.into(),
        taken_ms,
        why_crash: None,
        left_out: None,
        consistency: "crash".into(),
        read: "incremental".into(),
        size: 1,
        schedule: Some("nightly".into()),
    }
}

/// One a day of this volume; the last is the one that was just made.
fn daily(count: usize) -> Vec<Backup> {
    let one = |n: usize| backup(n, "a", &format!("p{n}"), NOON + n as u64 * DAY);
    (0..count).map(one).collect()
}

fn gone(keep: Keep, volumes: &[&str], backups: &[Backup], fresh: &[usize]) -> Vec<String> {
    let volumes: Vec<String> = volumes.iter().map(ToString::to_string).collect();
    let fresh: Vec<String> = fresh.iter().map(|number| id(*number)).collect();
    let gone = dropped(keep, "nightly", &volumes, backups, &fresh);
    gone.iter().map(ToString::to_string).collect()
}

#[test]
fn the_oldest_go_first_and_the_one_just_made_counts() {
    let keep = Keep { last: 3, ..Keep::default() };
    assert_eq!(gone(keep, &["a"], &daily(5), &[4]), [id(0), id(1)]);
    assert_eq!(gone(Keep::default(), &["a"], &daily(5), &[4]), Vec::<String>::new());
}

#[test]
fn nothing_goes_where_the_backup_just_made_is_not_there() {
    let keep = Keep { last: 1, ..Keep::default() };
    for fresh in [&[][..], &[9]] {
        assert_eq!(gone(keep, &["a"], &daily(5), fresh), Vec::<String>::new());
    }
}

#[test]
fn what_others_made_is_neither_deleted_nor_counted() {
    let mut backups = daily(5);
    backups[0].schedule = None;
    backups[1].schedule = Some("weekly".into());
    let keep = Keep { last: 2, ..Keep::default() };
    assert_eq!(gone(keep, &["a"], &backups, &[4]), [id(2)]);
}

#[test]
fn the_one_just_made_stays_though_a_clock_that_was_set_back_calls_it_the_oldest() {
    let mut backups = daily(4);
    backups[3].taken_ms = 5;
    let keep = Keep { last: 2, ..Keep::default() };
    assert_eq!(gone(keep, &["a"], &backups, &[3]), [id(0)]);
}

#[test]
fn volumes_that_were_backed_up_together_go_together() {
    let both = |n: usize, day: u64| {
        let point = format!("p{n}");
        [backup(n, "a", &point, NOON + day * DAY), backup(n + 1, "b", &point, NOON + day * DAY)]
    };
    let backups = [both(0, 0), both(2, 1), both(4, 2)].concat();
    let keep = Keep { last: 2, ..Keep::default() };
    assert_eq!(gone(keep, &["a", "b"], &backups, &[4, 5]), [id(0), id(1)]);
}

#[test]
fn a_point_that_lacks_a_volume_does_not_take_the_place_of_a_whole_one() {
    let whole = |n: usize, ms| {
        [backup(n, "a", &format!("p{n}"), ms), backup(n + 1, "b", &format!("p{n}"), ms)]
    };
    let mut backups = whole(0, NOON).to_vec();
    // Later on the same day, and only one of two disks.
    backups.push(backup(2, "a", "p2", NOON + 5));
    backups.extend(whole(3, NOON + DAY));
    let keep = Keep { daily: 2, ..Keep::default() };
    assert_eq!(gone(keep, &["a", "b"], &backups, &[3, 4]), Vec::<String>::new());
    backups.extend(whole(5, NOON + 2 * DAY));
    assert_eq!(gone(keep, &["a", "b"], &backups, &[5, 6]), [id(0), id(1), id(2)]);
}

#[test]
fn backups_of_a_volume_that_the_schedule_names_no_more_stay_and_do_not_count() {
    let keep = Keep { last: 2, daily: 7, ..Keep::default() };
    // `nightly` was of `a` for ten days, and is of `b` since.
    let mut backups = daily(10);
    let of_b = |n: usize| backup(n, "b", &format!("p{n}"), NOON + n as u64 * DAY);
    backups.extend((10..30).map(of_b));
    let gone_ids = gone(keep, &["b"], &backups, &[29]);
    assert_eq!(gone_ids, (10..23).map(id).collect::<Vec<_>>());
    // Of two volumes one was taken out: what was backed up with it is another order's, too.
    let both = [backup(40, "a", "both", NOON), backup(41, "b", "both", NOON)];
    backups.extend(both);
    assert_eq!(gone(keep, &["b"], &backups, &[29]), gone_ids);
}

#[test]
fn the_newest_of_each_volume_stays_though_newer_points_lack_it() {
    let keep = Keep { last: 1, ..Keep::default() };
    let mut backups = daily(5);
    backups.push(backup(7, "b", "p7", NOON));
    backups.push(backup(8, "b", "p8", NOON + 1));
    assert_eq!(gone(keep, &["a", "b"], &backups, &[4]), [id(0), id(7), id(1), id(2), id(3)]);
}

#[test]
fn what_others_have_of_the_point_that_was_just_made_is_no_backup_of_the_schedules() {
    let keep = Keep { last: 1, ..Keep::default() };
    let mut backups = vec![backup(0, "a", "p0", NOON), backup(1, "b", "p0", NOON)];
    backups.extend([backup(2, "a", "p1", NOON + DAY), backup(3, "b", "p1", NOON + DAY)]);
    backups[3].schedule = Some("other".into());
    assert_eq!(gone(keep, &["a", "b"], &backups, &[2]), Vec::<String>::new());
}

proptest! {
    #[test]
    fn what_is_kept_is_what_was_promised_and_doing_it_again_deletes_nothing_more(
        times in prop::collection::vec((0..400 * DAY, 0..3u8, any::<bool>()), 1..40),
        last in 0..4u32, hourly in 0..4u32, daily in 0..4u32, weekly in 0..4u32,
        monthly in 0..4u32, yearly in 0..3u32, fresh in any::<prop::sample::Index>(),
    ) {
        let keep = Keep { last, hourly, daily, weekly, monthly, yearly };
        let all: Vec<Backup> = times
            .iter()
            .enumerate()
            .flat_map(|(n, (ms, whose, is_whole))| {
                let point = format!("p{n}");
                let mut of = vec![backup(2 * n, "a", &point, *ms)];
                if *is_whole {
                    of.push(backup(2 * n + 1, "b", &point, *ms));
                }
                for backup in &mut of {
                    backup.schedule = [Some("nightly"), Some("other"), None][usize::from(*whose)].map(Into::into);
                }
                of
            })
            .collect();
        let mut all = all;
        let number = fresh.index(all.len());
        all[number].schedule = Some("nightly".into());
        let point = all[number].point.clone();
        let volumes = ["a".to_owned(), "b".to_owned()];
        let fresh = [all[number].id.clone()];
        let gone = dropped(keep, "nightly", &volumes, &all, &fresh);
        let is_gone = |it: &Backup| gone.iter().any(|id| id.to_string() == it.id);
        for it in all.iter().filter(|it| is_gone(it)) {
            prop_assert!(it.point != point && it.schedule.as_deref() == Some("nightly"));
        }
        // A point goes whole or not at all, as far as it is the schedule's.
        for it in all.iter().filter(|it| it.schedule.as_deref() == Some("nightly")) {
            let same = all.iter().filter(|other| other.point == it.point && other.point != point);
            for other in same.filter(|other| other.schedule == it.schedule) {
                prop_assert_eq!(is_gone(it), is_gone(other));
            }
        }
        if keep == Keep::default() {
            prop_assert!(gone.is_empty());
        }
        let left: Vec<Backup> = all.iter().filter(|it| !is_gone(it)).cloned().collect();
        prop_assert_eq!(dropped(keep, "nightly", &volumes, &left, &fresh), Vec::new());
        // Beside the one just made, at most so many of each sort are kept of whole points and of all.
        let points: BTreeSet<&str> = left
            .iter()
            .filter(|it| it.schedule.as_deref() == Some("nightly") && it.point != point)
            .map(|it| &*it.point)
            .collect();
        let most = (last + hourly + daily + weekly + monthly + yearly) as usize;
        // One more may be the newest that has the other volume.
        prop_assert!(keep == Keep::default() || points.len() <= 2 * most + 1);
        for volume in ["a", "b"] {
            let of = |it: &&Backup| it.volume == volume && it.schedule.as_deref() == Some("nightly");
            prop_assert_eq!(all.iter().any(|it| of(&it)), left.iter().any(|it| of(&it)));
        }
    }
}
