//! The decision against a model of QEMU's bitmaps, in which anything may end at any time.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Blocks of the model's disk, a bit of a bitmap each.
const BLOCKS: usize = 12;

type Contents = [u32; BLOCKS];

/// What QEMU holds of one bitmap.
#[derive(Debug, Clone, PartialEq)]
struct Held {
    is_recording: bool,
    is_persistent: bool,
    is_stored: bool,
    is_inconsistent: bool,
    dirty: [bool; BLOCKS],
}

/// A backup that is under way: its point, decision, contents, and what it will read as changed.
#[derive(Debug, Clone)]
struct Open {
    point: PointId,
    decision: Decision,
    contents: Contents,
    changed: Option<[bool; BLOCKS]>,
}

#[derive(Debug, Default)]
struct World {
    disk: Contents,
    bitmaps: BTreeMap<String, Held>,
    images: Vec<(Published, Contents)>,
    open: Option<Open>,
    /// What was decided last, for whoever comes back with it.
    decided: Option<Decision>,
    /// Numbers that were given out.
    last: u32,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Write(usize),
    Decide {
        all: bool,
    },
    /// A point in time is opened by what was decided just now, and perhaps a write comes while it
    /// is.
    Open {
        all: bool,
        between: Option<usize>,
        ends: Ends,
    },
    /// The same by what was decided some time ago.
    OpenLate {
        between: Option<usize>,
        ends: Ends,
    },
    Publish,
    /// The image is there, and nobody says so to QEMU.
    PublishAndVanish,
    Fail,
    Vanish,
    Restart,
    Kill,
    DeleteNewest,
}

/// How far a process comes that opens a point in time.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Ends {
    BeforeTheLastStops,
    BeforeItServes,
    Never,
}

impl World {
    fn next(&mut self) -> u32 {
        self.last += 1;
        self.last
    }

    fn point(&mut self) -> PointId {
        PointId::new(u128::from(self.next()).to_be_bytes())
    }

    fn write(&mut self, block: usize) {
        self.disk[block] = self.next();
        for bitmap in self.bitmaps.values_mut().filter(|bitmap| bitmap.is_recording) {
            bitmap.dirty[block] = true;
        }
    }

    fn change(&mut self, changes: &[BitmapChange]) {
        for change in changes {
            match change {
                BitmapChange::Add { name, persistent, .. } => {
                    let held = Held {
                        is_recording: true,
                        is_persistent: *persistent,
                        is_stored: false,
                        is_inconsistent: false,
                        dirty: [false; BLOCKS],
                    };
                    assert_eq!(self.bitmaps.insert(name.clone(), held), None);
                }
                BitmapChange::Remove(name) => drop(self.bitmaps.remove(name).unwrap()),
                BitmapChange::Enable(name) | BitmapChange::Disable(name) => {
                    let held = self.bitmaps.get_mut(name).unwrap();
                    assert!(!held.is_inconsistent);
                    held.is_recording = matches!(change, BitmapChange::Enable(_));
                }
                BitmapChange::Merge { into, from } => {
                    let from = self.bitmaps[from].clone();
                    let into = self.bitmaps.get_mut(into).unwrap();
                    assert!(!from.is_inconsistent && !into.is_inconsistent);
                    for (into, from) in into.dirty.iter_mut().zip(from.dirty) {
                        *into |= from;
                    }
                }
            }
        }
    }

    fn survey(&self) -> Survey {
        let bitmap = |(name, held): (&String, &Held)| Bitmap {
            name: BitmapName::parse(name).unwrap(),
            is_recording: held.is_recording,
            is_busy: false,
            is_inconsistent: held.is_inconsistent,
            granularity: 1,
            dirty: 0,
        };
        Survey {
            size: BLOCKS as u64,
            bitmaps: self.bitmaps.iter().map(bitmap).collect(),
            is_encrypted: false,
        }
    }

    fn decide(&self, all: bool) -> Decision {
        let published: Vec<_> = self.images.iter().map(|(image, _)| image.clone()).collect();
        decide(&self.survey(), &published, all)
    }

