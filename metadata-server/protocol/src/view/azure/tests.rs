//! Tests of Azure's dialect.

use std::{process::Command, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use mezame_model::{Dialect, Guest, Smbios, TokenPolicy, service_address};

use super::*;
use crate::{Signer, fixture::World};

const NEWEST: &str = "api-version=2025-04-07";

fn machine(world: &World) -> Guest {
    world.web_in(Dialect::Azure)
}

fn bare(world: &World, addresses: &[&str]) -> Guest {
    world.bare_in(Dialect::Azure, addresses)
}

fn ask(world: &World, guest: &Guest, target: &str) -> Response {
    world.ask(guest, "GET", target, &[("Metadata", "true")])
}

fn parsed(world: &World, guest: &Guest, target: &str) -> Value {
    let reply = ask(world, guest, target);
    assert_eq!(reply.status, Status::Ok, "{target}");
    assert_eq!(reply.content_type, response::JSON, "{target}");
    serde_json::from_slice(&reply.body).unwrap()
}

fn text(world: &World, guest: &Guest, path: &str) -> String {
    let reply = ask(world, guest, &format!("{path}?{NEWEST}&format=text"));
    assert_eq!((reply.status, reply.content_type), (Status::Ok, response::TEXT), "{path}");
    String::from_utf8(reply.body.to_vec()).unwrap()
}

/// The error of what must be refused with this status.
fn error(reply: &Response, status: Status) -> Value {
    assert_eq!((reply.status, reply.content_type), (status, response::JSON));
    serde_json::from_slice(&reply.body).unwrap()
}

#[test]
fn the_azure_documents_are_as_they_were() {
    let world = World::new();
    let guest = machine(&world);
    let mut out = String::new();
    for target in [
        &format!("/metadata/instance?{NEWEST}"),
        "/metadata/instance/compute?api-version=2017-04-02",
        "/metadata/versions",
        &format!("/metadata/scheduledevents?{NEWEST}"),
    ] {
        out.push_str(&format!("== {target}\n{:#}\n", parsed(&world, &guest, target)));
    }
    insta::assert_snapshot!("azure", out);
}

#[test]
fn listings_in_text_and_leaves_agree_with_the_document_whatever_the_guest_has() {
    /// Compares a value with what its path answers in text, and so with all that lies below.
    fn check(world: &World, guest: &Guest, path: &str, value: &Value) -> usize {
        let found = text(world, guest, path);
        let name = |name: &str, value: &Value| {
            if value.is_string() { name.to_owned() } else { format!("{name}/") }
        };
        let parts: Vec<(String, &Value)> = match value {
            Value::String(expected) => {
                assert_eq!(found, *expected, "{path}");
                return 1;
            }
            Value::Object(fields) => fields.iter().map(|(at, it)| (at.clone(), it)).collect(),
            Value::Array(items) => {
                items.iter().enumerate().map(|(at, it)| (at.to_string(), it)).collect()
            }
            _ => panic!("{path} is no text"),
        };
        assert_eq!(*value, parsed(world, guest, &format!("{path}?{NEWEST}")), "{path}");
        let names: Vec<_> = parts.iter().map(|(at, it)| name(at, it)).collect();
        assert_eq!(found.lines().collect::<Vec<_>>(), names, "{path}");
        parts.iter().map(|(at, it)| check(world, guest, &format!("{path}/{at}"), it)).sum()
    }
    let world = World::new();
    for (guest, least) in
        [(machine(&world), 90), (bare(&world, &["2001:db8:1::10"]), 60), (bare(&world, &[]), 60)]
    {
        let document = parsed(&world, &guest, &format!("/metadata/instance?{NEWEST}"));
        let leaves = check(&world, &guest, "/metadata/instance", &document);
        assert!(leaves > least, "{leaves} leaves");
    }
}

#[test]
fn a_request_without_the_header_is_400_even_where_no_version_is_wanted() {
    let world = World::new();
    let guest = machine(&world);
    let token = "/metadata/identity/oauth2/token?api-version=2018-02-01";
    for target in [&format!("/metadata/instance?{NEWEST}"), "/metadata/versions", token] {
        let error = error(&world.get(&guest, target), Status::BadRequest);
        assert_eq!(error["error"], "Bad request. Required metadata header not specified");
    }
    let reply = world.ask(&guest, "GET", "/metadata/versions", &[("Metadata", "false")]);
    assert_eq!(reply.status, Status::BadRequest);
    let reply = world.ask(&guest, "GET", "/metadata/versions", &[("Metadata", "True")]);
    assert_eq!(reply.status, Status::Ok);
}

#[test]
fn refusals_of_the_policy_are_in_azures_form() {
    let world = World::new();
    let guest = machine(&world);
    let headers = [("Metadata", "true"), ("X-Forwarded-For", "10.0.0.1")];
    let reply = world.ask(&guest, "GET", "/metadata/versions", &headers);
    assert!(error(&reply, Status::BadRequest)["error"].is_string());
    for (tokens, status) in
        [(TokenPolicy::Required, Status::Unauthorized), (TokenPolicy::Off, Status::Forbidden)]
    {
        let mut guest = guest.clone();
        Arc::make_mut(&mut guest.instance).tokens = tokens;
        assert!(error(&ask(&world, &guest, "/metadata/versions"), status)["error"].is_string());
    }
}

#[test]
fn a_missing_or_unknown_version_is_told_the_newest_ones() {
    let world = World::new();
    let guest = machine(&world);
    for target in [
        "/metadata/instance",
        "/metadata/instance?api-version=2020-01-01",
        "/metadata/instance?api-version=",
        "/metadata/attested/document?api-version=2018-04-02",
        "/metadata/scheduledevents?api-version=2017-04-02",
    ] {
        let error = error(&ask(&world, &guest, target), Status::BadRequest);
        assert_eq!(error["newest-versions"], json!(["2025-04-07", "2024-07-17", "2024-03-15"]));
    }
    let doubled = format!("/metadata/instance?{NEWEST}&{NEWEST}");
    assert!(error(&ask(&world, &guest, &doubled), Status::BadRequest)["error"].is_string());
}

#[test]
fn versions_are_sorted_and_each_has_what_came_before_it() {
    let world = World::new();
    let guest = machine(&world);
    assert!(version::ALL.is_sorted());
    let mut before = 0;
    for version in version::ALL {
        let target = format!("/metadata/instance/compute?api-version={version}");
        let fields = parsed(&world, &guest, &target).as_object().unwrap().len();
        assert!(fields >= before, "{version}");
        before = fields;
    }
    let old = compute::document(&guest, version::Version::named("2020-12-01"));
    assert!(old.get("userData").is_none() && old.get("tagsList").is_some());
}

#[test]
fn a_leaf_is_text_and_only_text() {
    let world = World::new();
    let guest = machine(&world);
    let name = "/metadata/instance/compute/name";
    assert_eq!(text(&world, &guest, name), "web-0");
    for format in ["", "&format=json", "&format=xml"] {
        let reply = ask(&world, &guest, &format!("{name}?{NEWEST}{format}"));
        assert!(error(&reply, Status::BadRequest)["error"].is_string(), "{format}");
    }
}

#[test]
fn what_no_path_selects_is_404_in_azures_form() {
    let world = World::new();
    let guest = machine(&world);
    for path in [
        "instance/compute/nothing",
        "instance/compute/name/below",
        "instance/network/interface/2",
        "instance/network/interface/00",
        "instance/network/interface/-1",
        "instance/storage",
        "attested",
        "identity/info",
        "versions/below",
    ] {
        let reply = ask(&world, &guest, &format!("/metadata/{path}?{NEWEST}&format=text"));
        assert_eq!(error(&reply, Status::NotFound), json!({ "error": "Not found" }), "{path}");
    }
}

#[test]
fn a_slash_at_the_end_changes_nothing_and_head_is_get_without_the_body() {
    let world = World::new();
    let guest = machine(&world);
    for path in
        ["/metadata/instance", "/metadata/instance/network/interface/0", "/metadata/versions"]
    {
        let reply = ask(&world, &guest, &format!("{path}?{NEWEST}"));
        assert_eq!(ask(&world, &guest, &format!("{path}/?{NEWEST}")), reply, "{path}");
        let head = world.ask(&guest, "HEAD", &format!("{path}?{NEWEST}"), &[("Metadata", "true")]);
        assert_eq!(head, reply.without_body());
        let post = world.ask(&guest, "POST", &format!("{path}?{NEWEST}"), &[("Metadata", "true")]);
        assert_eq!((post.status, post.allow), (Status::MethodNotAllowed, Some("GET, HEAD")));
    }
}

#[test]
fn the_machine_is_the_one_of_its_smbios() {
    let world = World::new();
    let guest = machine(&world);
    let smbios =
        Smbios::of(Dialect::Azure, &guest.instance, service_address::METADATA.into()).unwrap();
    assert_eq!(text(&world, &guest, "/metadata/instance/compute/vmId"), *smbios.uuid);
}

#[test]
fn user_data_is_base64_whatever_its_bytes_are() {
    let world = World::new();
    let guest = machine(&world);
    let data = guest.instance.user_data.as_ref().unwrap().bytes();
    assert!(std::str::from_utf8(data).is_err());
    let found = text(&world, &guest, "/metadata/instance/compute/userData");
    assert_eq!(STANDARD.decode(found).unwrap(), *data);
    assert_eq!(text(&world, &bare(&world, &[]), "/metadata/instance/compute/userData"), "");
}

#[test]
fn every_port_is_an_interface_by_its_mac() {
    let world = World::new();
    let network = parsed(&world, &machine(&world), &format!("/metadata/instance/network?{NEWEST}"));
    let [front, back] = &network["interface"].as_array().unwrap()[..] else { panic!("two") };
    assert_eq!(front["macAddress"], "525400ABCD01");
    assert_eq!(front["ipv4"]["ipAddress"][0]["privateIpAddress"], "192.168.0.10");
    assert_eq!(front["ipv4"]["ipAddress"][0]["publicIpAddress"], "");
    assert_eq!(front["ipv4"]["ipAddress"][1]["publicIpAddress"], "203.0.113.7");
    assert_eq!(front["ipv4"]["subnet"][0], json!({ "address": "192.168.0.0", "prefix": "24" }));
    assert_eq!(front["ipv6"]["ipAddress"][0]["privateIpAddress"], "2001:db8:1::10");
    assert_eq!(front["ipv6"]["subnet"][0]["prefix"], "64");
    assert_eq!(back["ipv4"]["subnet"].as_array().unwrap().len(), 1);
    assert_eq!(back["ipv6"], json!({ "ipAddress": [] }));
}

#[test]
fn a_guest_without_an_identity_is_told_so_at_once() {
    let world = World::new();
    let target = "/metadata/identity/oauth2/token?api-version=2018-02-01&resource=x";
    let error = error(&ask(&world, &machine(&world), target), Status::BadRequest);
    let expected = json!({ "error": "invalid_request", "error_description": "Identity not found" });
    assert_eq!(error, expected);
}

#[test]
fn scheduled_events_have_versions_of_their_own_and_none_is_ever_scheduled() {
    let world = World::new();
    let guest = machine(&world);
    for version in ["2017-08-01", "2017-11-01", "2020-07-01", "2025-04-07"] {
        let target = format!("/metadata/scheduledevents?api-version={version}");
        let expected = json!({ "DocumentIncarnation": 1, "Events": [] });
        assert_eq!(parsed(&world, &guest, &target), expected, "{version}");
    }
}

/// The signed document, as `openssl` gives it back after a check by the site's certificate.
fn verified(world: &World, reply: &Value) -> Option<Value> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    };
    assert_eq!(reply["encoding"], "pkcs7");
    write("signature.der", &STANDARD.decode(reply["signature"].as_str().unwrap()).unwrap());
    write("site.der", &world.snapshot.site.signing_key.certificate);
    let openssl = |arguments: &[&str]| {
        let output =
            Command::new("openssl").current_dir(folder.path()).args(arguments).output().unwrap();
        output.status.success().then_some(output.stdout)
    };
    openssl(&["x509", "-inform", "DER", "-in", "site.der", "-out", "site.pem"]).unwrap();
    let content = openssl(&[
        "cms",
        "-verify",
        "-binary",
        "-inform",
        "DER",
        "-in",
        "signature.der",
        "-CAfile",
        "site.pem",
    ])?;
    Some(serde_json::from_slice(&content).unwrap())
}

