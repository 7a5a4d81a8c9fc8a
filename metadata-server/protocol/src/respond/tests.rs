//! What went wrong elsewhere, and traps that clients set: one test each.

use mezame_model::{InstanceId, TokenPolicy};

use super::*;
use crate::{fixture::World, response::Status};

const TOKEN: &str = "X-aws-ec2-metadata-token";
const TTL: &str = "X-aws-ec2-metadata-token-ttl-seconds";
const ID: &str = "/latest/meta-data/instance-id";

#[test]
fn the_token_reply_echoes_the_time_to_live_and_carries_the_hop_limit() {
    let world = World::new();
    let reply = world.ask(&world.web(), "PUT", "/latest/api/token", &[(TTL, "21600")]);
    assert_eq!(reply.status, Status::Ok);
    assert_eq!(reply.token_ttl, Some(21_600));
    assert_eq!(reply.hop_limit, Some(world.web().instance.hop_limit));
    assert_eq!(u8::from(world.web().instance.hop_limit), 2);
    assert!(reply.no_store && reply.audit.is_none());
    let mut echoed = None;
    reply.for_each_header(|name, value| {
        if name == "x-aws-ec2-metadata-token-ttl-seconds" {
            echoed = Some(value.to_vec());
        }
    });
    assert_eq!(echoed.as_deref(), Some(&b"21600"[..]));
}

#[test]
fn only_a_reply_with_a_token_has_a_hop_limit() {
    let world = World::new();
    assert_eq!(world.get(&world.web(), ID).hop_limit, None);
}

#[test]
fn a_token_for_no_time_or_too_long_a_time_is_400() {
    let world = World::new();
    let ask = |headers: &[(&str, &str)]| {
        world.ask(&world.web(), "PUT", "/latest/api/token", headers).status
    };
    assert_eq!(ask(&[]), Status::BadRequest);
    for ttl in ["0", "21601", "-1", "", "1h", "60, 60"] {
        assert_eq!(ask(&[(TTL, ttl)]), Status::BadRequest, "{ttl}");
    }
    assert_eq!(ask(&[(TTL, "60"), (TTL, "60")]), Status::BadRequest);
}

#[test]
fn the_token_path_takes_put_and_nothing_else() {
    let world = World::new();
    for method in ["GET", "HEAD", "POST", "DELETE"] {
        let reply = world.ask(&world.web(), method, "/latest/api/token", &[(TTL, "60")]);
        assert_eq!(reply.status, Status::MethodNotAllowed, "{method}");
        assert_eq!(reply.allow, Some("PUT"));
    }
    for path in ["/latest/api", "/1.0/api/token", "/latest/api/token/x"] {
        let reply = world.ask(&world.web(), "PUT", path, &[(TTL, "60")]);
        assert_eq!(reply.status, Status::NotFound, "{path}");
    }
}

#[test]
fn a_relayed_request_for_a_token_is_403() {
    let world = World::new();
    for name in ["X-Forwarded-For", "Forwarded", "X-Real-IP"] {
        let headers = [(TTL, "60"), (name, "")];
        let reply = world.ask(&world.web(), "PUT", "/latest/api/token", &headers);
        assert_eq!(reply.status, Status::Forbidden, "{name}");
    }
}

#[test]
fn a_web_page_gets_no_token() {
    let world = World::new();
    let headers = [(TTL, "60"), ("Origin", "http://evil.example")];
    let reply = world.ask(&world.web(), "PUT", "/latest/api/token", &headers);
    assert_eq!(reply.status, Status::Forbidden);
}

#[test]
fn a_required_token_is_required_in_every_dialect() {
    let world = World::new();
    let guest = world.web_with(|it| it.tokens = TokenPolicy::Required);
    let token = world.token(&guest, 60);
    for path in [ID, "/", "/nocloud/user-data", "/mezame/v1/document", "/latest/no-such-thing"] {
        assert_eq!(world.get(&guest, path).status, Status::Unauthorized, "{path}");
        let reply = world.ask(&guest, "GET", path, &[(TOKEN, &token)]);
        assert_ne!(reply.status, Status::Unauthorized, "{path}");
    }
}

