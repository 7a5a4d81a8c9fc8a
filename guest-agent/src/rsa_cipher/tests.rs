//! What was encrypted is opened by OpenSSL, which shares no line with the crate.

use std::{io::Write, path::Path, process::Command};

use super::*;

/// A key pair made by OpenSSL: the file of the private half, and modulus and exponent.
pub(crate) fn key_pair(directory: &Path, bits: u32) -> (std::path::PathBuf, Vec<u8>, Vec<u8>) {
    let path = directory.join("key.pem");
    let bits = format!("rsa_keygen_bits:{bits}");
    let status = Command::new("openssl")
        .args(["genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", &bits, "-out"])
        .arg(&path)
        .status()
        .expect("openssl is needed");
    assert!(status.success());
    let modulus = Command::new("openssl")
        .args(["rsa", "-noout", "-modulus", "-in"])
        .arg(&path)
        .output()
        .unwrap();
    let text = String::from_utf8(modulus.stdout).unwrap();
    let digits = text.trim().strip_prefix("Modulus=").unwrap();
    let modulus = (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    (path, modulus, vec![1, 0, 1])
}

/// What `openssl pkeyutl` makes of a ciphertext in base64.
pub(crate) fn opened(key: &Path, options: &[&str], sealed: &str) -> String {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&STANDARD.decode(sealed).unwrap()).unwrap();
    let mut command = Command::new("openssl");
    command.args(["pkeyutl", "-decrypt", "-inkey"]).arg(key).arg("-in").arg(file.path());
    for option in options {
        command.args(["-pkeyopt", option]);
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

const TEXT: &str = "Correct2horseBattery";

#[test]
fn openssl_opens_both_schemes_with_each_hash() {
    let directory = tempfile::tempdir().unwrap();
    let (path, modulus, exponent) = key_pair(directory.path(), 2048);
    let key = PublicKey::new(&modulus, &exponent).unwrap();
    let sealed = key.encrypt_pkcs1(TEXT).unwrap();
    assert_eq!(opened(&path, &["rsa_padding_mode:pkcs1"], &sealed), TEXT);
    assert_ne!(sealed, key.encrypt_pkcs1(TEXT).unwrap(), "each time another padding");
    for (hash, name) in [(Hash::Sha1, "sha1"), (Hash::Sha256, "sha256"), (Hash::Sha512, "sha512")] {
        let sealed = key.encrypt_oaep(hash, TEXT).unwrap();
        let digest = format!("rsa_oaep_md:{name}");
        assert_eq!(opened(&path, &["rsa_padding_mode:oaep", &digest], &sealed), TEXT, "{name}");
    }
}

#[test]
fn a_line_of_ssh_keygens_is_read_whatever_stands_around_the_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("id_rsa");
    let made = Command::new("ssh-keygen")
        .args(["-q", "-t", "rsa", "-b", "3072", "-m", "PEM", "-N", "", "-C", "me@home", "-f"])
        .arg(&path)
        .status()
        .unwrap();
    assert!(made.success());
    let public = std::fs::read_to_string(path.with_extension("pub")).unwrap();
    let line = format!("from=\"10.0.0.0/8\",no-pty {}", public.trim());
    let sealed = PublicKey::of_line(&line).unwrap().encrypt_pkcs1(TEXT).unwrap();
    assert_eq!(opened(&path, &["rsa_padding_mode:pkcs1"], &sealed), TEXT);
}

#[test]
fn what_is_no_key_or_a_weak_one_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (_, short, exponent) = key_pair(directory.path(), 1024);
    let even = [vec![0xff; 255], vec![0xfe]].concat();
    let odd = vec![0xff; 256];
    let cases: [(&[u8], &[u8]); 9] = [
        (&short, &exponent),
        (&even, &exponent),
        (&odd, &[2]),
        (&odd, &[1]),
        (&odd, &[]),
        (&[], &exponent),
        (&[0; 300], &exponent),
        (&[0xff; 1025], &exponent),
        (&odd, &[0xff; 16]),
    ];
    for (modulus, exponent) in cases {
        assert_eq!(PublicKey::new(modulus, exponent).unwrap_err(), CipherError::Key);
    }
    for line in [
        "",
        "ssh-rsa",
        "ssh-rsa AAAA x",
        "ssh-ed25519 AAAA",
        "ssh-rsa %%%",
        "ssh-rsa AAAAB3NzaC1yc2E=",
    ] {
        assert_eq!(PublicKey::of_line(line).unwrap_err(), CipherError::Key, "{line}");
    }
    let key = PublicKey::new(&odd, &[1, 0, 1]).unwrap();
    assert_eq!(key.encrypt_pkcs1(&"x".repeat(246)).unwrap_err(), CipherError::Text);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(blob in proptest::collection::vec(proptest::num::u8::ANY, 0..700)) {
        let _ = PublicKey::of_line(&format!("ssh-rsa {}", STANDARD.encode(&blob)));
        if let Ok(key) = PublicKey::new(&blob, &[1, 0, 1]) {
            let _ = key.encrypt_pkcs1(TEXT);
        }
    }
}