    fn open(&mut self, decision: Decision, between: Option<usize>, ends: Ends, persistent: bool) {
        self.open = None;
        if !decision.fits(&self.survey()) {
            return;
        }
        let point = self.point();
        self.change(&decision.before(point, persistent));
        if let Some(block) = between {
            self.write(block);
        }
        let contents = self.disk;
        if let Some(block) = between {
            self.write(block);
        }
        if ends == Ends::BeforeTheLastStops {
            return;
        }
        self.change(&decision.after());
        if ends == Ends::BeforeItServes {
            return;
        }
        let changed = decision.changes().map(|name| self.bitmaps[&name.to_string()].dirty);
        self.open = Some(Open { point, decision, contents, changed });
    }

    /// What whoever pulls makes of it.
    fn publish(&mut self, open: &Open) -> Result<(), TestCaseError> {
        let contents = match (open.decision.plan, open.changed) {
            (Plan::Incremental { base, since }, Some(changed)) => {
                let base = self.images.iter().find(|(image, _)| image.image == base);
                // Deleted meanwhile: then all is read.
                base.map_or(open.contents, |(image, base)| {
                    assert_eq!(image.point, since);
                    let block = |at: usize| if changed[at] { open.contents[at] } else { base[at] };
                    std::array::from_fn(block)
                })
            }
            _ => open.contents,
        };
        prop_assert_eq!(contents, open.contents);
        let number = self.next();
        let image = Published {
            image: ImageId::parse(&format!("img-{number:032x}")).unwrap(),
            point: open.point,
            size: BLOCKS as u64,
            created_ms: number.into(),
        };
        self.images.push((image, contents));
        Ok(())
    }

    fn restart(&mut self, is_killed: bool) {
        self.open = None;
        self.bitmaps.retain(|_, held| held.is_persistent && (held.is_stored || !is_killed));
        for held in self.bitmaps.values_mut() {
            held.is_inconsistent |= is_killed;
            held.is_recording &= !held.is_inconsistent;
            held.is_stored = true;
        }
    }

    fn meet(&mut self, event: Event, persistent: bool) -> Result<(), TestCaseError> {
        match event {
            Event::Write(block) => self.write(block),
            Event::Decide { all } => self.decided = Some(self.decide(all)),
            Event::Open { all, between, ends } => {
                let decision = self.decide(all);
                self.decided = Some(decision.clone());
                self.open(decision, between, ends, persistent);
            }
            Event::OpenLate { between, ends } => {
                if let Some(decision) = self.decided.clone() {
                    self.open(decision, between, ends, persistent);
                }
            }
            Event::Publish => {
                if let Some(open) = self.open.take() {
                    self.publish(&open)?;
                    self.change(&open.decision.succeeded());
                }
            }
            Event::PublishAndVanish => {
                if let Some(open) = self.open.take() {
                    self.publish(&open)?;
                }
            }
            Event::Fail => {
                if let Some(open) = self.open.take() {
                    self.change(&open.decision.failed(open.point));
                }
            }
            Event::Vanish => self.open = None,
            Event::Restart => self.restart(false),
            Event::Kill => self.restart(true),
            Event::DeleteNewest => drop(self.images.pop()),
        }
        Ok(())
    }
}

