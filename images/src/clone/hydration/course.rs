//! What this process knows of a handing over beside what is seen: what has failed, and what the clone's
//! record says while that can't be read. Nobody else changes the record meanwhile, since its master's lock
//! is held.
//!
//! A guest may stand still because of us. So no fault of the records' file system ends it at once: what the
//! record says is known from what was read or written last, and that it says "overlay" again is tried for
//! as long as there is. It asks QEMU nothing and writes nothing.

use std::time::{Duration, Instant};

use super::HydrationError;
use crate::clone::{CloneError, InstantClone, handover::Step, record::Record};

/// For how long a record that fails is read or written again.
const PATIENCE: Duration = Duration::from_secs(30);

/// A handing over, as this process goes on with it.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// What has failed first. It leads back, where there is a way back.
    pub(super) fault: Option<HydrationError>,
    /// Whether the job was asked to complete, and did not refuse.
    pub(super) is_asked: bool,
    known: Option<Record>,
    /// What the record said before a writing failed that the guest has gone back.
    going_back: Option<Record>,
    failing: Option<Instant>,
}

impl Course {
    /// Notes a fault, unless there was one before.
    pub(super) fn fails(&mut self, error: HydrationError) {
        self.fault.get_or_insert(error);
    }

    /// What the record says, as it was found or else as it was known; None where a writing that failed
    /// may have changed it.
    pub(super) fn record(&mut self, found: Result<InstantClone, CloneError>) -> Option<Record> {
        match found {
            Ok(clone) => self.known = Some(clone.record),
            Err(error) => self.fails(error.into()),
        }
        let known = self.known.take();
        // What is read may be in memory alone, and lost with the host, until it was written without a fault.
        self.going_back.clone().or(known)
    }

    /// Notes what a step by this record has come to: the record that it has written, if it has.
    ///
    /// # Errors
    /// What failed first, where nothing can be done about it.
    pub(super) fn took(
        &mut self,
        step: Step,
        record: Record,
        taken: Result<Option<Record>, HydrationError>,
    ) -> Result<(), HydrationError> {
        match taken {
            Ok(written) => {
                self.is_asked |= step == Step::Complete;
                self.known = Some(written.unwrap_or(record));
                self.going_back = None;
                Ok(())
            }
            // It is left the way it came.
            Err(error) if self.fault.is_none() && error.is_answer() => {
                // Of these, what is next is the same whether it was written or not.
                let is_same = matches!(step, Step::GoOver | Step::Release);
                let is_known = is_same || !matches!(error, HydrationError::Record(_));
                self.known = is_known.then_some(record);
                self.fault = Some(error);
                Ok(())
            }
            // The guest stands still until the record says so.
            Err(HydrationError::Record(_)) if step == Step::GoBack && !self.is_over() => {
                self.going_back = Some(record);
                Ok(())
            }
            // Another fault on that way can't be helped.
            Err(error) => Err(self.fault.take().unwrap_or(error)),
        }
    }

    /// Whether the record is to be waited for.
    pub(super) fn is_unknown(&self) -> bool {
        self.known.is_none()
    }

    /// Whether it has failed for too long.
    pub(super) fn is_over(&mut self) -> bool {
        self.failing.get_or_insert_with(Instant::now).elapsed() > PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clone::handover::Stage,
        testing::{ids, master, pool},
        volume::Place,
    };

    fn unreadable() -> CloneError {
        CloneError::Busy { path: "record".into() }
    }

    fn clone() -> InstantClone {
        let directory = tempfile::tempdir().unwrap();
        let (master, _) = master(directory.path());
        master.clone_into(&pool(directory.path()), &ids(1)).unwrap().remove(0)
    }

    #[test]
    fn a_record_that_can_not_be_read_once_is_what_was_read_or_written_last_and_leads_back() {
        let (clone, mut course) = (clone(), Course::default());
        let read = course.record(Ok(clone.clone())).unwrap();
        assert!(course.fault.is_none());
        course.took(Step::Stop, read.clone(), Ok(None)).unwrap();
        assert_eq!(course.record(Err(unreadable())), Some(read.clone()));
        assert!(matches!(course.fault, Some(HydrationError::Record(_))));
        let stage = Stage::HandingOver(Place::File("plain".into()));
        let written = Record { stage, ..read.clone() };
        course.took(Step::HandOver, read, Ok(Some(written.clone()))).unwrap();
        assert_eq!(course.record(Err(unreadable())), Some(written));
    }

    #[test]
    fn what_a_writing_that_failed_has_left_is_not_known_until_it_is_read() {
        let (clone, mut course) = (clone(), Course::default());
        let read = course.record(Ok(clone.clone())).unwrap();
        course.took(Step::HandOver, read.clone(), Err(unreadable().into())).unwrap();
        assert!(course.is_unknown());
        assert_eq!(course.record(Err(unreadable())), None);
        assert_eq!(course.record(Ok(clone)), Some(read.clone()));
        // QEMU's refusal says nothing of the record.
        let refused = HydrationError::NotEqual(clone_id());
        let mut course = Course::default();
        course.took(Step::Complete, read.clone(), Err(refused)).unwrap();
        assert!(!course.is_asked);
        assert_eq!(course.record(Err(unreadable())), Some(read));
    }

    #[test]
    fn what_says_that_a_guest_has_gone_back_is_written_until_that_does_not_fail() {
        let (clone, mut course) = (clone(), Course::default());
        let stage = Stage::HandingOver(Place::File("plain".into()));
        let going = Record { stage, ..clone.record.clone() };
        course.fails(HydrationError::Late(clone_id()));
        course.took(Step::GoBack, going.clone(), Err(unreadable().into())).unwrap();
        assert!(course.is_unknown());
        // It is read as written; whether it would outlive the host nobody knows.
        assert_eq!(course.record(Ok(clone.clone())), Some(going.clone()));
        course.took(Step::GoBack, going, Ok(Some(clone.record.clone()))).unwrap();
        assert_eq!(course.record(Ok(clone.clone())), Some(clone.record));
    }

    fn clone_id() -> crate::volume::VolumeId {
        ids(1).remove(0)
    }

    #[test]
    fn that_a_guest_goes_back_is_written_again_and_what_else_fails_twice_is_told() {
        let record = clone().record;
        let mut course = Course::default();
        course.fails(HydrationError::Late(clone_id()));
        for _ in 0..3 {
            course.took(Step::GoBack, record.clone(), Err(unreadable().into())).unwrap();
        }
        course.failing = Instant::now().checked_sub(PATIENCE * 2);
        let told = course.took(Step::GoBack, record.clone(), Err(unreadable().into()));
        assert!(matches!(told, Err(HydrationError::Late(_))), "{told:?}");
        let mut course = Course::default();
        course.fails(HydrationError::Late(clone_id()));
        let told = course.took(Step::Release, record, Err(unreadable().into()));
        assert!(matches!(told, Err(HydrationError::Late(_))), "{told:?}");
    }
}
