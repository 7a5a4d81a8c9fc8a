//! Asking the service for the key of an encrypted volume, and opening what it answers.
//!
//! ```text
//!   POST /mezame/v1/volume-keys/NAME [`KeyQuestion`]
//!     ─► [`KeyAnswer`]
//! ```
//! The key pair is made for the one request and forgotten with it. What is sealed is bound to the
//! instance, the port, the key's name, its version and this boot.

use base64::{Engine, engine::general_purpose::STANDARD};
use mezame_model::{
    SecretBytes, VolumeName,
    volume_key::{INFO, KeyAnswer, KeyQuestion, SealedVersion, VolumeKey, associated},
};
use serde::Deserialize;

use super::{Source, SourceError, TIMEOUT, http::Request, refusal};
use crate::hpke::{HpkeError, Recipient};

/// Why a key was not had.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The service has heard the request and says no, and why.
    #[error("{detail} ({code})")]
    Withheld {
        /// A stable word.
        code: String,
        /// For people.
        detail: String,
    },
    /// It could not be asked, or has no answer yet.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// Its answer is none.
    #[error("the service's answer is of no use: {0}")]
    Answer(&'static str),
    /// Its answer does not open.
    #[error("the service's answer is of no use: {0}")]
    Sealed(#[from] HpkeError),
}

/// One version of a key.
#[derive(Debug)]
pub struct VersionedKey {
    /// Its number.
    pub version: u32,
    /// What opens the volume.
    pub key: SecretBytes,
}

impl Source {
    /// Asks for a volume's key, with a secret that is random and used for nothing else. Gives its
    /// versions, the newest first, and never none.
    pub fn volume_key(
        &mut self,
        volume: &VolumeName,
        boot_nonce: &str,
        recipient: &Recipient,
    ) -> Result<Vec<VersionedKey>, KeyError> {
        let token = self.fetch_token()?.ok_or(SourceError::Unauthorized)?;
        let public_key = STANDARD.encode(recipient.public());
        let asked = KeyQuestion { public_key, boot_nonce: boot_nonce.to_owned() };
        let body = serde_json::to_vec(&asked).unwrap_or_default();
        let response = self.client.exchange(&Request {
            method: "POST",
            target: &format!("/mezame/v1/volume-keys/{volume}"),
            headers: &[
                ("X-aws-ec2-metadata-token", token.expose()),
                ("Content-Type", "application/json"),
            ],
            body: Some(&body),
            timeout: TIMEOUT,
        });
        let response = response.map_err(SourceError::from)?;
        match response.head.status {
            200 => {
                let answered = serde_json::from_slice(&response.body)
                    .map_err(|_| KeyError::Answer("it is not of the form that is known"))?;
                open(answered, volume, boot_nonce, recipient)
            }
            400..=499 if response.head.status != 429 => {
                Err(withheld(&response.body)
                    .unwrap_or_else(|| KeyError::Source(refusal(&response))))
            }
            _ => Err(KeyError::Source(refusal(&response))),
        }
    }
}

/// What the service says of why it gives nothing; none where that is not ours.
fn withheld(body: &[u8]) -> Option<KeyError> {
    #[derive(Deserialize)]
    struct Said {
        error: String,
        detail: String,
    }
    let said: Said = serde_json::from_slice(body).ok()?;
    // It is shown on a console.
    let plain =
        |text: String| -> String { text.chars().filter(|c| !c.is_control()).take(200).collect() };
    Some(KeyError::Withheld { code: plain(said.error), detail: plain(said.detail) })
}

fn open(
    answered: KeyAnswer,
    volume: &VolumeName,
    boot_nonce: &str,
    recipient: &Recipient,
) -> Result<Vec<VersionedKey>, KeyError> {
    let decode = |text: &str| STANDARD.decode(text).ok();
    let encapsulated = decode(&answered.encapsulated_key).and_then(|it| it.try_into().ok());
    let encapsulated = encapsulated.ok_or(KeyError::Answer("its encapsulated key is none"))?;
    let mut opener = recipient.open_from(&encapsulated, INFO)?;
    let KeyAnswer { instance_id, port_id, keys, .. } = answered;
    if keys.is_empty() || keys.len() > VolumeKey::VERSIONS_MAX {
        return Err(KeyError::Answer("it has no version of the key, or too many"));
    }
    let mut opened = Vec::with_capacity(keys.len());
    for SealedVersion { version, sealed } in keys {
        let bound = associated(&instance_id, &port_id, volume, version, boot_nonce);
        let sealed =
            decode(&sealed).ok_or(KeyError::Answer("a version of the key is no base64"))?;
        let mut key = opener.open(bound.as_bytes(), &sealed)?;
        opened.push(VersionedKey { version, key: SecretBytes::new(std::mem::take(&mut *key)) });
    }
    Ok(opened)
}

#[cfg(test)]
mod tests {
    use mezame_model::{InstanceId, PortId};

    use super::*;

    #[test]
    fn the_services_reason_is_told_without_what_could_steer_a_console() {
        let body = br#"{"error":"revoked","detail":"the key is\u001b[2J revoked"}"#;
        let said = withheld(body).unwrap();
        assert_eq!(said.to_string(), "the key is[2J revoked (revoked)");
        assert!(withheld(b"not found\n").is_none());
    }

    #[test]
    fn an_answer_without_a_key_is_none() {
        let recipient = Recipient::new([7; 32]);
        let volume = VolumeName::parse("root").unwrap();
        let answered = |encapsulated: &[u8], keys: usize| KeyAnswer {
            instance_id: InstanceId::parse("i-0123456789abcdef0").unwrap(),
            port_id: PortId::parse("eni-0123456789abcdef0").unwrap(),
            volume: volume.clone(),
            encapsulated_key: STANDARD.encode(encapsulated),
            keys: (0..keys).map(|_| SealedVersion { version: 1, sealed: "AAAA".into() }).collect(),
        };
        for (encapsulated, keys) in
            [(&[9; 32][..], 0), (&[9; 32], 1), (&[9; 32], 9), (&[9; 31], 1), (&[0; 32], 1)]
        {
            assert!(open(answered(encapsulated, keys), &volume, "nonce", &recipient).is_err());
        }
    }
}