fn event() -> impl Strategy<Value = Event> {
    let block = 0..BLOCKS;
    let all = || prop::bool::weighted(0.2);
    let between = || prop::option::of(0..BLOCKS);
    let ends = || {
        prop_oneof![
            1 => Just(Ends::BeforeTheLastStops),
            1 => Just(Ends::BeforeItServes),
            8 => Just(Ends::Never),
        ]
    };
    prop_oneof![
        6 => block.prop_map(Event::Write),
        1 => all().prop_map(|all| Event::Decide { all }),
        4 => (all(), between(), ends())
            .prop_map(|(all, between, ends)| Event::Open { all, between, ends }),
        2 => (between(), ends()).prop_map(|(between, ends)| Event::OpenLate { between, ends }),
        4 => Just(Event::Publish),
        1 => Just(Event::PublishAndVanish),
        2 => Just(Event::Fail),
        1 => Just(Event::Vanish),
        1 => Just(Event::Restart),
        1 => Just(Event::Kill),
        1 => Just(Event::DeleteNewest),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn whatever_ends_when_each_image_is_the_disk_at_its_point(
        events in prop::collection::vec(event(), 0..60), persistent: bool,
    ) {
        let mut world = World::default();
        for event in events {
            world.meet(event, persistent)?;
        }
    }
}

#[test]
fn a_backup_that_fails_costs_the_next_one_nothing() {
    for end in [Event::Fail, Event::Vanish] {
        let mut world = World::default();
        let open = Event::Open { all: false, between: None, ends: Ends::Never };
        for event in
            [open, Event::Publish, Event::Write(1), open, Event::Write(2), end, Event::Write(3)]
        {
            world.meet(event, false).unwrap();
        }
        world.meet(open, false).unwrap();
        let changed = world.open.unwrap().changed.unwrap();
        assert!((0..BLOCKS).all(|block| changed[block] == [1, 2, 3].contains(&block)), "{end:?}");
    }
}

#[test]
fn each_reason_for_reading_all_is_told() {
    let open = Event::Open { all: false, between: None, ends: Ends::Never };
    let after = |events: &[Event], persistent| {
        let mut world = World::default();
        for event in events {
            world.meet(*event, persistent).unwrap();
        }
        world.decide(false).plan
    };
    let begun = [open, Event::Publish];
    let then = |event: &[Event]| [&begun[..], event].concat();
    assert!(matches!(after(&begun, true), Plan::Incremental { .. }));
    assert!(matches!(after(&then(&[Event::Restart]), true), Plan::Incremental { .. }));
    for (events, persistent, reason) in [
        (vec![], true, FullReason::First),
        (then(&[Event::Kill]), true, FullReason::BitmapMissing),
        (then(&[Event::Restart]), false, FullReason::BitmapMissing),
        (then(&[Event::Restart, Event::Kill]), true, FullReason::BitmapInconsistent),
        (then(&[Event::DeleteNewest]), true, FullReason::BaseGone),
    ] {
        assert_eq!(after(&events, persistent), Plan::Full(reason), "{events:?}");
    }
    let mut world = World::default();
    for event in begun {
        world.meet(event, true).unwrap();
    }
    let image = world.images[0].0.clone();
    let decide = |survey: &Survey, all| decide(survey, std::slice::from_ref(&image), all).plan;
    let survey = world.survey();
    assert_eq!(decide(&survey, true), Plan::Full(FullReason::Wanted));
    let longer = Survey { size: 99, ..survey.clone() };
    assert_eq!(decide(&longer, false), Plan::Full(FullReason::SizeChanged));
    let with = |bitmap| Survey { size: survey.size, bitmaps: vec![bitmap], ..survey.clone() };
    let stopped = with(Bitmap { is_recording: false, ..survey.bitmaps[0] });
    assert_eq!(decide(&stopped, false), Plan::Full(FullReason::BitmapStopped));
    let busy = with(Bitmap { is_busy: true, ..survey.bitmaps[0] });
    assert_eq!(decide(&busy, false), Plan::Full(FullReason::BitmapBusy));
}

#[test]
fn bitmaps_that_are_of_no_use_any_more_are_removed() {
    let open = Event::Open { all: false, between: None, ends: Ends::Never };
    let mut world = World::default();
    for event in [open, Event::Publish, open, Event::PublishAndVanish, open, Event::Publish] {
        world.meet(event, true).unwrap();
    }
    assert_eq!(world.bitmaps.len(), 1);
    for event in [Event::Restart, Event::Kill, open, Event::Publish] {
        world.meet(event, true).unwrap();
    }
    assert_eq!(world.bitmaps.len(), 1);
}