#[test]
fn openssl_verifies_the_attested_document_and_gives_the_nonce_back() {
    let world = World::new();
    let guest = machine(&world);
    let target = format!("/metadata/attested/document?{NEWEST}&nonce=1234567890");
    let document = verified(&world, &parsed(&world, &guest, &target)).unwrap();
    assert_eq!(document["nonce"], "1234567890");
    assert_eq!(
        document["vmId"],
        *Smbios::of(Dialect::Azure, &guest.instance, service_address::METADATA.into())
            .unwrap()
            .uuid
    );
    assert_eq!(document["timeStamp"]["createdOn"], "01/15/27 08:00:00 -0000");
    assert_eq!(document["timeStamp"]["expiresOn"], "01/15/27 14:00:00 -0000");
    for field in ["plan", "sku", "licenseType", "subscriptionId"] {
        assert!(document.get(field).is_some(), "{field}");
    }
    let old = "/metadata/attested/document?api-version=2018-10-01";
    let document = verified(&world, &parsed(&world, &guest, old)).unwrap();
    assert_eq!(document["nonce"], "20270115-080000");
    assert!(document.get("subscriptionId").is_none() && document.get("licenseType").is_none());
}

#[test]
fn a_changed_attestation_does_not_verify() {
    let world = World::new();
    let target = format!("/metadata/attested/document?{NEWEST}&nonce=1234567890");
    let mut reply = parsed(&world, &machine(&world), &target);
    let mut der = STANDARD.decode(reply["signature"].as_str().unwrap()).unwrap();
    let at = der.windows(10).position(|it| it == b"1234567890").unwrap();
    der[at] = b'2';
    reply["signature"] = STANDARD.encode(der).into();
    assert_eq!(verified(&world, &reply), None);
}