#[test]
fn an_optional_token_may_be_absent_but_not_wrong() {
    let world = World::new();
    let guest = world.web();
    assert_eq!(world.get(&guest, ID).status, Status::Ok);
    for token in ["", "x", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        let reply = world.ask(&guest, "GET", ID, &[(TOKEN, token)]);
        assert_eq!(reply.status, Status::Unauthorized, "{token}");
    }
}

#[test]
fn an_expired_token_is_401() {
    let mut world = World::new();
    let guest = world.web();
    let token = world.token(&guest, 60);
    world.now = UnixTime(world.now.0 + 59);
    assert_eq!(world.ask(&guest, "GET", ID, &[(TOKEN, &token)]).token_ttl, Some(1));
    world.now = UnixTime(world.now.0 + 1);
    assert_eq!(world.ask(&guest, "GET", ID, &[(TOKEN, &token)]).status, Status::Unauthorized);
}

#[test]
fn token_of_another_instance_is_refused() {
    let world = World::new();
    let stolen = world.token(&world.web(), 21_600);
    let reply = world.ask(&world.db(), "GET", ID, &[(TOKEN, &stolen)]);
    assert_eq!(reply.status, Status::Unauthorized);
    let own = world.token(&world.db(), 21_600);
    let reply = world.ask(&world.db(), "GET", ID, &[(TOKEN, &own)]);
    assert_eq!(&reply.body[..], world.db().instance.id.as_str().as_bytes());
}

#[test]
fn a_token_dies_with_its_instance_though_the_port_lives_on() {
    let world = World::new();
    let token = world.token(&world.web(), 21_600);
    let next = world.web_with(|it| it.id = InstanceId::parse("i-000000000000000ff").unwrap());
    assert_eq!(world.ask(&next, "GET", ID, &[(TOKEN, &token)]).status, Status::Unauthorized);
}

#[test]
fn an_endpoint_that_is_off_is_403_for_everything() {
    let world = World::new();
    let token = world.token(&world.web(), 60);
    let guest = world.web_with(|it| it.tokens = TokenPolicy::Off);
    for path in [ID, "/", "/mezame/v1/document", "/nocloud/meta-data", "/no/such/tree"] {
        let reply = world.ask(&guest, "GET", path, &[(TOKEN, &token)]);
        assert_eq!(reply.status, Status::Forbidden, "{path}");
    }
    let reply = world.ask(&guest, "PUT", "/latest/api/token", &[(TTL, "60")]);
    assert_eq!(reply.status, Status::Forbidden);
}

/// CVE-2013-6419, OSSN-0074, and a proxy's own identity headers: whatever a guest writes there,
/// it stays itself.
#[test]
fn no_header_says_who_asks() {
    let world = World::new();
    let (web, db) = (world.web(), world.db());
    let other = db.instance.id.as_str();
    let plain = world.get(&web, ID);
    for (name, value) in [
        ("X-Forwarded-For", "192.168.0.10"),
        ("Forwarded", "for=192.168.0.10"),
        ("X-Real-IP", "192.168.0.10"),
        ("X-Instance-ID", other),
        ("X-Instance-ID-Signature", "0000"),
        ("X-Tenant-ID", "rival"),
        ("X-OVN-Network-ID", "net"),
        ("X-Neutron-Router-ID", "router"),
        ("X-Neutron-Network-ID", "net"),
        ("X-Metadata-Provider", "provider"),
        ("Client-IP", "192.168.0.10"),
        ("Authorization", other),
        ("Cookie", other),
    ] {
        assert_eq!(world.ask(&web, "GET", ID, &[(name, value)]), plain, "{name}");
    }
}

