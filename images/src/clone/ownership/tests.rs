//! Hosts that claim, hand over and come late.

use proptest::prelude::*;

use super::*;
use crate::testing::{ids, master, pool};

fn host(name: &str) -> HostName {
    HostName::parse(name).unwrap()
}

fn cold(master: &Master, claim: &Claim) -> Result<(), CloneError> {
    master.claimed(claim, Start::Cold).map(drop)
}

#[test]
fn a_source_that_comes_back_late_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (master, _) = master(directory.path());
    let (id, here, there) = (ids(1).remove(0), host("here"), host("there"));
    master.clone_into(&pool(directory.path()), &ids(1)).unwrap();
    let claim = master.claim(&id, &here).unwrap();
    master.claimed(&claim, Start::Cold).unwrap();
    assert!(matches!(master.claim(&id, &there), Err(CloneError::NotOwner { .. })));
    let moved = master.hand_over(&claim, &there).unwrap();
    // Whoever was stopped after that does it again, and it was done.
    assert_eq!(master.hand_over(&claim, &there).unwrap(), moved);
    master.claimed(&moved, Start::Cold).unwrap();
    for late in [cold(&master, &claim), master.claim(&id, &here).map(drop)] {
        let Err(CloneError::NotOwner { ownership, .. }) = late else { panic!("{late:?}") };
        assert_eq!(*ownership, Ownership::Held(moved.owner.clone()));
    }
    assert!(master.hand_over(&claim, &host("a-third")).is_err());
    // The other host is off for good.
    let seized = master.seize(&id, &here).unwrap();
    assert_eq!(seized.owner.epoch, 4);
    // What the other one hands over to it late was not done by that.
    assert!(master.hand_over(&moved, &here).is_err());
    assert!(cold(&master, &moved).is_err());
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
    assert!(cold(&master, &first).is_err() && master.hand_over(&first, &host("here")).is_err());
    let text = serde_json::to_string(&second).unwrap();
    cold(&master, &serde_json::from_str(&text).unwrap()).unwrap();
}

#[test]
fn while_a_guest_moves_nobody_starts_it_anew_and_one_host_waits_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let (master, _) = master(directory.path());
    let (id, here, there) = (ids(1).remove(0), host("here"), host("there"));
    master.clone_into(&pool(directory.path()), &ids(1)).unwrap();
    let waits = |claim: &Claim| master.claimed(claim, Start::Incoming).is_ok();
    let claim = master.claim(&id, &here).unwrap();
    assert!(!waits(&claim));
    let offered = master.offer(&claim, &there).unwrap();
    assert_eq!(master.offer(&claim, &there).unwrap(), offered);
    assert!(waits(&offered) && !waits(&claim));
    assert!(cold(&master, &claim).is_err() && cold(&master, &offered).is_err());
    let fault = master.claim(&id, &here).unwrap_err().to_string();
    let told = "its guest moves from here to there, which waits by claim 2";
    assert!(fault.ends_with(told), "{fault}");
    // Not to anybody else meanwhile, and nobody is rid of it.
    assert!(master.offer(&claim, &here).is_err() && master.hand_over(&claim, &here).is_err());
    assert!(master.release(&claim).is_err() && master.release(&offered).is_err());
    // It did not move: who waited waits for nothing any more, also when it is offered once more.
    let again = master.withdraw(&claim).unwrap();
    cold(&master, &again).unwrap();
    assert!(cold(&master, &claim).is_err() && master.withdraw(&claim).is_err());
    let second = master.offer(&again, &there).unwrap();
    assert!(waits(&second) && !waits(&offered));
    assert_eq!(master.hand_over(&again, &there).unwrap(), second);
    cold(&master, &second).unwrap();
    assert!(cold(&master, &again).is_err() && !waits(&second));
    master.release(&second).unwrap();
    master.release(&second).unwrap();
    assert!(cold(&master, &second).is_err());
    assert_eq!(master.claim(&id, &here).unwrap().owner.epoch, 6);
    assert!(master.release(&second).is_err());
}

#[test]
fn a_record_tells_nobody_a_holder_and_a_move_apart() {
    let (a, b) = (host("a"), host("b"));
    let new = Ownership::default();
    let held = new.next(Event::Claim(&a)).unwrap();
    let Ownership::Held(by) = &held else { panic!("{held:?}") };
    let moving = held.next(Event::Offer { by, to: &b }).unwrap();
    let released = held.next(Event::Release(by)).unwrap();
    for (ownership, text) in [
        (new, r#"{"epoch":0}"#),
        (held.clone(), r#"{"host":"a","epoch":1}"#),
        (moving, r#"{"from":{"host":"a","epoch":1},"to":{"host":"b","epoch":2}}"#),
        (released, r#"{"epoch":2}"#),
    ] {
        assert_eq!(serde_json::to_string(&ownership).unwrap(), text);
        assert_eq!(serde_json::from_str::<Ownership>(text).unwrap(), ownership);
    }
    for text in
        ["{}", r#"{"host":"a"}"#, r#"{"host":"a","epoch":1,"to":"b"}"#, r#"{"host":"A","epoch":1}"#]
    {
        assert!(serde_json::from_str::<Ownership>(text).is_err(), "{text}");
    }
    // There is no number after the last one.
    let last = Ownership::Nobody { epoch: u64::MAX };
    assert_eq!(last.next(Event::Claim(&a)), None);
}

proptest! {
    /// Whatever is asked for in whatever order, with whatever claim of before.
    #[test]
    fn no_claim_is_ever_good_again_and_one_at_most_is_good(
        events in prop::collection::vec((0_u8..6, 0_usize..3, 0_usize..20), 1..60),
    ) {
        let hosts = ["one", "two", "three"].map(host);
        let volume = ids(1).remove(0);
        let mut ownership = Ownership::default();
        let mut given: Vec<Owner> = Vec::new();
        // Those that were good and are not any more, to start a guest anew.
        let mut ended: Vec<Owner> = Vec::new();
        for (kind, at, by) in events {
            let host = &hosts[at];
            let event = match (kind, given.get(by)) {
                (0, _) => Event::Claim(host),
                (1, Some(by)) => Event::Offer { by, to: host },
                (2, Some(by)) => Event::HandOver { by, to: host },
                (3, Some(by)) => Event::Withdraw(by),
                (4, Some(by)) => Event::Release(by),
                _ => Event::Seize(host),
            };
            let Some(new) = ownership.next(event) else { continue };
            let last = ownership.last();
            prop_assert!(new.last() >= last && new.last() <= last + 2);
            if let Ownership::Held(owner) | Ownership::Moving { to: owner, .. } = &new
                && !given.contains(owner)
            {
                prop_assert!(given.iter().all(|before| before.epoch < owner.epoch));
                given.push(owner.clone());
            }
            let good = |ownership: &Ownership, start| {
                let claim = |owner: &&Owner| Claim { volume: volume.clone(), owner: (*owner).clone() };
                let good = given.iter().filter(|owner| ownership.check(&volume, &claim(owner), start).is_ok());
                good.cloned().collect::<Vec<_>>()
            };
            let (cold, incoming) = (good(&new, Start::Cold), good(&new, Start::Incoming));
            prop_assert!(cold.len() + incoming.len() <= 1, "{new:?}");
            prop_assert!(cold.iter().all(|owner| !ended.contains(owner)), "{new:?}");
            // Who offered it may hand it over later, but starts nothing by the same claim again.
            ended.extend(good(&ownership, Start::Cold).into_iter().filter(|was| !cold.contains(was)));
            ownership = new;
        }
    }
}
