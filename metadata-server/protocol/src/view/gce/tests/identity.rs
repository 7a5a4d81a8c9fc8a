//! Identity tokens. Signatures are checked by another implementation: the machine's `openssl`.

use std::process::Command;

use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::{Engine, engine::general_purpose::STANDARD};

use mezame_model::der;

use super::*;
use crate::UnixTime;

const IDENTITY: &str = "/instance/service-accounts/default/identity";

fn part(text: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
}

#[test]
fn a_token_says_who_the_instance_is_and_to_whom() {
    let mut world = World::new();
    world.now = UnixTime(1_800_000_299);
    let guest = guest(&world);
    let audience = "https://service.example/?a=b c";
    let escaped = "https%3A%2F%2Fservice.example/%3Fa%3Db+c";
    let token = text(&world, &guest, &format!("{IDENTITY}?audience={escaped}"));
    let [header, claims, _] = token.split('.').collect::<Vec<_>>()[..] else { panic!("{token}") };
    let keys = json(&world, &guest, "/project/identity-keys");
    let kid = keys["keys"][0]["kid"].as_str().unwrap();
    assert_eq!(kid.len(), 40);
    assert_eq!(part(header), serde_json::json!({"alg": "RS256", "kid": kid, "typ": "JWT"}));
    let expected = serde_json::json!({
        "iss": "https://mezame.example",
        "aud": audience,
        "sub": "161",
        "azp": "161",
        "iat": 1_800_000_000,
        "exp": 1_800_003_600,
    });
    assert_eq!(part(claims), expected);
    let standard = text(&world, &guest, &format!("{IDENTITY}?audience={escaped}&format=standard"));
    assert_eq!(standard, token);

    let full = text(&world, &guest, &format!("{IDENTITY}?audience=x&format=full"));
    let google = &part(full.split('.').nth(1).unwrap())["google"]["compute_engine"];
    assert_eq!(google["instance_id"], "161");
    assert_eq!(google["instance_name"], "web-0");
    assert_eq!(google["project_id"], "acme");
    assert_eq!(google["zone"], "jp-east-1-a");
    assert_eq!(
        google["project_number"],
        json(&world, &guest, "/project/numeric-project-id?alt=json")
    );
    assert_eq!(google["instance_creation_timestamp"], 1_795_435_200);
}

#[test]
fn a_third_party_verifies_a_token_with_the_published_key() {
    let world = World::new();
    let guest = guest(&world);
    let token = text(&world, &guest, &format!("{IDENTITY}?audience=x&format=full"));
    let keys = json(&world, &guest, "/project/identity-keys");
    let key = &keys["keys"][0];
    let number = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    let (modulus, exponent) = (number("n"), number("e"));
    assert_eq!((modulus.len(), &exponent[..]), (256, &[1, 0, 1][..]));

    // The key as openssl reads one (RFC 5280, section 4.1: SubjectPublicKeyInfo).
    let integer = |bytes: &[u8]| der::element(der::tag::INTEGER, &[&[0], bytes]);
    let exponent = der::element(der::tag::INTEGER, &[&exponent]);
    let rsa = der::element(der::tag::SEQUENCE, &[&integer(&modulus), &exponent]);
    let oid = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
    let oid = der::element(der::tag::OID, &[&oid]);
    let null = der::element(der::tag::NULL, &[]);
    let algorithm = der::element(der::tag::SEQUENCE, &[&oid, &null]);
    let bits = der::element(der::tag::BIT_STRING, &[&[0], &rsa]);
    let public = der::element(der::tag::SEQUENCE, &[&algorithm, &bits]);
    let lines: Vec<_> = STANDARD
        .encode(public)
        .as_bytes()
        .chunks(64)
        .map(|it| String::from_utf8_lossy(it).into_owned())
        .collect();
    let pem =
        format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"));

    let folder = tempfile::tempdir().unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let verify = |signed: &str| {
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes);
        write("key.pem", pem.as_bytes()).unwrap();
        write("signed", signed.as_bytes()).unwrap();
        write("signature", &URL_SAFE_NO_PAD.decode(signature).unwrap()).unwrap();
        let arguments =
            ["dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "signed"];
        let output = Command::new("openssl").current_dir(folder.path()).args(arguments).output();
        output.unwrap().status.success()
    };
    assert!(verify(signed));
    assert!(!verify(&signed.replacen('e', "f", 1)));
}

