//! What an importer asks for, checked: all faults at once, each with its field.

use std::collections::BTreeMap;

use mezame_images::archive::{
    ForeignFormat,
    record::LONGEST_DETAIL,
    signature::{Signature, TrustedKey},
};
use mezame_model::api::{
    Fault,
    images::{ImageFormat, NewImage},
};

use crate::fault::plain;

/// Characters of a name, of a label's name, and of a label's value.
const LONGEST_TEXT: usize = 255;
/// Keys that may be trusted.
const MOST_KEYS: usize = 64;

/// An import as it will be done.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) name: String,
    pub(crate) format: ForeignFormat,
    pub(crate) size: Option<u64>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) sha256: Option<[u8; 32]>,
    pub(crate) sha512: Option<[u8; 64]>,
    pub(crate) signature: Option<(Signature, Vec<TrustedKey>)>,
    pub(crate) largest: u64,
    pub(crate) source: Option<String>,
}

/// What the site allows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowed {
    pub(crate) upload: u64,
    pub(crate) disk: u64,
}

impl Order {
    /// Checks what was asked for.
    pub(crate) fn of(new: NewImage, allowed: Allowed) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        check_texts(&new, &mut faults);
        if new.size.is_some_and(|size| size > allowed.upload) {
            let message = format!("more than the {} bytes that fit here", allowed.upload);
            faults.push(plain("size", message, "the operator sets 'upload_bytes'"));
        }
        if new.largest.is_some_and(|largest| largest > allowed.disk) {
            let message = format!("more than the {} bytes that this site allows", allowed.disk);
            faults.push(plain("largest", message, "the operator sets 'largest_bytes'"));
        }
        let sha256 = digest::<32>("sha256", new.sha256.as_deref(), &mut faults);
        let sha512 = digest::<64>("sha512", new.sha512.as_deref(), &mut faults);
        let signature = signature(&new, &mut faults);
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Self {
            name: new.name,
            format: match new.format {
                ImageFormat::Raw => ForeignFormat::Raw,
                ImageFormat::Qcow2 => ForeignFormat::Qcow2,
                ImageFormat::Vmdk => ForeignFormat::Vmdk,
                ImageFormat::Vhdx => ForeignFormat::Vhdx,
            },
            size: new.size,
            labels: new.labels,
            sha256,
            sha512,
            signature,
            largest: new.largest.unwrap_or(allowed.disk),
            source: new.source,
        })
    }
}

fn check_texts(new: &NewImage, faults: &mut Vec<Fault>) {
    let is_text = |text: &str| {
        (1..=LONGEST_TEXT).contains(&text.chars().count()) && !text.chars().any(char::is_control)
    };
    let rule = "1 to 255 characters on one line";
    if !is_text(&new.name) {
        faults.push(plain("name", "it is no name", rule));
    }
    if new.source.as_ref().is_some_and(|source| !is_text(source)) {
        faults.push(plain("source", "it is too long, or not one line", rule));
    }
    for (label, value) in &new.labels {
        if !is_text(label) || !(value.is_empty() || is_text(value)) {
            let shown: String = label.chars().take(40).collect();
            faults.push(plain(&format!("labels.{shown}"), "it is no label", rule));
        }
        if ["backup.", "capture."].iter().any(|taken| label.starts_with(taken)) {
            let mend = "labels that begin with 'backup.' or 'capture.' are those of such images";
            faults.push(plain(&format!("labels.{label}"), "it is taken", mend));
        }
    }
    let length: usize = new.labels.iter().map(|(label, value)| label.len() + value.len()).sum();
    // As JSON it may be longer; the archive looks again.
    if length > LONGEST_DETAIL / 2 {
        faults.push(plain("labels", "together more than 32 KiB", "leave some out"));
    }
}

fn digest<const N: usize>(
    path: &str,
    given: Option<&str>,
    faults: &mut Vec<Fault>,
) -> Option<[u8; N]> {
    let text = given?;
    let mut bytes = [0; N];
    let is_hex = text.len() == 2 * N && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex {
        let mend = format!("{} hexadecimal digits", 2 * N);
        faults.push(plain(path, "it is no such digest", &mend));
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).unwrap_or_default();
        *byte = u8::from_str_radix(digits, 16).unwrap_or_default();
    }
    Some(bytes)
}

