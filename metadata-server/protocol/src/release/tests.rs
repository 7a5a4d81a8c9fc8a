//! Once a boot, whoever says what.

use proptest::prelude::*;

use super::*;

fn asker(start: u8, nonce: &str) -> Asker {
    let asked = KeyQuestion { public_key: STANDARD.encode([9; 32]), boot_nonce: nonce.into() };
    let instance = InstanceId::parse("i-0123456789abcdef0").unwrap();
    let port = PortId::parse("eni-0123456789abcdef0").unwrap();
    let volume = VolumeName::parse("root").unwrap();
    let start = Start { id: BootDigest::new([start; 16]), age_s: 1 };
    Asker::new(asked, (&instance, &port), volume, start).unwrap()
}

fn claim(once: Once, start: u8, nonce: &str) -> Claim {
    let key = mezame_model::SecretBytes::new(vec![77; 32]);
    let key = VolumeKey {
        versions: vec![KeyVersion { number: 3, key }],
        last: 3,
        state: Default::default(),
        once,
        window_seconds: None,
        not_after: None,
    };
    Claim::new(asker(start, nonce), &key, Generation(7))
}

const NONCE: &str = "0123456789abcdef";
const OTHER: &str = "fedcba9876543210";

#[test]
fn in_one_start_a_key_is_given_once_whatever_the_guest_says_of_its_boot() {
    let given = claim(Once::PerStart, 1, NONCE).settle(&Released::default()).unwrap();
    for nonce in [NONCE, OTHER] {
        let again = claim(Once::PerStart, 1, nonce).settle(&given);
        assert_eq!(again, Err(Withheld::AlreadyReleased));
    }
    let next = claim(Once::PerStart, 2, NONCE).settle(&given).unwrap();
    assert_ne!(next, given);
    // What was given in an earlier start gives no right to one more in this.
    assert_eq!(claim(Once::PerStart, 2, OTHER).settle(&next), Err(Withheld::AlreadyReleased));
}

#[test]
fn where_guests_reboot_by_themselves_each_boot_is_given_it_once_up_to_a_number() {
    let mut given = claim(Once::PerBoot, 1, NONCE).settle(&Released::default()).unwrap();
    let settle = |nonce: &str, given: &Released| claim(Once::PerBoot, 1, nonce).settle(given);
    assert_eq!(settle(NONCE, &given), Err(Withheld::AlreadyReleased));
    for number in 1..Released::BOOTS_MAX {
        given = settle(&format!("boot-number-{number:08}"), &given).unwrap();
        assert_eq!(settle(NONCE, &given), Err(Withheld::AlreadyReleased));
    }
    assert_eq!(settle(OTHER, &given), Err(Withheld::TooManyBoots));
    let next = claim(Once::PerBoot, 2, OTHER).settle(&given).unwrap();
    assert!(claim(Once::PerBoot, 2, NONCE).settle(&next).is_ok());
}

#[test]
fn what_was_released_comes_back_from_the_disk_as_it_was() {
    let given = claim(Once::PerBoot, 1, NONCE).settle(&Released::default()).unwrap();
    assert_eq!(given.generation, Generation(7));
    let json = serde_json::to_vec(&given).unwrap();
    assert_eq!(serde_json::from_slice::<Released>(&json).unwrap(), given);
}

#[test]
fn a_start_is_another_wherever_anything_about_it_is() {
    let port = |number: u8| PortId::parse(&format!("eni-{number:017x}")).unwrap();
    let start = start_id("host", &port(1), 7, 2);
    assert_eq!(start, start_id("host", &port(1), 7, 2));
    for other in [
        start_id("host2", &port(1), 7, 2),
        start_id("host", &port(2), 7, 2),
        start_id("host", &port(1), 8, 2),
        start_id("host", &port(1), 7, 3),
        start_id("host", &port(1), 72, 0),
    ] {
        assert_ne!(start, other);
    }
}