#[test]
fn a_token_needs_an_audience_and_a_format_that_there_is() {
    let world = World::new();
    let guest = guest(&world);
    for query in [
        "",
        "?audience=",
        "?audience",
        "?audience=%zz",
        "?audience=%ff",
        "?audience=x&format=short",
    ] {
        let reply = get(&world, &guest, &format!("{IDENTITY}{query}"));
        assert_eq!(reply.status, Status::BadRequest, "{query}");
    }
    let reply = get(&world, &guest, &format!("{IDENTITY}/?audience=x"));
    assert_eq!(reply.status, Status::NotFound);
    let target = format!("{V1}{IDENTITY}?audience=x");
    let reply = world.ask(&guest, "POST", &target, &[FLAVOR]);
    assert_eq!((reply.status, reply.flavor), (Status::MethodNotAllowed, true));
    assert_eq!(world.ask(&guest, "GET", &target, &[]).status, Status::Forbidden);
}

#[test]
fn an_instance_gets_so_many_tokens_in_five_minutes_and_takes_none_from_another() {
    let mut world = World::new();
    let one = guest(&world);
    let other = guest_with(&world, |it| it.id = world.db().instance.id.clone());
    let ask = |world: &World, guest: &Guest, audience: usize| {
        get(world, guest, &format!("{IDENTITY}?audience={audience}"))
    };
    let most = crate::Signer::CHOSEN_MAX;
    world.now = UnixTime(1_800_000_010);
    for audience in 0..most {
        assert_eq!(ask(&world, &one, audience).status, Status::Ok);
    }
    let reply = ask(&world, &one, most);
    assert_eq!((reply.status, reply.retry_after), (Status::TooManyRequests, Some(290)));
    // What was signed before is remembered, and each instance has its own share.
    assert_eq!(ask(&world, &one, 0).status, Status::Ok);
    assert_eq!(ask(&world, &other, most).status, Status::Ok);
    world.now = UnixTime(1_800_000_300);
    assert_eq!(ask(&world, &one, most).status, Status::Ok);
}

#[test]
fn a_token_is_never_cached_and_stays_the_same_for_five_minutes() {
    let mut world = World::new();
    let guest = guest(&world);
    let ask = |world: &World| get(world, &guest, &format!("{IDENTITY}?audience=x"));
    let first = ask(&world);
    assert!(first.no_store);
    world.now = UnixTime(world.now.0 + 299);
    assert_eq!(ask(&world).body, first.body);
    world.now = UnixTime(world.now.0 + 1);
    assert_ne!(ask(&world).body, first.body);
}

#[test]
fn google_auth_finds_an_account_that_opens_nothing_and_that_no_listing_leads_to() {
    let world = World::new();
    let guest = guest(&world);
    let account = json(&world, &guest, "/instance/service-accounts/default/?recursive=true");
    let email = "web-0@acme.mezame.example";
    assert_eq!(account, serde_json::json!({"aliases": ["default"], "email": email, "scopes": []}));
    assert_eq!(text(&world, &guest, "/instance/service-accounts/default/email"), email);
    assert_eq!(text(&world, &guest, "/instance/service-accounts/"), "");
    let reply = get(&world, &guest, "/instance/service-accounts/default");
    assert_eq!(reply.status, Status::MovedPermanently);
    for path in ["default/token", "default/email/x", "someone@x/identity?audience=x", "someone/"] {
        let reply = get(&world, &guest, &format!("/instance/service-accounts/{path}"));
        assert_eq!(reply.status, Status::NotFound, "{path}");
    }
}
