//! Which of a schedule's own backups are deleted after a good one. Pure.
//!
//! Volumes that were backed up together are kept or deleted together, by the policy that the archive
//! has for images: what a guest is put back from is one point in time of all its disks. A point that lacks some of the volumes, since the backup failed in part, never takes the
//! place of a whole one. Backups that others made, by hand or by another schedule, are none of this,
//! and nor are those of a volume that the schedule does not name now: it had another form then, or
//! was another one of the same name. The newest that it made of a volume stays whatever else is kept.

use std::collections::{BTreeMap, BTreeSet};

use mezame_images::archive::{ImageId, retention::Dated};
use mezame_model::api::{schedules::Keep, volumes::Backup};

use crate::images::prune::retention_of;

/// One point in time.
struct Point<'a> {
    taken_ms: u64,
    volumes: BTreeSet<&'a str>,
    /// What it goes by where points are chosen among.
    first: ImageId,
    images: Vec<ImageId>,
}

/// The backups that are deleted, oldest first. `volumes` are those that a whole point has, and
/// `fresh` the backups that were just made, which are kept whatever their times say: a clock that was
/// set back may call them the oldest. Where none of them is there, nothing is deleted.
pub(super) fn dropped(
    keep: Keep,
    schedule: &str,
    volumes: &[String],
    backups: &[Backup],
    fresh: &[String],
) -> Vec<ImageId> {
    let Some(new) = backups.iter().find(|backup| fresh.contains(&backup.id)) else {
        return Vec::new();
    };
    let Ok(id) = ImageId::parse(&new.id) else { return Vec::new() };
    let own = backups.iter().filter(|it| it.schedule.as_deref() == Some(schedule));
    let mut points = points_of(own.clone().filter(|it| it.point != new.point));
    let is_named = |volume: &&str| volumes.iter().any(|named| named == volume);
    points.retain(|it| it.volumes.iter().all(&is_named));
    let made = own.filter(|it| it.point == new.point).map(|it| &*it.volume).collect();
    let last = last_of_each(&points, &made);
    // What was just made counts, at its own time.
    let newest = Dated { id, created_ms: new.taken_ms };
    let policy = retention_of(keep);
    let not_kept = |points: &[&Point<'_>]| -> BTreeSet<ImageId> {
        let dated = points.iter().map(|it| Dated { id: it.first, created_ms: it.taken_ms });
        policy.dropped(&dated.chain([newest]).collect::<Vec<_>>()).into_iter().collect()
    };
    let all: Vec<&Point<'_>> = points.iter().collect();
    let (whole, rest): (Vec<&Point<'_>>, Vec<&Point<'_>>) =
        points.iter().partition(|it| volumes.iter().all(|volume| it.volumes.contains(&**volume)));
    let (of_all, of_whole) = (not_kept(&all), not_kept(&whole));
    let gone_whole = whole.into_iter().filter(|it| of_whole.contains(&it.first));
    let mut gone: Vec<&Point<'_>> =
        gone_whole.chain(rest).filter(|it| of_all.contains(&it.first)).collect();
    gone.retain(|it| !last.contains(&it.first));
    gone.sort_by_key(|point| point.taken_ms);
    gone.into_iter().flat_map(|point| point.images.iter().copied()).collect()
}

/// The newest point of each volume that was not backed up just now.
fn last_of_each(points: &[Point<'_>], made: &BTreeSet<&str>) -> BTreeSet<ImageId> {
    let mut last: BTreeMap<&str, (u64, ImageId)> = BTreeMap::new();
    for point in points {
        for volume in point.volumes.difference(made) {
            let newest = last.entry(volume).or_insert((point.taken_ms, point.first));
            *newest = (*newest).max((point.taken_ms, point.first));
        }
    }
    last.into_values().map(|(_, first)| first).collect()
}

/// The points in time that these backups are of.
fn points_of<'a>(backups: impl Iterator<Item = &'a Backup>) -> Vec<Point<'a>> {
    let mut points: BTreeMap<&str, Point<'a>> = BTreeMap::new();
    for backup in backups {
        let Ok(id) = ImageId::parse(&backup.id) else { continue };
        let point = points.entry(&backup.point).or_insert_with(|| Point {
            taken_ms: backup.taken_ms,
            volumes: BTreeSet::new(),
            first: id,
            images: Vec::new(),
        });
        point.taken_ms = point.taken_ms.max(backup.taken_ms);
        point.volumes.insert(&backup.volume);
        point.images.push(id);
    }
    points.into_values().collect()
}

#[cfg(test)]
mod tests;
