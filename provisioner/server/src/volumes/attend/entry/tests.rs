//! Guests as they come and go, with a clock that the tests have.

use std::collections::BTreeMap;

use mezame_images::volume::VolumeId;
use mezame_model::{
    ProjectName,
    api::volumes::{VolumeClass, VolumeState},
};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn entry(class: VolumeClass, has_run: bool, now: Instant) -> Entry {
    let guest = GuestRecord { qmp: "/run/web.qmp".into(), asked_ms: 0, has_run };
    let record = VolumeRecord {
        id: VolumeId::parse("web").unwrap(),
        project: ProjectName::parse("p").unwrap(),
        owner: "test".into(),
        host: "here".into(),
        pool: "fast".into(),
        place: None,
        master: "zeros-1048576".into(),
        masters: None,
        image: None,
        is_restored: false,
        growing: None,
        size: 1 << 20,
        class,
        flush_ms: None,
        limits: Limits::default(),
        opened: None,
        guest: Some(guest.clone()),
        keys: BTreeMap::new(),
        master_key: None,
        is_rotating: false,
        state: VolumeState::Ready,
        created_ms: 0,
        kept: Vec::new(),
    };
    Entry::new(guest, Arc::new(record), now)
}

fn flushed(age: Option<Duration>) -> Flushed {
    let is_kept = age.is_some_and(|age| age <= SECOND);
    Flushed { age, is_kept, is_failing: false, flushes: 1, failures: 0, lates: 0 }
}

#[test]
fn a_guest_is_attended_once_and_again_when_its_flushes_fail_or_its_limits_change() {
    let now = Instant::now();
    let mut web = entry(VolumeClass::Recovered, false, now);
    assert_eq!(web.step(None, now), Step::Attend);
    web.is_asked = true;
    assert_eq!(web.step(None, now), Step::Rest);
    (web.is_asked, web.again) = (false, now + SECOND);
    assert_eq!(web.step(None, now), Step::Rest);
    let later = now + SECOND;
    assert_eq!(web.step(None, later), Step::Attend);

    (web.begun, web.limits) = (Some(later), Some(Limits::default()));
    let good = flushed(Some(Duration::ZERO));
    assert_eq!(web.step(Some(good), later), Step::Rest);
    assert_eq!(web.step(Some(Flushed { is_failing: true, ..good }), later), Step::Attend);
    // Another thread has ended it.
    assert_eq!(web.step(None, later), Step::Attend);
    let limits = Limits { iops: Some(5), bytes: None };
    web.record = Arc::new(VolumeRecord { limits, ..VolumeRecord::clone(&web.record) });
    assert_eq!(web.step(Some(good), later), Step::Attend);
    web.limits = Some(limits);
    assert_eq!(web.step(Some(good), later), Step::Rest);
    // Its guest went over.
    let class = VolumeClass::Plain;
    web.record = Arc::new(VolumeRecord { class, ..VolumeRecord::clone(&web.record) });
    assert_eq!(web.step(Some(good), later), Step::Leave);
}

#[test]
fn a_bound_is_kept_late_or_waited_for() {
    let now = Instant::now();
    let mut web = entry(VolumeClass::Bounded, false, now);
    assert_eq!(web.state(None, now + 60 * SECOND), FlushState::Waiting);
    web.begun = Some(now);
    assert_eq!(web.state(Some(flushed(None)), now + SECOND), FlushState::Waiting);
    assert_eq!(web.state(Some(flushed(None)), now + 2 * SECOND), FlushState::Late);
    assert_eq!(web.state(Some(flushed(Some(SECOND))), now), FlushState::Kept);
    assert_eq!(web.state(Some(flushed(Some(2 * SECOND))), now + 2 * SECOND), FlushState::Late);
    // One that ran before this process began.
    let web = entry(VolumeClass::Bounded, true, now);
    assert_eq!(web.state(None, now), FlushState::Waiting);
    assert_eq!(web.state(None, now + 2 * SECOND), FlushState::Late);
}

#[test]
fn that_flushes_are_late_is_told_once_until_they_were_in_time_for_a_while() {
    let now = Instant::now();
    let mut lateness = Lateness::default();
    let good = Some(flushed(Some(Duration::ZERO)));
    let mut look = |state, flushed, after| lateness.look(state, flushed, now + after * SECOND);
    assert_eq!(look(FlushState::Kept, good, 0), None);
    assert_eq!(look(FlushState::Late, None, 1), Some(Told::Late));
    assert_eq!(look(FlushState::Late, None, 2), None);
    assert_eq!(look(FlushState::Kept, good, 3), None);
    assert_eq!(look(FlushState::Late, good, 12), None);
    assert_eq!(look(FlushState::Kept, good, 13), None);
    assert_eq!(look(FlushState::Kept, good, 23), Some(Told::InTime));
    // One that was over between two looks, too.
    let lates = good.map(|it| Flushed { lates: 1, ..it });
    assert_eq!(look(FlushState::Kept, lates, 24), Some(Told::Late));
    assert_eq!(look(FlushState::Kept, lates, 34), None);
    assert_eq!(look(FlushState::Kept, lates, 44), Some(Told::InTime));
    // A process of ours that began anew counts from none.
    assert_eq!(look(FlushState::Kept, good, 45), None);
}
