//! Tests of the request parser: one canonical form, and what is refused.

use proptest::prelude::*;

use super::*;

const HOST: (&str, &[u8]) = ("host", b"169.254.169.254");

fn parse(target: &str) -> Result<Request<'_>, Refusal> {
    Request::parse(Version::Http11, "GET", target.as_bytes(), [HOST])
}

fn with<'a>(fields: &[(&'a str, &'a str)]) -> Result<Request<'a>, Refusal> {
    let fields = fields.iter().map(|(name, value)| (*name, value.as_bytes()));
    Request::parse(Version::Http11, "POST", b"/x", fields)
}

#[test]
fn doubled_slashes_collapse() {
    for target in ["//latest//meta-data///", "/latest//meta-data/", "///latest/meta-data//"] {
        assert_eq!(parse(target).unwrap().path(), "/latest/meta-data/", "{target}");
    }
}

#[test]
fn an_escape_of_a_plain_letter_is_that_letter() {
    assert_eq!(parse("/latest/%6deta%2Ddata").unwrap().path(), "/latest/meta-data");
}

#[test]
fn what_was_decoded_is_not_decoded_again() {
    let request = parse("/a%2541").unwrap();
    assert_eq!(request.path(), "/a%41");
    assert_eq!(request.target(), "/a%2541");
}

#[test]
fn path_tricks_are_refused() {
    for (target, refusal) in [
        ("/..", Refusal::DotSegment),
        ("/latest/../x", Refusal::DotSegment),
        ("/latest/./x", Refusal::DotSegment),
        ("/latest/.", Refusal::DotSegment),
        ("//..//x", Refusal::DotSegment),
        ("/latest/%2e%2e/x", Refusal::DotSegment),
        ("/latest/.%2E/x", Refusal::DotSegment),
        ("/latest%2fmeta-data", Refusal::DotSegment),
        ("/latest%5Cmeta-data", Refusal::DotSegment),
        ("/latest\\meta-data", Refusal::TargetByte),
        ("/a%00b", Refusal::TargetByte),
        ("/a%0d%0aX: y", Refusal::TargetByte),
        ("/a%7f", Refusal::TargetByte),
        ("/a b", Refusal::TargetByte),
        ("/a\0b", Refusal::TargetByte),
        ("/a\tb", Refusal::TargetByte),
        ("/ä", Refusal::TargetByte),
        ("/a#b", Refusal::TargetByte),
        ("/a?b#c", Refusal::TargetByte),
        ("/a?\0", Refusal::TargetByte),
        ("/%", Refusal::Escape),
        ("/%4", Refusal::Escape),
        ("/%zz", Refusal::Escape),
        ("/%+1", Refusal::Escape),
        // Overlong: '/' in two bytes, '.' in two and three.
        ("/%c0%af", Refusal::Escape),
        ("/%c0%ae%c0%ae", Refusal::Escape),
        ("/%e0%80%ae", Refusal::Escape),
        ("/%ed%a0%80", Refusal::Escape),
        ("/%ff", Refusal::Escape),
    ] {
        assert_eq!(parse(target), Err(refusal), "{target:?}");
        assert_eq!(refusal.response().status, Status::BadRequest);
    }
}

#[test]
fn a_name_with_dots_inside_is_no_dot_segment() {
    for target in ["/1.0", "/a..b", "/...", "/.x", "/x."] {
        assert_eq!(parse(target).unwrap().path(), target);
    }
}

#[test]
fn other_forms_than_a_path_are_refused() {
    for target in ["", "*", "http://169.254.169.254/latest", "169.254.169.254:80", "latest", "?x"] {
        assert_eq!(parse(target), Err(Refusal::TargetForm), "{target:?}");
    }
    assert_eq!(Refusal::TargetForm.response().status, Status::BadRequest);
}

