//! Packings and first lines.

use std::io::Write;

use proptest::prelude::*;

use super::*;

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn only(bytes: &[u8]) -> Content {
    let mut parts = parse(bytes);
    assert_eq!(parts.len(), 1, "{parts:?}");
    parts.remove(0).content
}

fn reason(bytes: &[u8]) -> &'static str {
    match only(bytes) {
        Content::Refused { reason, .. } => reason,
        other => panic!("{other:?} was not refused"),
    }
}

#[test]
fn a_script_is_known_by_its_first_two_bytes_however_it_is_packed() {
    let script = b"#!/bin/sh\necho hello\n";
    let wanted = Content::Script {
        body: script.to_vec(),
        frequency: Frequency::PerInstance,
        language: Language::Shebang,
    };
    let base64 = STANDARD.encode(script).into_bytes();
    for bytes in [
        script.to_vec(),
        packed(script),
        base64.clone(),
        packed(&base64),
        STANDARD.encode(packed(script)).into_bytes(),
    ] {
        assert_eq!(only(&bytes), wanted);
    }
}

#[test]
fn parts_of_a_message_are_typed_by_their_header_and_plain_ones_by_their_content() {
    let text = "Content-Type: multipart/mixed; boundary=b\n\n\
        --b\nContent-Type: text/x-shellscript-per-boot\n\n#!/bin/sh\n\
        --b\nContent-Type: text/cloud-config\n\nhostname: a\n\
        --b\nContent-Type: text/plain\n\n#cloud-config\nhostname: b\n\
        --b\nContent-Type: text/x-shellscript\n\nno interpreter\n\
        --b\nContent-Type: text/part-handler\n\nx\n--b--\n";
    let parts = parse(text.as_bytes());
    assert!(matches!(parts[0].content, Content::Script { frequency: Frequency::PerBoot, .. }));
    assert!(
        matches!(&parts[1].content, Content::CloudConfig { text, .. } if text == b"hostname: a")
    );
    assert!(matches!(parts[2].content, Content::CloudConfig { .. }));
    assert!(matches!(parts[3].content, Content::Refused { reason: "no-interpreter", .. }));
    assert!(matches!(parts[4].content, Content::Refused { reason: "unsupported-part", .. }));
    assert_eq!(parts[4].name, "part 5");
}

#[test]
fn what_is_not_supported_says_so() {
    assert_eq!(reason(b"## template: jinja\n#cloud-config\n"), "unsupported-template");
    assert_eq!(reason(b"#cloud-config-archive\n- a\n"), "unsupported-format");
    assert_eq!(reason(b"#part-handler\n"), "unsupported-format");
    assert_eq!(reason(b"just words"), "unknown-format");
    assert_eq!(reason(&packed(b"#!/bin/sh\n")[..20]), "damaged");
    assert!(parse(b"").is_empty() && parse(b" \n").is_empty());
}

#[test]
fn packing_without_end_and_bombs_are_bounded() {
    let mut bytes = b"#!/bin/sh\n".to_vec();
    for _ in 0..10 {
        bytes = packed(&bytes);
    }
    assert_eq!(reason(&bytes), "packed-too-deep");
    assert_eq!(reason(&packed(&vec![0; gzip::MAX_BYTES + 1])), "damaged");
    let mut script = b"#!/bin/sh\n#".to_vec();
    script.resize(gzip::MAX_BYTES / 2 + 1, b'#');
    let bomb = STANDARD.encode(packed(&script));
    let part = format!("--b\nContent-Transfer-Encoding: base64\n\n{bomb}\n");
    let text = format!("Content-Type: multipart/mixed; boundary=b\n\n{part}{part}--b--\n");
    let parts = parse(text.as_bytes());
    assert!(matches!(parts[0].content, Content::Script { .. }), "{parts:?}");
    assert!(matches!(parts[1].content, Content::Refused { reason: "damaged", .. }), "{parts:?}");
}

proptest! {
    #[test]
    fn any_bytes_are_taken_apart(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn any_bytes_in_gzip_are_taken_apart(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let direct = parse(&bytes);
        prop_assert_eq!(parse(&packed(&bytes)), direct);
    }
}

#[test]
fn debug_shows_no_password_of_a_cloud_config() {
    let text = b"Content-Type: text/cloud-config\n\n\
        #cloud-config\npassword: hunter2\nchpasswd: {list: [\"root:hunter2\"]}\n";
    let tree = yaml::parse(&text[33..]).unwrap();
    assert_eq!(tree.entry("password").and_then(yaml::Node::as_text), Some("hunter2"));
    let parts = mime::parse(text).unwrap();
    for shown in [format!("{tree:?}"), format!("{parts:?}"), format!("{:?}", parse(text))] {
        // As a list of numbers it would begin so, too.
        assert!(!shown.contains("hunter2") && !shown.contains("104, 117, 110"), "{shown}");
    }
}
