//! What a backup's end is told as.

use super::*;
use crate::volumes::executor::ExecutorError;

#[test]
fn a_cancelled_backup_whose_point_in_time_stays_open_is_told_to_be_so() {
    let web = VolumeId::parse("web").unwrap();
    let cancelled = || {
        let missing = vec![(web.clone(), ExecutorError::new(Reason::Cancelled, "cancelled"))];
        BackedUp { missing, ..BackedUp::default() }
    };
    assert!(matches!(told(cancelled()), Err(Unfinished::Cancelled)));
    let not_closed = Some(ExecutorError::new(Reason::Monitor, "it does not answer"));
    let Err(Unfinished::Failed(outcome)) = told(BackedUp { not_closed, ..cancelled() }) else {
        panic!("it hides that the guest copies what it overwrites");
    };
    assert!(outcome.faults.iter().any(|fault| fault.path == "qmp"));
}
