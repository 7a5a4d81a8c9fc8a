//! Failures in one form, rights, methods, and the calls that the description promises.

use super::*;
use crate::routes::routes;

#[tokio::test]
async fn every_described_route_answers() {
    let plane = Plane::seeded().await;
    for route in routes() {
        let path = route.path.replace("{project}", "p").replace("{name}", "web");
        let path = path.replace("{key}", "root").replace("{user}", "other");
        let path = match route.path {
            "/v1/projects/{project}/networks/{name}" => "/v1/projects/p/networks/lan".to_owned(),
            other if other.contains("/ports/{name}") => path.replace("web", "web-0"),
            other if other.ends_with("/disk") => format!("{path}?format=cidata"),
            _ => path,
        };
        let body = match route.operation {
            "apply" => json!({ "documents": [] }).to_string(),
            "attach-device" => json!({ "device": "vnet1" }).to_string(),
            "create-volume-key" => json!({ "name": "root", "key": "QUFB".repeat(8) }).to_string(),
            "rotate-volume-key" => json!({ "key": "QkJC".repeat(8) }).to_string(),
            "revoke-volume-key" | "reset-password" => json!({}).to_string(),
            operation if operation.starts_with("write-") => {
                plane.get(&path).await.json()["spec"].to_string()
            }
            _ => String::new(),
        };
        // What deletes comes last by itself: nothing here can be deleted but the instance.
        let answer =
            plane.respond(Some(Role::Write), route.method.as_str(), &path, &[], body.into()).await;
        let status = answer.status().as_u16();
        let expected: &[u16] = match route.operation {
            // This plane has no archive and no pools, which is said; with these they have tests of
            // their own.
            _ if ["/image", "/jobs", "/v1/archive"].iter().any(|it| path.contains(it)) => &[404],
            _ if path.contains("/volumes") || path.contains("/backup") => &[404],
            _ if ["/v1/pools", "/v1/masters", "/v1/leftovers"]
                .iter()
                .any(|it| path.starts_with(it)) =>
            {
                &[404]
            }
            "delete-project" | "delete-network" | "delete-port" => &[409],
            "create-volume-key" => &[201],
            _ => &[200, 204],
        };
        assert!(expected.contains(&status), "{} {path}: {status}", route.method);
    }
}

#[tokio::test]
async fn an_unknown_path_and_an_unknown_method_are_problems() {
    let plane = Plane::start().await;
    for path in ["/", "/v1", "/v1/projects/p/routers", "/v1/projects/", "/v2/apply"] {
        let answer = plane.get(path).await;
        assert_eq!(
            (answer.status, answer.problem()["type"].clone()),
            (404, "no-such-path".into()),
            "{path}"
        );
    }
    let answer = plane.call("PATCH", "/v1/projects/p", &[], Body::empty()).await;
    assert_eq!(
        (answer.status, answer.problem()["type"].clone()),
        (405, "method-not-allowed".into())
    );
    let mut allowed: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["DELETE", "GET", "HEAD", "PUT"]);
}

#[tokio::test]
async fn a_name_that_breaks_the_rule_leads_nowhere() {
    let plane = Plane::seeded().await;
    for path in [
        "/v1/projects/P",
        "/v1/projects/p/ports/..%2f",
        "/v1/projects/%00",
        "/v1/projects/p/ports/%ff",
    ] {
        let answer = plane.get(path).await;
        assert_eq!((answer.status, answer.problem()["type"].clone()), (404, "not-found".into()));
    }
}

#[tokio::test]
async fn head_answers_as_get_without_a_body() {
    let plane = Plane::seeded().await;
    let get = plane.get("/v1/projects/p").await;
    let head = plane.call("HEAD", "/v1/projects/p", &[], Body::empty()).await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    assert_eq!(head.header("etag"), get.header("etag"));
}

