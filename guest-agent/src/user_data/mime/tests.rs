//! Messages as tools write them, and bytes as nobody does.

use proptest::prelude::*;

use super::*;

const NESTED: &str = "Content-Type: multipart/mixed; boundary=\"==out==\"\r\nMIME-Version: 1.0\r\n\r\n\
preamble\r\n--==out==\r\nContent-Type: text/x-shellscript; name=\"one.sh\"\r\n\r\n#!/bin/sh\necho 1\r\n\
--==out==\r\nContent-Type: multipart/alternative;\r\n boundary=in\r\n\r\n\
--in\r\nContent-Type: text/cloud-config\r\nContent-Transfer-Encoding: base64\r\n\
Content-Disposition: attachment; filename=\"c.yaml\"\r\nMerge-Type: list(append)\r\n\r\naG9zdG5h\r\nbWU6IGE=\r\n\
--in\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\na=3Db=\r\nc\r\n--in--\r\n--==out==--\r\nepilogue\r\n";

#[test]
fn nested_parts_come_in_their_order_with_type_name_and_encoding_removed() {
    let parts = parse(NESTED.as_bytes()).unwrap();
    assert_eq!(parts.len(), 3);
    assert_eq!(parts[0].content_type, "text/x-shellscript");
    assert_eq!(parts[0].filename.as_deref(), Some("one.sh"));
    assert_eq!(parts[0].body, b"#!/bin/sh\necho 1");
    assert_eq!(parts[1].content_type, "text/cloud-config");
    assert_eq!(parts[1].filename.as_deref(), Some("c.yaml"));
    assert_eq!(parts[1].merge.as_deref(), Some("list(append)"));
    assert_eq!(parts[1].body, b"hostname: a");
    assert_eq!(parts[2].content_type, "text/plain");
    assert_eq!(parts[2].body, b"a=bc");
}

#[test]
fn a_message_that_is_cut_short_gives_the_parts_that_are_there() {
    let text = "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nfirst\n--b\n\nsecond";
    let parts = parse(text.as_bytes()).unwrap();
    assert_eq!(
        parts.iter().map(|part| part.body.as_slice()).collect::<Vec<_>>(),
        [b"first".as_slice(), b"second"]
    );
}

#[test]
fn a_multi_part_without_boundary_or_parts_is_refused() {
    assert_eq!(parse(b"Content-Type: multipart/mixed\n\nx"), Err(MimeError::NoBoundary));
    assert_eq!(parse(b"Content-Type: multipart/mixed; boundary=b\n\nx"), Err(MimeError::NoParts));
}

#[test]
fn nesting_and_the_number_of_parts_are_bounded() {
    let mut text = String::from("x");
    for level in 0..20 {
        text = format!("Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n{text}\n");
    }
    assert_eq!(parse(text.as_bytes()), Err(MimeError::TooDeep));
    let many =
        format!("Content-Type: multipart/mixed; boundary=b\n\n{}", "--b\n\nx\n".repeat(1000));
    assert_eq!(parse(many.as_bytes()), Err(MimeError::TooManyParts));
}

#[test]
fn a_boundary_is_a_whole_line_and_not_the_beginning_of_one() {
    let text = "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n--bc is text\n--b--\n";
    assert_eq!(parse(text.as_bytes()).unwrap()[0].body, b"--bc is text");
}

proptest! {
    #[test]
    fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn any_body_behind_a_header_is_taken_or_refused(body in "(--b\r?\n|--b--|[a-z:; =\"\n]|=3D|\r\n){0,80}") {
        let _ = parse(format!("Content-Type: multipart/mixed; boundary=b\n\n{body}").as_bytes());
    }

    #[test]
    fn parts_that_were_joined_come_apart_again(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..8),
    ) {
        let mut text = b"MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"=_b\"\n\n".to_vec();
        for body in &bodies {
            text.extend_from_slice(b"--=_b\nContent-Transfer-Encoding: base64\n\n");
            text.extend_from_slice(STANDARD.encode(body).as_bytes());
            text.push(b'\n');
        }
        text.extend_from_slice(b"--=_b--\n");
        let parts = parse(&text).unwrap();
        prop_assert_eq!(parts.into_iter().map(|part| part.body).collect::<Vec<_>>(), bodies);
    }
}
