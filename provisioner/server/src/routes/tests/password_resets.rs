//! An operator asks for another password, and sees whether the guest has made it.

use mezame_model::report::{GuestEventKind, SealedPassword};

use super::*;

const WEB: &str = "/v1/projects/p/instances/web";
const RESET: &str = "/v1/projects/p/instances/web/passwords/other/reset";

fn password(reset: Option<u64>) -> GuestEventKind {
    password_with(reset, None)
}

fn password_with(reset: Option<u64>, nova: Option<&str>) -> GuestEventKind {
    GuestEventKind::Password(SealedPassword {
        user: "other".parse().unwrap(),
        recipient: KEY.into(),
        sealed: "sealed".into(),
        reset,
        nova: nova.map(Into::into),
    })
}

#[tokio::test]
async fn a_reset_is_pending_until_the_guest_sends_the_password_for_it_and_outlives_an_apply() {
    let plane = Plane::seeded().await;
    let asked = plane.post(RESET, json!({})).await;
    assert_eq!((asked.status, &asked.json()["state"]), (200, &json!("pending")), "{}", asked.text);
    let at = asked.json()["asked_ms"].as_u64().unwrap();
    // What the guest sees.
    let seen = |plane: &Plane| {
        let state = plane.control.state();
        let instance = &state.snapshot().instances[0];
        instance.users.iter().map(|user| user.password_reset).collect::<Vec<_>>()
    };
    assert_eq!(seen(&plane), [None, Some(at)]);
    // The same again changes nothing, and neither does the seed.
    let generation = plane.generation().await;
    assert_eq!(plane.post(RESET, json!({})).await.json(), asked.json());
    plane.apply(seed()).await;
    assert_eq!((plane.generation().await, seen(&plane)), (generation, vec![None, Some(at)]));
    let before = plane.get(WEB).await.header("etag").to_owned();
    plane.deliver(1, 5, password(None)).await;
    assert_eq!(plane.get(WEB).await.json()["status"]["password_resets"][0]["state"], "pending");
    plane.deliver(2, 6, password(Some(at))).await;
    let shown = plane.get(WEB).await;
    let reset = json!([{ "user": "other", "asked_ms": at, "state": "done", "done_ms": 6 }]);
    assert_eq!(shown.json()["status"]["password_resets"], reset);
    assert_eq!(shown.header("etag"), before, "a guest's word is no operator's change");
    assert_eq!(shown.json()["spec"]["users"][1]["password"], json!({ "generate": true }));
    let next = plane.post(RESET, json!({ "again": true })).await.json();
    assert!(next["asked_ms"].as_u64().unwrap() > at && next["state"] == "pending", "{next}");
}

#[tokio::test]
async fn a_password_that_is_not_the_guests_to_make_can_not_be_reset() {
    let plane = Plane::seeded().await;
    let of = |user: &str| format!("{WEB}/passwords/{user}/reset");
    let refused = plane.post(&of("admin"), json!({})).await;
    assert_eq!((refused.status, &refused.problem()["type"]), (422, &json!("faults")));
    assert!(refused.text.contains("users[0].password"), "{}", refused.text);
    for missing in [of("nobody"), of("A%20B"), RESET.replace("web", "none")] {
        assert_eq!(plane.post(&missing, json!({})).await.status, 404, "{missing}");
    }
    assert_eq!(plane.post(RESET, json!({ "agian": true })).await.status, 400);
    let read = plane.call_as(Some(Role::Read), "POST", RESET, &[], "{}".to_owned()).await;
    assert_eq!(read.status, 403);
}

#[tokio::test]
async fn the_form_for_openstacks_clients_is_the_instances_and_each_new_one_takes_its_place() {
    let plane = Plane::seeded().await;
    for (key, nova) in [(1, "Zmlyc3Q="), (2, "c2Vjb25k")] {
        plane.deliver(key, 5, password_with(None, Some(nova))).await;
        assert_eq!(plane.get(WEB).await.json()["status"]["nova_password"], nova);
    }
    let stored = plane.get(&format!("{WEB}/passwords")).await.json();
    assert_eq!(stored[0]["password"]["nova"], "c2Vjb25k");
}

/// In the one way in which it is shown.
fn certificate() -> String {
    let made = rcgen::generate_simple_self_signed(vec!["ca.example".to_owned()]).unwrap();
    mezame_model::Certificate::try_from(made.cert.pem()).unwrap().pem().to_owned()
}

#[tokio::test]
async fn asks_of_googles_form_and_certificates_come_back_as_they_were_written() {
    let plane = Plane::seeded().await;
    let odd = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [0xff; 256]);
    let key = json!({ "userName": "Ops", "modulus": odd, "exponent": "AQAB",
        "expireOn": "2036-11-26T05:24:30Z", "email": "ops@example.com" });
    let pem = certificate();
    let mut document = seed()[3].clone();
    document["windows_keys"] = json!([key]);
    document["trusted_certificates"] = json!([format!("# Ours\n{pem}text\n{pem}")]);
    let written = plane.put(WEB, &[], document).await;
    assert_eq!(written.status, 200, "{}", written.text);
    let spec = &written.json()["spec"];
    assert_eq!(
        (&spec["windows_keys"], &spec["trusted_certificates"]),
        (&json!([key]), &json!([pem]))
    );
    let generation = plane.generation().await;
    assert_eq!(plane.put(WEB, &[], spec.clone()).await.status, 200);
    assert_eq!(plane.generation().await, generation, "what is shown changes nothing");
}

#[tokio::test]
async fn what_no_guest_could_answer_or_trust_is_a_fault_with_its_place() {
    let plane = Plane::seeded().await;
    let odd = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, [0xff; 256]);
    let good = json!({ "userName": "Ops", "modulus": odd, "exponent": "AQAB",
        "expireOn": "2036-11-26T05:24:30Z" });
    for (field, value) in [
        ("userName", "a b"),
        ("userName", "a-name-that-is-too-long-for-it"),
        ("modulus", "AQ=="),
        ("modulus", "%"),
        ("exponent", "Ag=="),
        ("expireOn", "soon"),
        ("hashFunction", "md5"),
        ("email", "a\nb"),
        ("user_name", "ops"),
    ] {
        let mut document = seed()[3].clone();
        let mut key = good.clone();
        key[field] = value.into();
        document["windows_keys"] = json!([key]);
        let refused = plane.put(WEB, &[], document).await;
        assert_eq!(refused.status, 422, "{field}");
        let path = refused.problem()["faults"][0]["path"].clone();
        assert_eq!(path, format!("windows_keys[0].{field}"));
    }
    for text in ["hunter2", "-----BEGIN PRIVATE KEY-----\nhunter2"] {
        let mut document = seed()[3].clone();
        document["trusted_certificates"] = json!([text]);
        let refused = plane.put(WEB, &[], document).await;
        assert_eq!(refused.problem()["faults"][0]["path"], "trusted_certificates[0]");
        assert!(!refused.text.contains("hunter2"));
    }
}