#[tokio::test]
async fn nobody_without_a_name_and_no_reader_that_writes_gets_through() {
    let plane = Plane::seeded().await;
    for path in ["/v1/projects", "/healthz", "/v1/openapi.json", "/nowhere"] {
        let answer = plane.call_as(None, "GET", path, &[], Body::empty()).await;
        assert_eq!((answer.status, answer.problem()["type"].clone()), (401, "unauthorized".into()));
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
    }
    let read = Some(Role::Read);
    assert_eq!(plane.call_as(read, "GET", "/v1/projects", &[], Body::empty()).await.status, 200);
    let who = plane.call_as(read, "GET", "/v1/whoami", &[], Body::empty()).await.json();
    assert_eq!(who, json!({ "name": "test", "role": "read" }));
    let before = plane.generation().await;
    for route in routes().filter(|route| route.method != Method::GET) {
        let path = route.path.replace("{project}", "p").replace("{name}", "web");
        let answer = plane.call_as(read, route.method.as_str(), &path, &[], "{}").await;
        assert_eq!(answer.status, 403, "{} {path}", route.method);
    }
    assert_eq!(plane.generation().await, before);
}

#[tokio::test]
async fn a_body_that_is_wrong_is_refused_without_being_repeated() {
    let plane = Plane::start().await;
    for (body, kind) in [
        ("{\"documents\": hunter2}", "not-json"),
        ("", "not-json"),
        ("{\"documents\": \"hunter2\"}", "form"),
        ("[]", "form"),
        ("hunter2", "not-json"),
    ] {
        let answer = plane.call("POST", "/v1/apply", &[], body).await;
        assert_eq!((answer.status, answer.problem()["type"].clone()), (400, kind.into()), "{body}");
        assert!(!answer.text.contains("hunter2"));
    }
    let deep = "[".repeat(100_000);
    assert_eq!(plane.call("POST", "/v1/apply", &[], deep).await.status, 400);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let answer = plane.call("POST", "/v1/apply", &form, "{}").await;
    assert_eq!((answer.status, answer.problem()["type"].clone()), (415, "media-type".into()));
    let answer = plane.call("POST", "/v1/apply?dry_run=maybe", &[], "{}").await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_announced_or_not() {
    let plane = Plane::start().await;
    let long = vec![b' '; (8 << 20) + 1];
    let length = long.len().to_string();
    for headers in [vec![], vec![("content-length", length.as_str())]] {
        let answer = plane.call("POST", "/v1/apply", &headers, long.clone()).await;
        assert_eq!((answer.status, answer.problem()["type"].clone()), (413, "too-long".into()));
    }
}

#[tokio::test]
async fn the_greatest_user_data_fits_into_a_put() {
    let plane = Plane::seeded().await;
    let mut spec = seed()[3].clone();
    // The JSON that needs the most bytes for a byte.
    spec["user_data"] = "\u{1}".repeat(1 << 20).into();
    spec["vendor_data_base64"] =
        base64::Engine::encode(&base64::engine::general_purpose::STANDARD, vec![7; 1 << 20]).into();
    let put = plane.put("/v1/projects/p/instances/web", &[], spec.clone()).await;
    assert_eq!(put.status, 200, "{}", &put.text[..200.min(put.text.len())]);
    assert_eq!(put.json()["status"]["user_data_bytes"], 1 << 20);
    spec["user_data"] = "x".repeat((1 << 20) + 1).into();
    let put = plane.put("/v1/projects/p/instances/web", &[], spec).await;
    assert_eq!((put.status, put.problem()["faults"][0]["path"].clone()), (422, "user_data".into()));
}

#[tokio::test]
async fn rotating_the_token_key_reaches_the_feed_and_keeps_the_old_key() {
    let plane = Plane::seeded().await;
    let keys = || -> Vec<u32> {
        let state = plane.control.state();
        state.snapshot().site.token_keys.iter().map(|key| key.number).collect()
    };
    assert_eq!(keys(), [1]);
    let before = plane.generation().await;
    assert_eq!(plane.post("/v1/keys/tokens/rotate", json!(null)).await.status, 204);
    assert_eq!(keys(), [2, 1]);
    assert_eq!(plane.control.state().snapshot().generation.0, before + 1);
    assert_eq!(plane.post("/v1/keys/sealing/rotate", json!(null)).await.status, 204);
}

#[tokio::test]
async fn no_answer_may_be_cached() {
    let plane = Plane::seeded().await;
    for path in ["/v1/projects/p", "/nowhere", "/v1/identity-certificate"] {
        assert_eq!(plane.get(path).await.header("cache-control"), "no-store", "{path}");
    }
}