#[test]
fn the_audit_trail_has_digests_of_the_boot_and_neither_nonce_nor_key() {
    let claim = claim(Once::PerStart, 1, NONCE);
    let (refused, reply) = claim.refused(Withheld::Revoked);
    assert_eq!(reply.status, Status::Forbidden);
    assert!(reply.body.starts_with(br#"{"detail":"the key is revoked","error":"revoked"}"#));
    let text = format!("{:?}{refused:?}{claim:?}", claim.released());
    assert!(!text.contains("77") && text.contains("Released([3])"), "{text}");
    let GuestEventKind::VolumeKey(request) = claim.released() else { panic!() };
    assert_eq!(request.boot, boot_id(&claim.asker.instance, NONCE));
    assert!(!format!("{request:?}").contains(NONCE));
}

#[test]
fn a_reply_is_sealed_anew_each_time_and_holds_no_key_in_the_clear() {
    let claim = claim(Once::PerStart, 1, NONCE);
    let random = ring::rand::SystemRandom::new();
    let (one, other) = (claim.seal(&random).unwrap(), claim.seal(&random).unwrap());
    assert_ne!(one.body, other.body);
    assert!(one.no_store && one.audit == Some(Audit::VolumeKey(claim.asker.volume.clone())));
    let body: serde_json::Value = serde_json::from_slice(&one.body).unwrap();
    assert_eq!(body["keys"][0]["version"], 3);
    let sealed = STANDARD.decode(body["keys"][0]["sealed"].as_str().unwrap()).unwrap();
    assert_eq!(sealed.len(), 32 + 16);
    assert!(!sealed.windows(8).any(|bytes| bytes == [77; 8]));
}

#[test]
fn nothing_is_sealed_to_a_key_that_keeps_no_secret() {
    let mut claim = claim(Once::PerStart, 1, NONCE);
    claim.asker.recipient = [0; 32];
    let refused = claim.seal(&ring::rand::SystemRandom::new()).unwrap_err();
    assert_eq!(refused.status, Status::BadRequest);
    assert_eq!(refused.audit, None);
}

proptest! {
    #[test]
    fn any_request_is_taken_or_refused_and_what_is_taken_is_in_bounds(
        public_key: String, boot_nonce: String,
    ) {
        let taken = ask(&public_key, &boot_nonce);
        if let Ok(asker) = taken {
            prop_assert!((16..=64).contains(&asker.nonce.len()));
            prop_assert!(!associated(&asker, 1).contains('\r'));
            prop_assert_eq!(associated(&asker, 1).lines().count(), 5);
        }
    }

    #[test]
    fn every_nonce_of_the_right_form_is_taken(nonce in "[0-9A-Za-z-]{16,64}", key: [u8; 32]) {
        prop_assert!(ask(&STANDARD.encode(key), &nonce).is_ok());
    }

    #[test]
    fn no_order_of_requests_gets_a_key_twice_in_one_start(
        starts in prop::collection::vec(0u8..3, 1..40),
        nonces in prop::collection::vec("[0-9a-f]{16}", 40),
    ) {
        // Starts come one after the other: an earlier one does not come again.
        let mut starts = starts;
        starts.sort_unstable();
        let (mut given, mut got) = (Released::default(), Vec::new());
        for (start, nonce) in starts.iter().zip(&nonces) {
            if let Ok(after) = claim(Once::PerStart, *start, nonce).settle(&given) {
                given = after;
                got.push(*start);
            }
        }
        starts.dedup();
        prop_assert_eq!(got, starts);
    }
}

fn ask(public_key: &str, boot_nonce: &str) -> Result<Asker, AskError> {
    let asked = KeyQuestion { public_key: public_key.into(), boot_nonce: boot_nonce.into() };
    let instance = InstanceId::parse("i-0123456789abcdef0").unwrap();
    let port = PortId::parse("eni-0123456789abcdef0").unwrap();
    Asker::new(asked, (&instance, &port), VolumeName::parse("root").unwrap(), Start::NONE)
}
