//! What a guest that asks for a volume's key and the service say to each other, as JSON.
//!
//! ```text
//!   POST /mezame/v1/volume-keys/NAME  KeyQuestion ──► KeyAnswer
//! ```
//! Binary values are in base64 (RFC 4648, section 4). Whether they are of the form that is wanted is
//! looked at by who reads them: the service names the field that is wrong.

use serde::{Deserialize, Serialize};

use crate::{InstanceId, PortId, VolumeName};

/// What a guest sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyQuestion {
    /// Its ephemeral X25519 key, 32 bytes in base64.
    pub public_key: String,
    /// Differs for each of its boots: Linux's boot_id, say. 16 to 64 characters.
    pub boot_nonce: String,
}

/// What it gets, where it gets the key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyAnswer {
    /// The sender's ephemeral key (RFC 9180's `enc`), in base64.
    pub encapsulated_key: String,
    /// Whose key it is.
    pub instance_id: InstanceId,
    /// The key's versions, the newest first; sealed in this order in one context.
    pub keys: Vec<SealedVersion>,
    /// The port that it was asked for through.
    pub port_id: PortId,
    /// Its name.
    pub volume: VolumeName,
}

/// One version of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedVersion {
    /// Ciphertext and tag, in base64; bound to what [`super::associated`] says.
    pub sealed: String,
    /// Its number.
    pub version: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_write_and_read_the_documented_form() {
        let asked = r#"{"public_key":"AAAA","boot_nonce":"0123456789abcdef"}"#;
        let question: KeyQuestion = serde_json::from_str(asked).unwrap();
        assert_eq!(serde_json::to_string(&question).unwrap(), asked);
        let text = concat!(
            r#"{"encapsulated_key":"AAAA","instance_id":"i-0123456789abcdef0","#,
            r#""keys":[{"sealed":"AAAA","version":2}],"port_id":"eni-0123456789abcdef0","#,
            r#""volume":"root"}"#,
        );
        let answer: KeyAnswer = serde_json::from_str(text).unwrap();
        assert_eq!(answer.keys[0].version, 2);
        assert_eq!(serde_json::to_string(&answer).unwrap(), text);
    }
}
