//! The vectors of RFC 9180, appendix A.2.1, and what a recipient must be able to rely on.

use ring::rand::SystemRandom;

use super::*;

fn hex<const LENGTH: usize>(text: &str) -> [u8; LENGTH] {
    assert_eq!(text.len(), 2 * LENGTH);
    std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
}

const PK_R: &str = "4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a";
const ENC: &str = "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a";
const SHARED_SECRET: &str = "0bbe78490412b4bbea4812666f7916932b828bba79942424abb65244930d69a7";

#[test]
fn the_shared_secret_is_as_in_the_appendix() {
    // X25519 of skEm and pkRm, which the appendix does not print.
    let shared = hex::<32>("abcb90ca2fce0148743e01e11bdad631767e47ba4d10947ddf0db562cbd65b74");
    let secret = extract_and_expand(&shared, &hex(ENC), &hex(PK_R));
    assert_eq!(*secret, hex::<32>(SHARED_SECRET));
}

#[test]
fn key_nonce_and_messages_are_as_in_the_appendix() {
    let schedule = key_schedule(&hex(SHARED_SECRET), b"Ode on a Grecian Urn");
    let key = hex::<32>("ad2744de8e17f4ebba575b3f5f5a8fa1f69c2a07f6e7500bc60ca6e3e3ec1c91");
    assert_eq!(*schedule.key, key);
    assert_eq!(schedule.base_nonce, hex::<12>("5c4d98150661b848853b547f"));
    let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &key).unwrap());
    let base_nonce = schedule.base_nonce;
    let mut sender = Sender { encapsulated: hex(ENC), key, base_nonce, sequence: 0 };
    for (aad, sealed) in [
        (
            "Count-0",
            "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db\
             21993c62ce81883d2dd1b51a28",
        ),
        (
            "Count-1",
            "6b53c051e4199c518de79594e1c4ab18b96f081549d45ce015be002090bb119e\
             85285337cc95ba5f59992dc98c",
        ),
    ] {
        let made = sender.seal(aad.as_bytes(), b"Beauty is truth, truth beauty").unwrap();
        assert_eq!(made, hex::<45>(sealed), "{aad}");
    }
}

#[test]
fn a_key_that_shares_no_secret_is_refused() {
    let random = SystemRandom::new();
    // Of small order (RFC 7748, section 7): whatever the sender's key, the result is zero.
    for zero in [[0; 32], std::array::from_fn(|at| u8::from(at == 0))] {
        let refused = Sender::new(&zero, b"", &random).err();
        assert_eq!(refused, Some(HpkeError::Agreement));
    }
    assert!(Sender::new(&hex(PK_R), b"", &random).is_ok());
}

#[test]
fn no_two_contexts_are_the_same() {
    let random = SystemRandom::new();
    let sealed = || {
        let mut sender = Sender::new(&hex(PK_R), b"", &random).unwrap();
        (sender.encapsulated, sender.seal(b"", b"key").unwrap(), sender.seal(b"", b"key").unwrap())
    };
    let (one, other) = (sealed(), sealed());
    assert_ne!(one.0, other.0);
    assert_ne!(one.1, other.1);
    assert_ne!(one.1, one.2, "nor two messages of one");
}
