//! Signatures are checked by another implementation: the machine's `openssl`.

use std::{path::Path, process::Command};

use base64::{Engine, engine::general_purpose::STANDARD};
use mezame_model::SecretBytes;

use super::*;
use crate::fixture::World;

/// Runs openssl in a folder; gives whether it succeeded, and what it wrote to stdout.
fn openssl(folder: &Path, arguments: &[&str]) -> (bool, Vec<u8>) {
    let output = Command::new("openssl").current_dir(folder).args(arguments).output().unwrap();
    (output.status.success(), output.stdout)
}

/// A folder with the site's certificate as a third party has it, and what a guest would hand out.
fn folder(world: &World) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let guest = world.web();
    let certificate = STANDARD.encode(&world.snapshot.site.signing_key.certificate);
    let pem =
        |kind: &str, text: &str| format!("-----BEGIN {kind}-----\n{text}\n-----END {kind}-----\n");
    let lines: Vec<_> = certificate.as_bytes().chunks(64).map(String::from_utf8_lossy).collect();
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    write("certificate.pem", pem("CERTIFICATE", &lines.join("\n")));
    let get = |leaf: &str| world.text(&guest, &format!("/latest/dynamic/instance-identity/{leaf}"));
    write("document", get("document"));
    write("signature", get("signature") + "\n");
    for name in ["pkcs7", "rsa2048"] {
        write(&format!("{name}.pem"), pem("PKCS7", &get(name)));
        write(&format!("{name}.cms"), pem("CMS", &get(name)));
    }
    folder
}

#[test]
fn openssl_verifies_both_cms_forms_and_gives_the_document_back() {
    let world = World::new();
    let folder = folder(&world);
    let document = std::fs::read(folder.path().join("document")).unwrap();
    for name in ["pkcs7", "rsa2048"] {
        for (command, file) in [("smime", format!("{name}.pem")), ("cms", format!("{name}.cms"))] {
            // Trusted by the certificate alone, with every check on.
            let (good, content) = openssl(
                folder.path(),
                &[
                    command,
                    "-verify",
                    "-binary",
                    "-inform",
                    "PEM",
                    "-in",
                    &file,
                    "-CAfile",
                    "certificate.pem",
                ],
            );
            assert!(good, "{command} {file}");
            assert_eq!(content, document, "{command} {file}");
        }
        // As Amazon's guide has it: the certificate given, the chain not asked for.
        let file = format!("{name}.pem");
        let (good, _) = openssl(
            folder.path(),
            &[
                "smime",
                "-verify",
                "-inform",
                "PEM",
                "-in",
                &file,
                "-content",
                "document",
                "-certfile",
                "certificate.pem",
                "-noverify",
            ],
        );
        assert!(good, "{name} as in the guide");
    }
}

#[test]
fn openssl_verifies_the_bare_signature() {
    let world = World::new();
    let folder = folder(&world);
    let run = |arguments: &[&str]| openssl(folder.path(), arguments);
    assert!(run(&["base64", "-d", "-in", "signature", "-out", "signature.bin"]).0);
    assert!(run(&["x509", "-in", "certificate.pem", "-pubkey", "-noout", "-out", "key.pem"]).0);
    let verify =
        ["dgst", "-sha256", "-verify", "key.pem", "-signature", "signature.bin", "document"];
    assert!(run(&verify).0);
    // And the check can fail: one changed byte, and it does.
    let mut document = std::fs::read(folder.path().join("document")).unwrap();
    document[20] ^= 1;
    std::fs::write(folder.path().join("document"), document).unwrap();
    assert!(!run(&verify).0);
}

#[test]
fn a_changed_document_does_not_verify() {
    let world = World::new();
    let folder = folder(&world);
    let mut der = world.signer.cms(&world.web());
    let id = world.web().instance.id.clone();
    let at = der.windows(19).position(|it| it == id.as_str().as_bytes()).unwrap();
    der[at + 18] ^= 1;
    std::fs::write(folder.path().join("changed.der"), der).unwrap();
    let (good, _) = openssl(
        folder.path(),
        &[
            "cms",
            "-verify",
            "-binary",
            "-inform",
            "DER",
            "-in",
            "changed.der",
            "-CAfile",
            "certificate.pem",
        ],
    );
    assert!(!good);
}

