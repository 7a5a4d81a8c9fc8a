//! `vendor_data.json` and `vendor_data2.json`: what the provider hands to the guest.
//!
//! Nova's vendor-data is an object of JSON; ours is any bytes. An object is handed out as it is.
//! Anything else becomes the value of `cloud-init`, the one member that cloud-init reads. The
//! second file has the same below the name of nova's provider for fixed data, `static`, where
//! cloud-init doesn't look, and so doesn't do everything twice.
//!
//! Follows "Vendordata" in nova's guides and "Vendor-data" in cloud-init's documentation.

use bytes::Bytes;
use mezame_model::UserData;
use serde::de::IgnoredAny;

use crate::{
    render::base64_lines,
    response::JSON,
    tree::{Body, Scope},
};

/// `vendor_data.json`.
pub(super) fn read(scope: &Scope<'_>) -> Body {
    Body::of(JSON, object(scope.guest.instance.vendor_data.as_ref()))
}

/// `vendor_data2.json`.
pub(super) fn read_by_provider(scope: &Scope<'_>) -> Body {
    let object = object(scope.guest.instance.vendor_data.as_ref());
    Body::of(JSON, [b"{\"static\":", &object[..], b"}"].concat().into())
}

/// The vendor-data as an object of JSON; an empty one where there is none.
fn object(data: Option<&UserData>) -> Bytes {
    let Some(bytes) = data.map(UserData::bytes).filter(|bytes| !bytes.is_empty()) else {
        return Bytes::from_static(b"{}");
    };
    if is_object(bytes) {
        return bytes.clone();
    }
    serde_json::json!({ "cloud-init": text(bytes) }).to_string().into()
}

/// Whether the bytes are one object of JSON.
fn is_object(bytes: &[u8]) -> bool {
    // The first byte decides in nearly every case, before a mebibyte is parsed.
    let begins = bytes.trim_ascii_start().first() == Some(&b'{');
    begins
        && std::str::from_utf8(bytes)
            .is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok())
}

/// The bytes as a text that JSON can hold. Compressed ones are wrapped in MIME, which cloud-init
/// unwraps; in others that are no UTF-8, what can't be said is replaced.
fn text(bytes: &[u8]) -> String {
    if bytes.starts_with(b"\x1f\x8b") {
        let head = "MIME-Version: 1.0\nContent-Type: application/gzip\n\
                    Content-Transfer-Encoding: base64\n\n";
        return format!("{head}{}\n", base64_lines(bytes));
    }
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parsed(data: &[u8]) -> Value {
        let data = UserData::new(data.to_vec()).unwrap();
        serde_json::from_slice(&object(Some(&data))).unwrap()
    }

    #[test]
    fn an_object_is_handed_out_as_it_is() {
        let spelling = &b" {\"a\": 1e2,\n \"cloud-init\": [\"#!/bin/sh\"]}\n"[..];
        let data = UserData::new(spelling).unwrap();
        assert_eq!(object(Some(&data)), spelling);
    }

    #[test]
    fn whatever_is_no_object_is_what_cloud_init_reads() {
        for text in
            ["#cloud-config\nruncmd: [\"a\"]\n", "[1]", "{\"a\"", "{} {}", "{jinja}", "\"\""]
        {
            assert_eq!(parsed(text.as_bytes()), json!({ "cloud-init": text }));
        }
        assert_eq!(parsed(b"{\"a\": \"\xff\"}"), json!({ "cloud-init": "{\"a\": \"\u{fffd}\"}" }));
    }

    #[test]
    fn no_data_is_an_empty_object() {
        assert_eq!(object(None), "{}");
        assert_eq!(parsed(b""), json!({}));
    }

    #[test]
    fn compressed_data_arrives_whole() {
        let Value::String(text) = parsed(b"\x1f\x8b\x08\x00\xff")["cloud-init"].take() else {
            panic!("no text");
        };
        assert!(text.starts_with("MIME-Version: 1.0\n"));
        assert!(text.ends_with("\n\nH4sIAP8=\n"));
    }
}
