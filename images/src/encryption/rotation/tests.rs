//! Rotations that are stopped anywhere, of a header that is a set of numbers.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const OLD: KeyNumber = KeyNumber(1);
const NEW: KeyNumber = KeyNumber(2);

/// A header and a record that outlive the process, which ends after so many actions.
struct World {
    header: BTreeSet<KeyNumber>,
    /// What a QEMU that has it open has in its memory.
    memory: BTreeSet<KeyNumber>,
    record: Keyslots,
    /// How many actions are left, and whether the last one is done before the stop.
    left: u32,
    is_last_done: bool,
    /// Whether QEMU says that it has changed the header and hasn't.
    is_lying: bool,
}

impl World {
    fn new(left: u32, is_last_done: bool) -> Self {
        let (header, memory, record) = ([OLD].into(), [OLD].into(), Keyslots::One(OLD));
        Self { header, memory, record, left, is_last_done, is_lying: false }
    }

    /// Does something, or is stopped before or after it.
    fn act(&mut self, action: impl FnOnce(&mut Self)) -> Result<(), RotationError> {
        if self.left == 0 {
            if self.is_last_done {
                action(self);
            }
            return Err(RotationError::Late);
        }
        self.left -= 1;
        action(self);
        Ok(())
    }

    fn rotate(&mut self, to: KeyNumber) -> Result<(), RotationError> {
        let world = std::cell::RefCell::new(self);
        let keyslots = world.borrow().record;
        let mut header = Fake(&world);
        rotate(keyslots, to, &mut header, &mut |after| {
            world.borrow_mut().act(|world| world.record = after)
        })
    }

    fn check(&self) {
        let opening = self.record.opening();
        assert!(self.header.contains(&opening), "{:?} {:?}", self.header, self.record);
        assert!(self.header.is_subset(&self.record.needed()), "{:?}", self.record);
    }
}

struct Fake<'a, 'b>(&'a std::cell::RefCell<&'b mut World>);

impl Header for Fake<'_, '_> {
    fn add(&mut self, opening: KeyNumber, new: KeyNumber) -> Result<(), RotationError> {
        let mut world = self.0.borrow_mut();
        assert!(world.header.contains(&opening));
        world.act(|world| {
            world.memory.extend([opening, new]);
            if !world.is_lying {
                world.header.insert(new);
            }
        })
    }

    fn remove(&mut self, staying: KeyNumber, old: KeyNumber) -> Result<(), RotationError> {
        let mut world = self.0.borrow_mut();
        assert!(world.header.contains(&staying), "the last key was to be removed");
        world.act(|world| {
            world.memory.extend([staying, old]);
            if !world.is_lying {
                world.header.remove(&old);
            }
        })
    }

    fn opens(&mut self, key: KeyNumber) -> Result<bool, RotationError> {
        let mut world = self.0.borrow_mut();
        world.act(|_| ())?;
        Ok(world.header.contains(&key))
    }

    fn forget(&mut self, old: KeyNumber) -> Result<(), RotationError> {
        let mut world = self.0.borrow_mut();
        assert!(!world.header.contains(&old), "it may be asked for yet");
        world.act(|world| {
            world.memory.remove(&old);
        })
    }
}

#[test]
fn a_rotation_leaves_the_new_key_alone() {
    let mut world = World::new(u32::MAX, false);
    world.rotate(NEW).unwrap();
    assert_eq!((world.header, world.record), ([NEW].into(), Keyslots::One(NEW)));
}

#[test]
fn whenever_it_is_stopped_a_recorded_key_opens_the_header_and_the_next_process_ends_it() {
    let mut stops = 0;
    for left in 0.. {
        let mut is_stopped = false;
        for is_last_done in [false, true] {
            let mut world = World::new(left, is_last_done);
            is_stopped = world.rotate(NEW).is_err();
            world.check();
            world.left = u32::MAX;
            world.rotate(NEW).unwrap();
            assert_eq!((world.header, world.record), ([NEW].into(), Keyslots::One(NEW)));
            assert_eq!(world.memory, [NEW].into(), "the old key is in QEMU's memory");
        }
        if !is_stopped {
            break;
        }
        stops += 1;
    }
    assert!(stops >= 10, "{stops}");
}

#[test]
fn a_change_that_is_not_on_the_disk_ends_it_with_the_old_key_in_place() {
    let mut world = World::new(u32::MAX, false);
    world.is_lying = true;
    assert!(matches!(world.rotate(NEW), Err(RotationError::Unchanged)));
    world.check();
    assert_eq!(world.record, Keyslots::Adding { from: OLD, to: NEW });
    world.header.insert(NEW);
    assert!(matches!(world.rotate(NEW), Err(RotationError::Unchanged)));
    assert_eq!(world.record, Keyslots::Removing { from: OLD, to: NEW });
    world.check();
}

#[test]
fn no_key_is_removed_from_a_header_that_the_new_one_does_not_open() {
    let mut world = World::new(u32::MAX, false);
    // A header that was put back from a copy.
    world.record = Keyslots::Removing { from: OLD, to: NEW };
    assert!(matches!(world.rotate(NEW), Err(RotationError::Locked(NEW))));
    assert_eq!(world.header, [OLD].into());
}

#[test]
fn one_rotation_is_ended_before_the_next_and_no_number_comes_back() {
    let mut world = World::new(1, false);
    world.rotate(NEW).unwrap_err();
    world.left = u32::MAX;
    assert!(matches!(world.rotate(KeyNumber(3)), Err(RotationError::Underway(NEW))));
    world.rotate(NEW).unwrap();
    assert!(matches!(world.rotate(OLD), Err(RotationError::NotNewer { .. })));
    world.rotate(NEW).unwrap();
}

proptest! {
    #[test]
    fn any_number_of_stops_loses_no_key(stops in prop::collection::vec((0_u32..12, any::<bool>()), 0..12)) {
        let mut world = World::new(0, false);
        for (left, is_last_done) in stops {
            (world.left, world.is_last_done) = (left, is_last_done);
            let to = world.record.needed().into_iter().max().unwrap();
            let to = if world.record == Keyslots::One(to) { KeyNumber(to.0 + 1) } else { to };
            let _ = world.rotate(to);
            world.check();
        }
    }
}
