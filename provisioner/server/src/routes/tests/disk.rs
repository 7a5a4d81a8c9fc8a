//! The call that hands out a disk: who gets one, which, and what is said where there is none.

use super::*;
use crate::disk::{DiskError, fat::tests::read};

const PATH: &str = "/v1/projects/p/instances/web/disk";

struct Image {
    headers: hyper::HeaderMap,
    bytes: Vec<u8>,
}

async fn image(plane: &Plane, format: &str) -> Image {
    let path = format!("{PATH}?format={format}");
    let response = plane.respond(Some(Role::Write), "GET", &path, &[], Body::empty()).await;
    let (parts, body) = response.into_parts();
    assert_eq!(parts.status, 200);
    let bytes = body.collect().await.unwrap().to_bytes().to_vec();
    Image { headers: parts.headers, bytes }
}

/// The seed, with the dialects that disks want.
async fn seeded() -> Plane {
    let plane = Plane::start().await;
    let mut documents = seed();
    documents[3]["dialects"] = json!(["openstack", "nocloud"]);
    plane.apply(documents).await;
    plane
}

#[tokio::test]
async fn a_disk_holds_what_the_guest_is_told_and_no_cache_keeps_it() {
    let plane = seeded().await;
    let Image { headers, bytes } = image(&plane, "cidata").await;
    assert_eq!(headers["content-type"], "application/octet-stream");
    assert_eq!(headers["content-disposition"], "attachment; filename=\"web-cidata.img\"");
    assert_eq!(headers["cache-control"], "no-store");
    let files = read(&bytes);
    assert_eq!(files["user-data"], b"#!/bin/sh\necho secret-script\n");
    assert_eq!(files["vendor-data"], b"secret\n");
    assert_eq!(files.len(), 4);
    let files = read(&image(&plane, "config-2").await.bytes);
    assert_eq!(files["openstack/latest/user_data"], b"#!/bin/sh\necho secret-script\n");
    // What a guest reads once it reads over HTTP; on a disk it would be there for ever.
    let all: Vec<u8> = files.into_values().flatten().collect();
    let all = String::from_utf8_lossy(&all);
    assert!(!all.contains("secret-db") && !all.contains("secret-api") && !all.contains(&hash()));
}

#[tokio::test]
async fn a_tag_is_the_images_and_changes_with_what_the_guest_is_told() {
    let plane = seeded().await;
    let first = image(&plane, "config-2").await;
    let again = image(&plane, "config-2").await;
    assert!(first.bytes == again.bytes);
    let tag = first.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(again.headers["etag"], *tag);
    assert_ne!(image(&plane, "cidata").await.headers["etag"], *tag);
    let path = format!("{PATH}?format=config-2");
    for known in [tag.as_str(), &format!("\"0\", W/{tag}"), "*"] {
        let answer = plane.call("GET", &path, &[("If-None-Match", known)], Body::empty()).await;
        assert_eq!((answer.status, answer.text.as_str()), (304, ""), "{known}");
        assert_eq!(answer.header("etag"), tag);
    }
    let mut documents = seed();
    documents[3]["dialects"] = json!(["openstack", "nocloud"]);
    documents[3]["hostname"] = "other".into();
    plane.apply(documents).await;
    assert_ne!(image(&plane, "config-2").await.headers["etag"], *tag);
}

#[tokio::test]
async fn only_who_may_write_gets_a_disk() {
    let plane = seeded().await;
    let path = format!("{PATH}?format=cidata");
    for (role, status, kind) in [(None, 401, "unauthorized"), (Some(Role::Read), 403, "forbidden")]
    {
        for method in ["GET", "HEAD"] {
            let answer = plane.call_as(role, method, &path, &[], Body::empty()).await;
            assert_eq!(answer.status, status, "{method} {role:?}");
            assert!(!answer.text.contains("secret"), "{}", answer.text);
            if method == "GET" {
                assert_eq!(answer.problem()["type"], kind);
            }
        }
    }
    // Nor is a reader told which instances there are by this way.
    let absent = "/v1/projects/p/instances/none/disk?format=cidata";
    let answer = plane.call_as(Some(Role::Read), "GET", absent, &[], Body::empty()).await;
    assert_eq!(answer.status, 403);
}

#[tokio::test]
async fn what_is_not_there_or_not_known_is_said_with_its_mend() {
    let plane = seeded().await;
    for path in ["/v1/projects/p/instances/none/disk", "/v1/projects/q/instances/web/disk"] {
        let answer = plane.get(&format!("{path}?format=cidata")).await;
        assert_eq!(
            (answer.status, &answer.problem()["type"]),
            (404, &json!("not-found")),
            "{path}"
        );
    }
    for query in ["", "?format=", "?format=iso9660", "?format=CIDATA", "?form=cidata"] {
        let answer = plane.get(&format!("{PATH}{query}")).await;
        let problem = answer.problem();
        assert_eq!((answer.status, &problem["type"]), (400, &json!("parameter")), "{query}");
        assert_eq!(problem["detail"], "'format' must be 'config-2' or 'cidata'");
    }
    let answer = plane.call("PUT", PATH, &[], Body::empty()).await;
    assert_eq!(answer.status, 405);
}

#[tokio::test]
async fn a_dialect_that_is_missing_is_named() {
    // The default: ec2, nocloud, mezame.
    let plane = Plane::seeded().await;
    assert_eq!(read(&image(&plane, "cidata").await.bytes).len(), 4);
    let answer = plane.get(&format!("{PATH}?format=config-2")).await;
    let problem = answer.problem();
    assert_eq!((answer.status, &problem["type"]), (409, &json!("no-dialect")));
    assert_eq!(problem["faults"][0]["path"], "dialects");
    assert_eq!(problem["faults"][0]["mend"], "add 'openstack' to the instance's dialects");
}

#[tokio::test]
async fn a_record_that_is_not_whole_is_a_conflict() {
    // Admission lets no such record in, so it is asked of the failure itself.
    let response = Failure::Disk(DiskError::NotWhole).into_response();
    assert_eq!(response.status(), 409);
}