#[test]
fn a_nonce_that_could_be_more_than_one_is_refused() {
    let world = World::new();
    let guest = machine(&world);
    let long = "1".repeat(33);
    for nonce in ["a%22b", "%7b", "a+b", "a,b", &long] {
        let target = format!("/metadata/attested/document?{NEWEST}&nonce={nonce}");
        assert!(error(&ask(&world, &guest, &target), Status::BadRequest)["error"].is_string());
    }
}

#[test]
fn a_guest_that_asks_in_a_loop_is_answered_from_memory_and_one_that_changes_nonces_is_stopped() {
    let mut world = World::new();
    let guest = machine(&world);
    let ask = |world: &World, nonce: usize| {
        let target = format!("/metadata/attested/document?{NEWEST}&nonce={nonce}");
        world.ask(&guest, "GET", &target, &[("Metadata", "true")])
    };
    let first = ask(&world, 0);
    let begin = world.now;
    world.now.0 = Signer::chosen_window(begin).0 + 299;
    assert_eq!(ask(&world, 0).body, first.body);
    world.now = begin;
    for nonce in 1..Signer::CHOSEN_MAX {
        assert_eq!(ask(&world, nonce).status, Status::Ok, "{nonce}");
    }
    let reply = ask(&world, Signer::CHOSEN_MAX);
    assert_eq!((reply.status, reply.retry_after), (Status::TooManyRequests, Some(300)));
    assert_eq!(ask(&world, 0).status, Status::Ok);
    world.now.0 += 300;
    assert_eq!(ask(&world, Signer::CHOSEN_MAX).status, Status::Ok);
}