#[test]
fn the_document_has_ec2s_fields() {
    let world = World::new();
    let value: serde_json::Value = serde_json::from_str(&text(&world.web())).unwrap();
    let object = value.as_object().unwrap();
    for (name, expected) in [
        ("instanceId", "i-000000000000000a1"),
        ("region", "jp-east-1"),
        ("availabilityZone", "jp-east-1a"),
        ("privateIp", "192.168.0.10"),
        ("pendingTime", "2026-11-23T12:00:00Z"),
        ("imageId", "ami-0123456789abcdef0"),
        ("version", "2017-09-30"),
    ] {
        assert_eq!(object[name], expected, "{name}");
    }
    let account = object["accountId"].as_str().unwrap();
    assert!(account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit()));
    assert_ne!(account, account_id(&world.db().instance.project));
    assert!(object["kernelId"].is_null());
}

#[test]
fn a_signature_is_made_once_for_a_document_and_the_memory_is_bounded() {
    let world = World::new();
    let first = world.signer.signature(&world.web());
    assert!(Arc::ptr_eq(&first, &world.signer.signature(&world.web())));
    assert_ne!(first, world.signer.signature(&world.db()));
    {
        let mut made = world.signer.made.lock().unwrap();
        for at in 0..Signer::REMEMBERED {
            let mut name = [0xff; 32];
            name[..8].copy_from_slice(&at.to_be_bytes());
            made.insert(name, Arc::from([]));
        }
    }
    world.signer.sign(b"one more");
    assert_eq!(world.signer.made.lock().unwrap().len(), 1);
}

#[test]
fn an_instance_that_asks_for_ever_new_signatures_is_stopped_and_its_neighbour_is_not() {
    let world = World::new();
    let (web, db) = (world.web().instance.id.clone(), world.db().instance.id.clone());
    let content = |number: u32| number.to_be_bytes();
    let affords = |number, id, now| world.signer.affords(&content(number), id, UnixTime(now));
    world.signer.sign(&content(0));
    for number in 1..=Signer::PER_WINDOW {
        assert!(affords(number, &web, 0), "{number}");
    }
    assert!(!affords(1000, &web, Signer::WINDOW - 1));
    assert!(affords(0, &web, 1), "what is remembered costs nothing");
    assert!(affords(1000, &db, 1));
    assert!(affords(1000, &web, Signer::WINDOW));
}

#[test]
fn a_key_without_its_certificate_is_refused() {
    let key = World::new().snapshot.site.signing_key.clone();
    let broken = |change: &dyn Fn(&mut SigningKey)| {
        let mut changed = key.clone();
        change(&mut changed);
        Signer::new(&changed, Box::new(ring::rand::SystemRandom::new())).err()
    };
    assert!(matches!(
        broken(&|it| it.pkcs8 = SecretBytes::new(vec![1, 2, 3])),
        Some(SignerError::Key(_))
    ));
    assert_eq!(broken(&|it| it.certificate.clear()), Some(SignerError::Certificate));
    assert_eq!(broken(&|it| it.certificate.push(0)), Some(SignerError::Certificate));
    // The last bytes of the key's modulus and exponent lie somewhere in the certificate.
    let found = (0..key.certificate.len())
        .any(|at| broken(&|it| it.certificate[at] ^= 1) == Some(SignerError::Mismatch));
    assert!(found);
}

proptest::proptest! {
    #[test]
    fn no_certificate_makes_the_reader_panic(
        at in 0usize..800, byte: u8, cut in 0usize..900,
    ) {
        let mut der = World::new().snapshot.site.signing_key.certificate.clone();
        der[at] = byte;
        der.truncate(cut);
        let _ = Certificate::read(&der);
    }
}
