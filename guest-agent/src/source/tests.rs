//! What of an answer becomes which error.

use super::*;

fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Response {
    let headers =
        headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Response { head: http::Head { status, headers }, body: body.as_bytes().to_vec() }
}

#[test]
fn a_refusal_keeps_what_the_service_asked_for_and_its_stable_word() {
    let busy = refusal(&response(503, &[("retry-after", "7")], ""));
    assert!(
        matches!(busy, SourceError::NotReady { retry_after: Some(wait) } if wait.as_secs() == 7)
    );
    let conflict = refusal(&response(409, &[], "{\"error\":\"not-asked\",\"detail\":\"x\"}"));
    assert_eq!(conflict.to_string(), "the metadata service answered 409 (not-asked)");
    assert!(conflict.is_refusal() && !busy.is_refusal());
    assert_eq!(refusal(&response(403, &[], "")).reason(), "endpoint-off");
    assert!(!refusal(&response(500, &[], "")).is_refusal());
}

#[test]
fn a_report_that_is_too_long_loses_details_and_not_its_outcome() {
    let step = StepReport {
        step: "s".into(),
        outcome: mezame_model::report::Outcome::Failed,
        reason: "script-exit".into(),
        detail: "x".repeat(4096),
        milliseconds: 1,
    };
    let report = Report {
        instance_id: mezame_model::InstanceId::parse("i-0123456789abcdef0").unwrap(),
        agent: "1".into(),
        boot_id: "b".into(),
        run: 1,
        outcome: mezame_model::report::Outcome::Failed,
        steps: vec![step; 400],
        configured_ms: None,
        total_ms: 0,
        host_keys: Vec::new(),
    };
    let bytes = fitting(&report);
    assert!(bytes.len() <= MAX_REPORT);
    let back: Report = serde_json::from_slice(&bytes).unwrap();
    assert_eq!((back.steps.len(), back.outcome), (400, report.outcome));
}

#[test]
fn debug_shows_no_token() {
    let mut source = Source::new(Client::new((std::net::Ipv4Addr::LOCALHOST, 80).into(), None));
    source.token = Some((SecretString::new("hunter2".into()), Instant::now()));
    assert!(!format!("{source:?}").contains("hunter2"));
    let request = Request {
        method: "POST",
        target: "/",
        headers: &[("X-aws-ec2-metadata-token", "hunter2")],
        body: Some(b"hunter2"),
        timeout: TIMEOUT,
    };
    assert_eq!(format!("{request:?}"), "Request(POST /, 7 bytes)");
}