#[test]
fn no_path_leads_to_another_guest() {
    let world = World::new();
    let (web, mut db) = (world.web(), world.db());
    std::sync::Arc::make_mut(&mut db.instance).tokens = TokenPolicy::Optional;
    let secret_of_web = ["192.168.0.1\n", "alice@laptop", "web-0", "THISHASH", "correct horse"];
    for path in [
        "/latest/meta-data/network/interfaces/macs/52:54:00:ab:cd:02/mac",
        "/latest/meta-data/tags/instance/role",
        "/mezame/v1/secrets/db-password",
        "/mezame/v1/interfaces/52:54:00:ab:cd:02/addresses",
        "/latest/meta-data/public-keys/0/openssh-key",
        "/latest/user-data",
    ] {
        assert_eq!(world.get(&web, path).status, Status::Ok, "{path}");
        assert_eq!(world.get(&db, path).status, Status::NotFound, "{path}");
    }
    for root in ["/latest/", "/mezame/"] {
        for (path, reply) in crate::tree::tests::crawl(&world, &db, root) {
            let text = String::from_utf8_lossy(&reply.body);
            for secret in secret_of_web {
                assert!(!text.contains(secret), "{path} says {secret}");
            }
        }
    }
}

/// CVE-2022-2084, CVE-2023-1786: what a guest is told, and what is logged of it, must not come to
/// rest in a log.
#[test]
fn debug_of_a_guests_record_shows_no_secret() {
    let world = World::new();
    let shown = format!("{:?}", world.web());
    for secret in ["THISHASH", "correct horse", "battery staple", "binary"] {
        assert!(!shown.contains(secret), "{secret}");
    }
}

#[test]
fn debug_of_requests_and_answers_shows_no_token_and_no_body() {
    let world = World::new();
    let guest = world.web();
    let token = world.token(&guest, 60);
    let fields = [("host", &b"a"[..]), ("x-aws-ec2-metadata-token", token.as_bytes())];
    let request = Request::parse(crate::Version::Http11, "GET", b"/latest", fields).unwrap();
    assert!(!format!("{request:?}").contains(&token));
    for path in ["/mezame/v1/secrets/db-password", "/mezame/v1/document"] {
        let shown = format!("{:?}", world.answer(&guest, "GET", path, &[], b""));
        assert!(!shown.contains("correct horse") && !shown.contains("THISHASH"), "{shown}");
    }
}

/// A look-up elsewhere matched no port, or several, and somebody was answered all the same.
#[test]
fn a_guest_that_does_not_have_the_port_is_not_answered_for() {
    let world = World::new();
    let (web, db) = (world.web(), world.db());
    let context = Context { port: &db.ports[0].port.id, ..world.context(&web) };
    for (method, target) in [("GET", "/latest/meta-data/mac"), ("PUT", "/latest/api/token")] {
        let fields = [("host", &b"a"[..]), ("x-aws-ec2-metadata-token-ttl-seconds", b"60")];
        let request =
            Request::parse(crate::Version::Http11, method, target.as_bytes(), fields).unwrap();
        let Answer::Reply(reply) = respond(&request, b"", &web, &context) else { panic!() };
        assert_eq!(reply, Response::unknown_port(), "{target}");
        assert!(reply.close);
    }
}

#[test]
fn a_reply_to_a_refused_request_echoes_nothing_of_it() {
    let world = World::new();
    let mark = "MARKMARK";
    for (method, path) in [("TRACE", "/MARKMARK"), ("GET", "/MARKMARK"), ("GET", "/../MARKMARK")] {
        let reply = world.ask(&world.web(), method, path, &[("X-Mark", mark)]);
        assert!(!String::from_utf8_lossy(&reply.body).contains(mark), "{method} {path}");
    }
}

#[test]
fn a_guest_with_ipv6_alone_is_told_so_and_nothing_of_ipv4() {
    let world = World::new();
    let mut guest = world.web();
    for entry in &mut guest.ports {
        std::sync::Arc::make_mut(&mut entry.port).addresses.retain(std::net::IpAddr::is_ipv6);
    }
    let meta_data = crate::tree::tests::crawl(&world, &guest, "/latest/");
    let leaves: Vec<_> = meta_data.iter().map(|(path, _)| path.as_str()).collect();
    for absent in ["local-ipv4", "local-ipv4s", "public-ipv4", "subnet-ipv4-cidr-block"] {
        assert!(!leaves.iter().any(|it| it.ends_with(&format!("/{absent}"))), "{absent}");
    }
    assert_eq!(world.text(&guest, "/latest/meta-data/ipv6"), "2001:db8:1::10");
    let document = world.text(&guest, "/latest/dynamic/instance-identity/document");
    assert!(document.contains("\"privateIp\" : \"2001:db8:1::10\""), "{document}");
}