fn signature(new: &NewImage, faults: &mut Vec<Fault>) -> Option<(Signature, Vec<TrustedKey>)> {
    let mut keys = Vec::new();
    for (at, line) in new.trusted.iter().enumerate() {
        match TrustedKey::parse(line) {
            Ok(key) => keys.push(key),
            Err(error) => {
                let mend = "a line such as 'ssh-ed25519 AAAA… who'";
                faults.push(plain(&format!("trusted[{at}]"), error.to_string(), mend));
            }
        }
    }
    if new.trusted.len() > MOST_KEYS {
        faults.push(plain("trusted", "more than 64 keys", "name those that sign such images"));
    }
    match (&new.signature, new.trusted.is_empty()) {
        (None, true) => None,
        (None, false) => {
            let mend = "send the signature, or trust no keys";
            faults.push(plain("signature", "there is none, and keys are trusted", mend));
            None
        }
        (Some(_), true) => {
            let mend = "name the keys whose signatures you believe";
            faults.push(plain("trusted", "a signature is good only by a trusted key", mend));
            None
        }
        (Some(text), false) => match Signature::parse(text) {
            Ok(signature) => Some((signature, keys)),
            Err(error) => {
                let mend = "make it with 'ssh-keygen -Y sign -n mezame-image -f KEY FILE'";
                faults.push(plain("signature", error.to_string(), mend));
                None
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> NewImage {
        serde_json::from_str(r#"{"name": "debian", "format": "qcow2"}"#).unwrap()
    }

    const ALLOWED: Allowed = Allowed { upload: 1000, disk: 2000 };

    #[test]
    fn what_is_not_said_is_what_the_site_allows() {
        let order = Order::of(asked(), ALLOWED).unwrap();
        assert_eq!((order.largest, order.sha256, order.size), (2000, None, None));
        assert_eq!(order.format, ForeignFormat::Qcow2);
    }

    #[test]
    fn digests_are_hexadecimal_in_either_case() {
        let sha256 = Some("aB".repeat(32));
        let order = Order::of(NewImage { sha256, ..asked() }, ALLOWED).unwrap();
        assert_eq!(order.sha256, Some([0xab; 32]));
    }

    #[test]
    fn all_faults_are_told_at_once_each_with_its_field() {
        let labels = [
            ("backup.volume".to_owned(), "x".to_owned()),
            ("capture.sealed".into(), "agent".into()),
            ("a\nb".into(), "".into()),
        ];
        let new = NewImage {
            name: "".into(),
            size: Some(1001),
            largest: Some(2001),
            sha256: Some("é".repeat(32)),
            sha512: Some("ab".repeat(63)),
            signature: Some("nonsense".into()),
            trusted: vec!["ssh-rsa AAAA".into()],
            labels: labels.into(),
            source: Some("\u{7}".into()),
            ..asked()
        };
        let faults = Order::of(new, ALLOWED).unwrap_err();
        let paths: Vec<&str> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "name",
                "source",
                "labels.a\nb",
                "labels.backup.volume",
                "labels.capture.sealed",
                "size",
                "largest",
                "sha256",
                "sha512",
                "trusted[0]",
                "signature"
            ]
        );
    }

    #[test]
    fn a_signature_needs_trusted_keys_and_trusted_keys_a_signature() {
        let key = include_str!("../../../../images/src/archive/signature/key.pub").to_owned();
        let signature = include_str!("../../../../images/src/archive/signature/sha512.sig");
        let signature = Some(signature.to_owned());
        let only_key = NewImage { trusted: vec![key.clone()], ..asked() };
        assert_eq!(Order::of(only_key, ALLOWED).unwrap_err()[0].path, "signature");
        let only_signature = NewImage { signature: signature.clone(), ..asked() };
        assert_eq!(Order::of(only_signature, ALLOWED).unwrap_err()[0].path, "trusted");
        let both = NewImage { signature, trusted: vec![key], ..asked() };
        assert!(Order::of(both, ALLOWED).unwrap().signature.is_some());
    }
}
