//! What was sealed opens with the private key, and the hash is that password's.

use std::process::Command;

use sha_crypt::{PasswordHash, PasswordVerifier};

use super::*;

/// A key pair made by ssh-keygen: the public line and the private file's text.
fn key_pair(kind: &str) -> (String, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key");
    let status = Command::new("ssh-keygen")
        .args(["-q", "-t", kind, "-b", "2048", "-N", "", "-C", "me@home", "-f"])
        .arg(&path)
        .status()
        .expect("ssh-keygen (package openssh-client) is needed");
    assert!(status.success());
    let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
    (public.trim().to_owned(), std::fs::read_to_string(path).unwrap())
}

fn opened(sealed: &str, private: &str) -> String {
    let identity = age::ssh::Identity::from_buffer(private.as_bytes(), None).unwrap();
    String::from_utf8(age::decrypt(&identity, sealed.as_bytes()).unwrap()).unwrap()
}

#[test]
fn the_owner_of_either_kind_of_key_opens_the_password_and_it_is_the_one_that_was_hashed() {
    for kind in ["ed25519", "rsa"] {
        let (public, private) = key_pair(kind);
        let made = make("ops", std::slice::from_ref(&public)).unwrap();
        let text = opened(&made.sealed, &private);
        assert_eq!(text.len(), LENGTH);
        assert_eq!(text, made.text.expose());
        let hash = hash(&text).unwrap();
        assert!(hash.expose().starts_with("$6$"));
        let hash = PasswordHash::new(hash.expose()).unwrap();
        ShaCrypt::default().verify_password(text.as_bytes(), &hash).unwrap();
        assert_eq!(made.recipient, public);
        assert!(made.sealed.len() <= 8 << 10);
    }
}

#[test]
fn the_first_key_that_can_be_sealed_to_is_taken_whatever_options_it_has() {
    let (public, private) = key_pair("ed25519");
    let keys = [
        "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTY= x".to_owned(),
        "sk-ssh-ed25519@openssh.com AAAA x".to_owned(),
        format!("from=\"10.0.0.0/8\",no-pty {public}"),
    ];
    let made = make("ops", &keys).unwrap();
    assert_eq!(opened(&made.sealed, &private).len(), LENGTH);
    assert!(matches!(make("ops", &keys[..2]), Err(PasswordError::NoRecipient)));
}

#[test]
fn two_passwords_differ_and_debug_shows_neither() {
    let (public, private) = key_pair("ed25519");
    let keys = [public];
    let (one, two) = (make("ops", &keys).unwrap(), make("ops", &keys).unwrap());
    assert_ne!(opened(&one.sealed, &private), opened(&two.sealed, &private));
    assert!(!format!("{one:?}").contains(one.text.expose()));
}

#[test]
fn a_made_password_meets_the_complexity_that_windows_asks_for() {
    let (public, _) = key_pair("ed25519");
    let keys = [public];
    for _ in 0..200 {
        let text = make("ops", &keys).unwrap().text;
        assert!(is_complex(text.expose(), "ops"));
    }
    assert!(is_complex("Abc2", "ab"));
    for bad in ["abc2", "ABC2", "Abcd", "xOpS2", ""] {
        assert!(!is_complex(bad, "ops"), "{bad}");
    }
}

#[test]
fn the_systems_own_crypt_checks_our_hash() {
    let hash = hash("correct horse").unwrap();
    let salt = hash.expose().rsplit_once('$').unwrap().0;
    let (_, salt) = salt.rsplit_once('$').unwrap();
    // openssl's passwd implements the same SHA-crypt independently.
    let Ok(output) =
        Command::new("openssl").args(["passwd", "-6", "-salt", salt, "correct horse"]).output()
    else {
        panic!("openssl is needed");
    };
    let theirs = String::from_utf8(output.stdout).unwrap();
    let end = |text: &str| text.trim().rsplit_once('$').unwrap().1.to_owned();
    assert_eq!(end(&theirs), end(hash.expose()));
}
