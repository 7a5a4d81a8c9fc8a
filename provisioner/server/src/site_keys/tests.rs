//! Rotation in time, and a signature that a third party verifies.

use ring::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};

use super::*;
use crate::environment::fixed::FixedEnvironment;

const DAY_MS: u64 = 86_400_000;

fn site(environment: &FixedEnvironment) -> StoredSite {
    StoredSite::without_signing_key(environment)
}

fn numbers(site: &StoredSite) -> Vec<u32> {
    site.site().token_keys.iter().map(|key| key.number).collect()
}

#[test]
fn a_rotated_key_stands_first_and_the_old_one_opens_until_its_last_token_ended() {
    let environment = FixedEnvironment::new();
    let rotated = site(&environment).rotated(&environment).unwrap();
    assert_eq!(numbers(&rotated), [2, 1]);
    environment.advance_ms(LONGEST_TOKEN_MS);
    assert_eq!(rotated.pruned(environment.now_ms()), None);
    environment.advance_ms(MARGIN_MS);
    assert_eq!(numbers(&rotated.pruned(environment.now_ms()).unwrap()), [2]);
}

#[test]
fn the_next_work_is_a_rotation_or_a_removal_whichever_is_first() {
    let environment = FixedEnvironment::new();
    let fresh = site(&environment);
    let start = environment.now_ms();
    assert_eq!(fresh.next_due_ms(DAY_MS), start + DAY_MS);
    let rotated = fresh.rotated(&environment).unwrap();
    assert_eq!(rotated.next_due_ms(DAY_MS), start + KEPT_MS);
    assert_eq!(rotated.rotation_due_ms(DAY_MS), start + DAY_MS);
}

#[test]
fn a_number_is_never_used_again() {
    let environment = FixedEnvironment::new();
    let mut current = site(&environment);
    for expected in 2..10 {
        current = current.rotated(&environment).unwrap();
        assert_eq!(numbers(&current)[0], expected);
        environment.advance_ms(DAY_MS);
    }
    assert_eq!(numbers(&current.pruned(environment.now_ms()).unwrap()), [9]);
}

#[test]
fn rotating_without_end_is_refused_before_the_snapshot_grows() {
    let environment = FixedEnvironment::new();
    let mut current = site(&environment);
    let refused = loop {
        match current.rotated(&environment) {
            Ok(next) => current = next,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, KeyError::TooManyTokenKeys));
    assert_eq!(numbers(&current).len(), MOST_TOKEN_KEYS);
    environment.advance_ms(KEPT_MS);
    assert_eq!(numbers(&current.rotated(&environment).unwrap()), [65, 64]);
}

#[test]
fn another_region_in_the_settings_changes_the_name_and_no_key() {
    let environment = FixedEnvironment::new();
    let old = site(&environment);
    assert_eq!(old.renamed("local-1", "mezame.internal"), None);
    let new = old.renamed("jp-east-1", "mezame.internal").unwrap();
    assert_eq!(new.token_keys, old.token_keys);
    assert_eq!(&*new.site().region, "jp-east-1");
}

#[test]
fn what_the_signing_key_signs_is_verified_with_its_certificate() {
    let environment = FixedEnvironment::new();
    let made = StoredSite::make("local-1", "mezame.internal", &environment).unwrap().site();
    let pair = RsaKeyPair::from_pkcs8(made.signing_key.pkcs8.expose()).unwrap();
    assert_eq!(pair.public().modulus_len(), 256);
    let mut signature = vec![0; 256];
    let random = ring::rand::SystemRandom::new();
    pair.sign(&RSA_PKCS1_SHA256, &random, b"document", &mut signature).unwrap();
    // The certificate carries the key of the pair: its subject public key info ends with it.
    let public = pair.public().as_ref();
    let certificate = &made.signing_key.certificate;
    assert!(certificate.windows(public.len()).any(|w| w == public));
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public)
        .verify(b"document", &signature)
        .unwrap();
}

#[test]
fn the_certificate_is_shown_as_pem_that_decodes_to_it() {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let environment = FixedEnvironment::new();
    let mut stored = site(&environment);
    stored.signing_key.certificate = (0..200).collect();
    let pem = stored.certificate_pem();
    assert!(pem.lines().all(|line| line.len() <= 64));
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    assert_eq!(&*der, &stored.signing_key.certificate[..]);
}
