//! The suite of hybrid public key encryption (RFC 9180) in which keys are sealed, and what both sides
//! spell alike. Base mode with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20Poly1305: what
//! RFC 9180 numbers 0x0020, 0x0001 and 0x0003.
//!
//! No cryptography is here: the service seals by one library, the agent opens by another.

/// "KEM", and the number of DHKEM(X25519, HKDF-SHA256) (section 4.1).
pub const KEM_SUITE: &[u8] = b"KEM\x00\x20";

/// "HPKE", and the numbers of KEM, KDF and AEAD (section 5.1).
pub const SUITE: &[u8] = b"HPKE\x00\x20\x00\x01\x00\x03";

/// What every label begins with (section 4).
pub const VERSION: &[u8] = b"HPKE-v1";

/// The context of the key schedule in base mode (section 5.1): mode_base is 0.
pub fn schedule_context(psk_id_hash: &[u8; 32], info_hash: &[u8; 32]) -> [u8; 65] {
    let mut context = [0; 65];
    context[1..33].copy_from_slice(psk_id_hash);
    context[33..].copy_from_slice(info_hash);
    context
}

/// The nonce of a message of a context, of which this one has this number (section 5.2).
pub fn nonce(base_nonce: &[u8; 12], sequence: u64) -> [u8; 12] {
    let mut nonce = *base_nonce;
    for (byte, count) in nonce[4..].iter_mut().zip(sequence.to_be_bytes()) {
        *byte ^= count;
    }
    nonce
}

/// What LabeledExpand gives to HKDF-Expand as its info, in parts (section 4). `length` is that of
/// what is asked for, in bytes.
pub fn labeled_info<'a>(
    length: &'a [u8; 2],
    suite: &'a [u8],
    label: &'a [u8],
    info: &'a [u8],
) -> [&'a [u8]; 5] {
    [length, VERSION, suite, label, info]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_has_a_nonce_of_its_own() {
        let base = [0xff; 12];
        assert_eq!(nonce(&base, 0), base);
        let last = nonce(&base, 0x0102);
        assert_eq!((last[..10].to_vec(), last[10], last[11]), (vec![0xff; 10], 0xfe, 0xfd));
        assert_eq!(nonce(&[0; 12], u64::MAX)[..4], [0; 4]);
    }

    #[test]
    fn the_schedule_is_of_base_mode() {
        let context = schedule_context(&[1; 32], &[2; 32]);
        assert_eq!((context[0], context[1], context[33], context[64]), (0, 1, 2, 2));
    }
}
