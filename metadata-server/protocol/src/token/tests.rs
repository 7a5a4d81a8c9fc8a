//! Tests of session tokens: whose they are, how long they last, which keys open them.

use mezame_model::SecretBytes;
use proptest::prelude::*;

use super::*;
use crate::fixture::{Same, World};

fn key(number: u32, byte: u8) -> TokenKey {
    TokenKey { number, key: SecretBytes::new(vec![byte; 32]) }
}

fn id(last: u8) -> InstanceId {
    InstanceId::parse(&format!("i-{last:017x}")).unwrap()
}

const NOW: UnixTime = UnixTime(1_800_000_000);

fn seal(keys: &TokenKeys, seconds: u32) -> String {
    keys.seal(&id(1), TokenTtl(seconds), NOW, &Same).unwrap()
}

#[test]
fn a_token_opens_for_its_instance_until_its_time_is_over() {
    let keys = TokenKeys::new(&[key(1, 1)]).unwrap();
    let token = seal(&keys, 60);
    let open = |seconds| keys.open(token.as_bytes(), &id(1), UnixTime(NOW.0 + seconds));
    assert_eq!(open(0), Some(60));
    assert_eq!(open(59), Some(1));
    assert_eq!(open(60), None);
    assert_eq!(open(u64::MAX - NOW.0), None);
}

#[test]
fn token_of_another_instance_is_refused() {
    let keys = TokenKeys::new(&[key(1, 1)]).unwrap();
    assert_eq!(keys.open(seal(&keys, 60).as_bytes(), &id(2), NOW), None);
}

#[test]
fn without_random_bytes_there_is_no_token() {
    struct Dry;
    impl Randomness for Dry {
        fn fill(&self, _: &mut [u8]) -> Result<(), NoRandomness> {
            Err(NoRandomness)
        }
    }
    let keys = TokenKeys::new(&[key(1, 1)]).unwrap();
    assert_eq!(keys.seal(&id(1), TokenTtl(60), NOW, &Dry), None);
}

#[test]
fn a_token_outlives_the_rotation_of_keys_until_its_key_is_gone() {
    let token = seal(&TokenKeys::new(&[key(1, 1)]).unwrap(), 60);
    let rotated = TokenKeys::new(&[key(2, 2), key(1, 1)]).unwrap();
    assert_eq!(rotated.open(token.as_bytes(), &id(1), NOW), Some(60));
    let newer = seal(&rotated, 60);
    let without = TokenKeys::new(&[key(2, 2)]).unwrap();
    assert_eq!(without.open(token.as_bytes(), &id(1), NOW), None);
    assert_eq!(without.open(newer.as_bytes(), &id(1), NOW), Some(60));
}

#[test]
fn a_keys_number_alone_does_not_make_it_the_key() {
    let token = seal(&TokenKeys::new(&[key(1, 1)]).unwrap(), 60);
    let other = TokenKeys::new(&[key(1, 9)]).unwrap();
    assert_eq!(other.open(token.as_bytes(), &id(1), NOW), None);
}

#[test]
fn every_changed_character_spoils_a_token() {
    let keys = TokenKeys::new(&[key(1, 1)]).unwrap();
    let token = seal(&keys, 60);
    for at in 0..token.len() {
        for other in *b"AZaz09-_+/= \0\xff" {
            let mut changed = token.clone().into_bytes();
            if changed[at] != other {
                changed[at] = other;
                assert_eq!(keys.open(&changed, &id(1), NOW), None, "at {at}");
            }
        }
    }
    for other in [&token[1..], &token[..token.len() - 1], &format!("{token}="), ""] {
        assert_eq!(keys.open(other.as_bytes(), &id(1), NOW), None);
    }
}

#[test]
fn a_clock_that_went_back_does_not_lengthen_a_token() {
    let keys = TokenKeys::new(&[key(1, 1)]).unwrap();
    let token = seal(&keys, TokenTtl::MAX);
    let open = keys.open(token.as_bytes(), &id(1), UnixTime(1_000));
    assert_eq!(open, Some(TokenTtl::MAX));
}

#[test]
fn ttls_are_1_to_21600_seconds() {
    for (text, ttl) in [("1", 1), ("21600", 21_600), ("00060", 60)] {
        assert_eq!(TokenTtl::parse(text.as_bytes()), Some(TokenTtl(ttl)));
    }
    for text in ["", "0", "21601", "99999", "-1", "+1", "1.5", "60s", "000060", " 60", "\u{663}"] {
        assert_eq!(TokenTtl::parse(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn keys_that_are_none_or_too_short_are_refused() {
    assert_eq!(TokenKeys::new(&[]).err(), Some(TokenKeyError::None));
    let short = TokenKey { number: 3, key: SecretBytes::new(vec![1; 31]) };
    assert_eq!(
        TokenKeys::new(&[key(4, 4), short]).err(),
        Some(TokenKeyError::Length { number: 3, length: 31 })
    );
}

#[test]
fn one_token_works_on_both_ports_of_a_guest() {
    let world = World::new();
    let mut guest = world.web();
    let token = world.token(&guest, 60);
    for _ in 0..2 {
        guest.ports.swap(0, 1);
        let headers = [("X-aws-ec2-metadata-token", token.as_str())];
        assert_eq!(world.ask(&guest, "GET", "/latest/meta-data/mac", &headers).status.code(), 200);
    }
}

proptest! {
    #[test]
    fn no_bytes_open_that_were_not_sealed(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let keys = TokenKeys::new(&[key(1, 1)]).unwrap();
        prop_assert_eq!(keys.open(&bytes, &id(1), NOW), None);
    }

    #[test]
    fn whatever_is_sealed_opens(ttl in 1..=TokenTtl::MAX, now in 0..=u64::from(u32::MAX)) {
        let keys = TokenKeys::new(&[key(1, 1)]).unwrap();
        let now = UnixTime(now);
        let token = keys.seal(&id(1), TokenTtl(ttl), now, &Same).unwrap();
        prop_assert_eq!(keys.open(token.as_bytes(), &id(1), now), Some(ttl));
    }
}