#[test]
fn a_target_over_8_kib_is_414() {
    let longest = format!("/{}", "a".repeat(Request::TARGET_MAX - 1));
    assert!(parse(&longest).is_ok());
    let longer = longest + "a";
    assert_eq!(parse(&longer), Err(Refusal::TargetTooLong));
    assert_eq!(Refusal::TargetTooLong.response().status, Status::UriTooLong);
}

#[test]
fn trace_and_connect_are_405_and_echo_nothing() {
    for method in ["TRACE", "CONNECT"] {
        let refusal = Request::parse(Version::Http11, method, b"/", [HOST]).unwrap_err();
        let response = refusal.response();
        assert_eq!(response.status, Status::MethodNotAllowed);
        assert_eq!(response.allow, Some("GET, HEAD"));
        assert_eq!(&response.body[..], b"method not allowed\n");
    }
}

#[test]
fn http_1_1_needs_exactly_one_host() {
    let parse = |version, fields: &[(&'static str, &'static [u8])]| {
        Request::parse(version, "GET", b"/", fields.iter().copied()).map(drop)
    };
    assert_eq!(parse(Version::Http11, &[]), Err(Refusal::Host));
    assert_eq!(parse(Version::Http10, &[]), Ok(()));
    assert_eq!(parse(Version::Http11, &[HOST]), Ok(()));
    assert_eq!(parse(Version::Http11, &[HOST, ("Host", b"a")]), Err(Refusal::DoubledHeader));
    assert_eq!(parse(Version::Http11, &[HOST, HOST]), Err(Refusal::DoubledHeader));
    assert_eq!(Refusal::Host.response().status, Status::BadRequest);
    assert_eq!(Refusal::DoubledHeader.response().status, Status::BadRequest);
}

#[test]
fn a_rebound_name_in_host_is_421() {
    assert_eq!(with(&[("Host", "evil.example")]), Err(Refusal::ForeignHost));
    assert_eq!(Refusal::ForeignHost.response().status, Status::MisdirectedRequest);
}

#[test]
fn any_transfer_encoding_is_refused_and_the_connection_ends() {
    for value in ["chunked", "identity", "gzip, chunked", "xchunked", ""] {
        let refusal = with(&[("Host", "a"), ("Transfer-Encoding", value)]).unwrap_err();
        assert_eq!(refusal, Refusal::TransferEncoding, "{value}");
        assert_eq!(refusal.response().status, Status::LengthRequired);
        assert!(refusal.response().close);
    }
}

#[test]
fn both_framings_at_once_are_refused_in_either_order() {
    let mut fields = [("Host", "a"), ("Content-Length", "3"), ("Transfer-Encoding", "chunked")];
    for _ in 0..2 {
        fields.swap(1, 2);
        let refusal = with(&fields).unwrap_err();
        assert_eq!(refusal, Refusal::TwoFramings);
        assert_eq!(refusal.response().status, Status::BadRequest);
        assert!(refusal.response().close);
    }
}

#[test]
fn content_lengths_that_differ_or_are_no_numbers_are_refused() {
    let lengths = |values: &[&'static str]| {
        let fields = values.iter().map(|value| ("content-length", value.as_bytes()));
        Request::parse(Version::Http11, "POST", b"/", fields.chain([HOST]))
            .map(|request| request.content_length())
    };
    assert_eq!(lengths(&["5"]), Ok(5));
    assert_eq!(lengths(&["5", "5"]), Ok(5));
    for bad in [
        &["5", "6"][..],
        &["5, 5"],
        &["+5"],
        &["-5"],
        &["0x5"],
        &[""],
        &["5 5"],
        &["99999999999999999999"],
    ] {
        let refusal = lengths(bad).unwrap_err();
        assert_eq!(refusal, Refusal::ContentLength, "{bad:?}");
        assert!(refusal.response().close);
    }
}

