//! Answers to asks for passwords as Google's tools make them: the key out of the record, the
//! password encrypted to it, the line for the fourth serial port. Pure but for random bytes.
//!
//! Follows "Automating Windows password generation" in Google's Compute Engine documentation: OAEP
//! with SHA-1 unless the ask names another hash, everything in base64, one JSON object a line, and
//! a line before it that says that the agent listens.

use base64::{Engine, engine::general_purpose::STANDARD};
use mezame_model::WindowsKey;
use serde_json::json;

use crate::{
    rsa_cipher::{CipherError, Hash, PublicKey},
    step::Fingerprint,
};

/// The port that the answers go to.
pub const PORT: &str = "COM4";

/// What tells one ask from another.
pub fn fingerprint(key: &WindowsKey) -> Fingerprint {
    Fingerprint::of(&[
        b"windows-key",
        key.user_name.as_bytes(),
        key.modulus.as_bytes(),
        key.exponent.as_bytes(),
        key.expire_on.as_bytes(),
    ])
}

/// The name of an ask's step: two of one user's differ.
pub fn step_key(key: &WindowsKey) -> String {
    let Fingerprint(digits) = fingerprint(key);
    format!("windows key {} {}", key.user_name, digits.get(..8).unwrap_or_default())
}

/// The line that answers an ask with a password.
pub fn answer(key: &WindowsKey, password: &str) -> Result<String, CipherError> {
    let bytes = |text: &str| STANDARD.decode(text).map_err(|_| CipherError::Key);
    let public = PublicKey::new(&bytes(&key.modulus)?, &bytes(&key.exponent)?)?;
    let hash = match key.hash_function.as_deref() {
        None | Some("" | "sha1") => Hash::Sha1,
        Some("sha256") => Hash::Sha256,
        Some("sha512") => Hash::Sha512,
        Some(_) => return Err(CipherError::Key),
    };
    let mut line = json!({
        "userName": key.user_name,
        "passwordFound": true,
        "encryptedPassword": public.encrypt_oaep(hash, password)?,
        "modulus": key.modulus,
        "exponent": key.exponent,
    });
    if let Some(name) = &key.hash_function {
        line["hashFunction"] = (**name).into();
    }
    Ok(line.to_string())
}

/// The line that says that the agent listens.
pub fn ready() -> String {
    json!({ "ready": true, "version": env!("CARGO_PKG_VERSION") }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rsa_cipher::tests::{key_pair, opened};

    #[test]
    fn the_asker_finds_the_answer_by_the_key_and_opens_it() {
        let directory = tempfile::tempdir().unwrap();
        let (path, modulus, exponent) = key_pair(directory.path(), 2048);
        for (name, options) in [
            (None, "rsa_oaep_md:sha1"),
            (Some("sha256"), "rsa_oaep_md:sha256"),
            (Some("sha512"), "rsa_oaep_md:sha512"),
        ] {
            let key = WindowsKey {
                user_name: "Ops".into(),
                modulus: STANDARD.encode(&modulus).into(),
                exponent: STANDARD.encode(&exponent).into(),
                expire_on: "2036-11-26T05:24:30Z".into(),
                email: None,
                hash_function: name.map(Into::into),
            };
            let line = answer(&key, "Correct2horse").unwrap();
            assert!(!line.contains('\n'));
            let answer: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(
                (&answer["modulus"], &answer["userName"]),
                (&json!(&*key.modulus), &json!("Ops"))
            );
            let sealed = answer["encryptedPassword"].as_str().unwrap();
            assert_eq!(opened(&path, &["rsa_padding_mode:oaep", options], sealed), "Correct2horse");
        }
    }
}
