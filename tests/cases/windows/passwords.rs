//! Passwords that other clouds' tools ask for, resets, and certificates, on a Windows: answered by
//! the agent for Windows, opened by OpenSSL and by the operator's own command.

use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD};

use super::*;

/// An RSA key of OpenSSL's: the file of its private half, and its modulus in base64.
fn key_pair(directory: &Path) -> (PathBuf, String) {
    let path = directory.join("asker.pem");
    let mut openssl = process::command("openssl");
    let bits = ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"];
    process::succeed(openssl.args(["genpkey", "-quiet"]).args(bits).arg(&path)).unwrap();
    let mut openssl = process::command("openssl");
    let printed = process::output(openssl.args(["rsa", "-noout", "-modulus", "-in"]).arg(&path));
    let digits = printed.unwrap().trim().trim_start_matches("Modulus=").to_owned();
    let bytes: Vec<u8> = (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    (path, STANDARD.encode(bytes))
}

/// What OpenSSL makes of a ciphertext in base64.
fn opened(key: &Path, padding: &str, sealed: &str) -> String {
    let file = key.with_extension("sealed");
    fs::write(&file, STANDARD.decode(sealed).unwrap()).unwrap();
    let mut openssl = process::command("openssl");
    let mode = format!("rsa_padding_mode:{padding}");
    openssl.args(["pkeyutl", "-decrypt", "-pkeyopt", &mode, "-inkey"]).arg(key);
    process::output(openssl.arg("-in").arg(&file)).unwrap()
}

/// What `reg` says of the store that a rehearsal has in place of the system's.
fn stored(guest: &Guest) -> String {
    let store = r"HKLM\SOFTWARE\Microsoft\SystemCertificates\MezameRehearsal\Certificates";
    guest.wine.run(&["reg", "query", store, "/s"]).unwrap().stdout
}

#[test]
fn other_clouds_tools_are_answered_a_reset_is_done_once_and_certificates_come_and_go() {
    let mut guest = Guest::with(&json!({"dialects": ["mezame", "openstack"]}));
    let directory = guest.lab.directory().to_owned();
    let (asker, modulus) = key_pair(&directory);
    let ca = directory.join("ca.pem");
    let mut openssl = process::command("openssl");
    let words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=CA", "-keyout"];
    process::succeed(openssl.args(words).arg("/dev/null").arg("-out").arg(&ca)).unwrap();
    let ask = json!({"userName": "Boss", "modulus": modulus, "exponent": "AQAB",
        "expireOn": "2099-01-01T00:00:00Z"});
    let last = guest.documents.last_mut().unwrap();
    last["windows_keys"] = json!([ask]);
    last["trusted_certificates"] = json!([fs::read_to_string(&ca).unwrap()]);
    guest.lab.operator.apply(&guest.documents).unwrap();
    wait::until("the answer on the serial port", SOON * 4, || {
        let run = guest.run();
        anyhow::ensure!(!guest.text("serial-COM4.txt").is_empty(), "{run}");
        Ok(())
    })
    .unwrap();
    let [rsa, _] = &guest.keys;

    // As Google's agent answers.
    let serial = guest.text("serial-COM4.txt");
    let answer: Value = serde_json::from_str(serial.lines().last().unwrap()).unwrap();
    assert_eq!(answer["modulus"], modulus, "{serial}");
    let password = opened(&asker, "oaep", answer["encryptedPassword"].as_str().unwrap());
    assert!(guest.has_password("Boss", &password));
    assert!(guest.record()["administrators"].to_string().contains("Boss"));

    // As nova's clients open it: the first user's, whose key is of RSA.
    let nova = |guest: &Guest| {
        let words = ["get", "instance", "guest", "-p", "tenant-a", "-o", "json"];
        let shown: Value = serde_json::from_str(&guest.lab.operator.run(&words).unwrap()).unwrap();
        shown["status"]["nova_password"].as_str().unwrap().to_owned()
    };
    let pem = directory.join("ops.pem");
    fs::copy(rsa.private(), &pem).unwrap();
    let mut keygen = process::command("ssh-keygen");
    let convert = ["-q", "-p", "-m", "PEM", "-N", "", "-P", "", "-f"];
    process::succeed(keygen.args(convert).arg(&pem)).unwrap();
    let first = opened(&pem, "pkcs1", &nova(&guest));
    assert_eq!(first, guest.password("ops", rsa));
    assert!(guest.has_password("ops", &first));

    // A reset: one other password, in both forms.
    let words = ["reset", "password", "guest", "-p", "tenant-a", "--user", "ops"];
    guest.lab.operator.run(&words).unwrap();
    wait::until("the other password", SOON * 4, || {
        guest.run();
        let words = ["wait", "guest", "-p", "tenant-a", "--for", "password", "--timeout", "1s"];
        guest.lab.operator.run(&words).map(drop)
    })
    .unwrap();
    guest.run();
    let second = guest.password("ops", rsa);
    assert_ne!(first, second);
    assert_eq!(opened(&pem, "pkcs1", &nova(&guest)), second);
    assert!(guest.has_password("ops", &second));
    let made = guest.lab.operator.passwords("tenant-a", "guest").unwrap();
    assert_eq!(made.iter().filter(|it| it.password.user.as_str() == "ops").count(), 2);
    assert_eq!(guest.text("serial-COM4.txt"), serial, "an ask is answered once");

    // A certificate is in the store as long as the record names it.
    let mut openssl = process::command("openssl");
    let words = ["x509", "-noout", "-fingerprint", "-sha1", "-in"];
    let print = process::output(openssl.args(words).arg(&ca)).unwrap();
    let print = print.trim().rsplit('=').next().unwrap().replace(':', "");
    let trusted = step(&guest.run(), "trusted certificates");
    assert!(stored(&guest).contains(&print), "{print}: {}{trusted:?}", stored(&guest));
    let last = guest.documents.last_mut().unwrap();
    last.as_object_mut().unwrap().remove("trusted_certificates");
    guest.lab.operator.apply(&guest.documents).unwrap();
    wait::until("the certificate to go", SOON * 4, || {
        guest.run();
        anyhow::ensure!(!stored(&guest).contains(&print), "it is there");
        Ok(())
    })
    .unwrap();
}