#[test]
fn a_header_that_may_come_once_is_refused_twice() {
    for name in [
        "x-aws-ec2-metadata-token",
        "x-aws-ec2-metadata-token-ttl-seconds",
        "if-none-match",
        "content-type",
    ] {
        let upper = name.to_ascii_uppercase();
        let doubled = with(&[("host", "a"), (name, "1"), (upper.as_str(), "1")]);
        assert_eq!(doubled.map(drop), Err(Refusal::DoubledHeader), "{name}");
    }
}

#[test]
fn headers_are_found_in_any_case_and_without_the_blanks_around_them() {
    let request = with(&[("HOST", "a"), ("X-AWS-EC2-Metadata-Token", " t\t")]).unwrap();
    assert_eq!(request.headers().token, Some(&b"t"[..]));
}

#[test]
fn an_unknown_method_is_left_to_the_path() {
    for name in ["get", "PATCH", "OPTIONS", "G\u{45}T ", ""] {
        let request = Request::parse(Version::Http11, name, b"/", [HOST]).unwrap();
        assert_eq!(request.method(), Method::Other, "{name}");
    }
}

#[test]
fn a_parameter_is_found_by_its_whole_name() {
    let request = parse("/a?xwatch=1&watch=2&watch=3&empty=&bare").unwrap();
    assert_eq!(request.parameter("watch"), Some("2"));
    assert_eq!(request.parameter("empty"), Some(""));
    assert_eq!(request.parameter("bare"), None);
    assert_eq!(request.parameter("none"), None);
}

proptest! {
    #[test]
    fn no_target_makes_the_parser_panic(target: Vec<u8>) {
        let _ = Request::parse(Version::Http11, "GET", &target, [HOST]);
    }

    #[test]
    fn no_header_makes_the_parser_panic(name: String, value: Vec<u8>, twice: bool) {
        let field = (name.as_str(), value.as_slice());
        let fields = [Some(HOST), Some(field), twice.then_some(field)].into_iter().flatten();
        let _ = Request::parse(Version::Http11, "GET", b"/", fields);
    }

    #[test]
    fn the_canonical_form_is_its_own_canonical_form(
        target in "/([a-z./%?&=0-9]|%[0-9a-fA-F]{2}|//|\\.\\.){0,24}"
    ) {
        if let Ok(request) = parse(&target) {
            let canonical = request.target();
            let again = parse(&canonical).unwrap();
            prop_assert_eq!(again.path(), request.path());
            prop_assert_eq!(again.target(), canonical);
        }
    }

    #[test]
    fn a_canonical_path_has_no_structure_left_to_hide(
        target in "/([a-z./%]|%[0-9a-fA-F]{2}|//|\\.\\.){0,24}"
    ) {
        if let Ok(request) = parse(&target) {
            let path = request.path();
            prop_assert!(path.starts_with('/') && !path.contains("//") && !path.contains('\\'));
            prop_assert!(path.split('/').all(|segment| segment != "." && segment != ".."));
            prop_assert!(!path.bytes().any(|byte| byte < 0x20 || byte == 0x7f));
        }
    }

    #[test]
    fn all_spellings_of_a_path_are_equal(
        segments in prop::collection::vec("[a-z0-9=:@-]{1,8}", 1..5),
        choices in prop::collection::vec((any::<bool>(), any::<bool>(), 1usize..4), 64),
    ) {
        let plain = format!("/{}", segments.join("/"));
        let mut choices = choices.into_iter().cycle();
        let mut spelled = String::new();
        for byte in plain.bytes() {
            let (escape, upper, times) = choices.next().unwrap();
            match (byte, escape, upper) {
                (b'/', ..) => spelled.push_str(&"/".repeat(times)),
                (_, true, true) => spelled.push_str(&format!("%{byte:02X}")),
                (_, true, false) => spelled.push_str(&format!("%{byte:02x}")),
                _ => spelled.push(byte.into()),
            }
        }
        let request = parse(&spelled).unwrap();
        prop_assert_eq!(request.path(), plain);
    }
}