#[test]
fn unknown_trees_are_404_at_once() {
    let world = World::new();
    for path in [
        "/openstack",
        "/openstack/latest/meta_data.json",
        "/computeMetadata/v1/",
        "/metadata/v1.json",
        "/hetzner/v1/metadata",
        "/opc/v2/instance/",
        "/2099-01-01/meta-data/",
        "/LATEST/meta-data",
    ] {
        // Even where a token is required: a client that tries dialects in turn has none.
        for guest in [world.web(), world.db()] {
            assert_eq!(world.get(&guest, path).status, Status::NotFound, "{path}");
        }
    }
}

#[test]
fn what_sdks_ask_for_in_vain_is_404() {
    let world = World::new();
    for path in [
        "/latest/meta-data/iam/",
        "/latest/meta-data/iam/security-credentials/",
        "/latest/meta-data/iam/info",
        "/latest/meta-data/spot/instance-action",
        "/latest/meta-data/spot/termination-time",
        "/latest/meta-data/autoscaling/target-lifecycle-state",
        "/latest/meta-data/product-codes",
    ] {
        assert_eq!(world.get(&world.web(), path).status, Status::NotFound, "{path}");
    }
}

#[test]
fn doubled_slashes_are_answered() {
    let world = World::new();
    let plain = world.get(&world.web(), ID);
    assert_eq!(world.get(&world.web(), "//latest//meta-data///instance-id"), plain);
}

#[test]
fn a_zones_last_character_is_all_that_divides_it_from_its_region() {
    let world = World::new();
    let zone = world.text(&world.web(), "/latest/meta-data/placement/availability-zone");
    let region = world.text(&world.web(), "/latest/meta-data/placement/region");
    assert_eq!(zone[..zone.len() - 1], region);
}

#[test]
fn a_tag_that_is_known_already_is_304() {
    let world = World::new();
    let guest = world.web();
    for path in [ID, "/latest/user-data", "/nocloud/meta-data", "/mezame/v1/document"] {
        let tag = format!("\"{:016x}\"", world.get(&guest, path).etag.unwrap());
        let reply = world.ask(&guest, "GET", path, &[("If-None-Match", &tag)]);
        assert_eq!(reply.status, Status::NotModified, "{path}");
        assert!(reply.body.is_empty() && reply.content_type.is_empty() && reply.audit.is_none());
        assert_eq!(reply.content_length, 0);
        let reply = world.ask(&guest, "GET", path, &[("If-None-Match", "\"0123456789abcdef\"")]);
        assert_eq!(reply.status, Status::Ok, "{path}");
    }
}

#[test]
fn user_data_is_any_bytes_up_to_a_mebibyte_and_is_not_copied() {
    let world = World::new();
    let bytes: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 251) as u8).collect();
    let data = mezame_model::UserData::new(bytes).unwrap();
    let guest = world.web_with(|it| it.user_data = Some(data.clone()));
    for path in ["/latest/user-data", "/nocloud/user-data", "/mezame/v1/user-data"] {
        let reply = world.get(&guest, path);
        assert_eq!(reply.body, data.bytes(), "{path}");
        assert_eq!(reply.body.as_ptr(), data.bytes().as_ptr(), "{path}");
    }
}

#[test]
fn a_body_may_be_sent_only_where_one_is_read() {
    let limit = |method, target: &'static str| {
        let fields = [("host", &b"a"[..])];
        body_limit(
            &Request::parse(crate::Version::Http11, method, target.as_bytes(), fields).unwrap(),
        )
    };
    assert_eq!(limit("GET", "/mezame/v1/report"), 0);
    assert_eq!(limit("POST", "/latest/meta-data"), 0);
    assert_eq!(limit("POST", "/mezame/v1/document"), 0);
    assert_eq!(limit("POST", "//mezame/v1//report/"), 256 << 10);
    assert_eq!(limit("PUT", "/latest/api/token"), 1024);
}
