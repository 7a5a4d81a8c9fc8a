//! Hosts that claim, hand over and come late.

use proptest::prelude::*;

use super::*;
use crate::testing::{ids, master, pool};

fn host(name: &str) -> HostName {
    HostName::parse(name).unwrap()
}

#[test]
fn a_source_that_comes_back_late_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (master, _) = master(directory.path());
    let (id, here, there) = (ids(1).remove(0), host("here"), host("there"));
    master.clone_into(&pool(directory.path()), &ids(1)).unwrap();
    let claim = master.claim(&id, &here).unwrap();
    master.claimed(&claim).unwrap();
    assert!(matches!(master.claim(&id, &there), Err(CloneError::NotOwner { .. })));
    let moved = master.hand_over(&claim, &there).unwrap();
    // Whoever was stopped after that does it again, and it was done.
    assert_eq!(master.hand_over(&claim, &there).unwrap(), moved);
    master.claimed(&moved).unwrap();
    for late in [master.claimed(&claim).map(drop), master.claim(&id, &here).map(drop)] {
        let Err(CloneError::NotOwner { owner, .. }) = late else { panic!("{late:?}") };
        assert_eq!(owner, Some(moved.owner.clone()));
    }
    assert!(master.hand_over(&claim, &host("a-third")).is_err());
    // The other host is off for good.
    let seized = master.seize(&id, &here).unwrap();
    assert_eq!(seized.owner.epoch, 3);
    assert!(master.claimed(&moved).is_err());
    assert!(master.hand_over(&moved, &host("a-third")).is_err());
}

#[test]
fn of_two_processes_that_start_a_guest_on_one_host_the_first_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (master, _) = master(directory.path());
    let id = ids(1).remove(0);
    master.clone_into(&pool(directory.path()), &ids(1)).unwrap();
    let first = master.claim(&id, &host("here")).unwrap();
    let second = master.claim(&id, &host("here")).unwrap();
    assert!(master.claimed(&first).is_err());
    let text = serde_json::to_string(&second).unwrap();
    master.claimed(&serde_json::from_str(&text).unwrap()).unwrap();
}

proptest! {
    #[test]
    fn no_claim_is_ever_good_again_and_one_at_most_is_good(
        events in prop::collection::vec((0_u8..3, 0_usize..3, 0_usize..20), 1..40),
    ) {
        let hosts = ["one", "two", "three"].map(host);
        let mut owner: Option<Owner> = None;
        let mut given: Vec<Owner> = Vec::new();
        for (kind, at, by) in events {
            let host = &hosts[at];
            let event = match (kind, given.get(by)) {
                (0, _) => Event::Claim(host),
                (1, Some(by)) => Event::HandOver { by, to: host },
                _ => Event::Seize(host),
            };
            let Some(new) = next(owner.as_ref(), event) else { continue };
            let epoch = owner.as_ref().map_or(0, |owner| owner.epoch);
            // It goes forward by one, or all was done before.
            prop_assert!(new.epoch == epoch + 1 || Some(&new) == owner.as_ref());
            if !given.contains(&new) {
                prop_assert!(given.iter().all(|before| before.epoch < new.epoch));
                given.push(new.clone());
            }
            owner = Some(new);
        }
    }
}
