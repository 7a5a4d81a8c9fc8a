//! Keys of volumes: in by calls of their own, out to hypervisors, and to nobody else.

use base64::{Engine, engine::general_purpose::STANDARD};
use mezame_model::{
    BootDigest, KeyOutcome, KeyRequest, SecretBytes, VolumeKey, VolumeName, Withheld,
};

use super::*;

const WEB: &str = "/v1/projects/p/instances/web";
const KEYS: &str = "/v1/projects/p/instances/web/volume-keys";
const ROOT: &str = "/v1/projects/p/instances/web/volume-keys/root";

fn bytes(byte: u8) -> String {
    STANDARD.encode([byte; 32])
}

fn create(byte: u8) -> Value {
    json!({ "name": "root", "key": bytes(byte), "window_seconds": 600 })
}

/// What hypervisors have of the key `root`.
fn fed(plane: &Plane) -> VolumeKey {
    let state = plane.control.state();
    state.snapshot().instances[0].volume_keys[&VolumeName::parse("root").unwrap()].clone()
}

fn newest(key: &VolumeKey) -> Vec<SecretBytes> {
    key.versions.iter().map(|version| version.key.clone()).collect()
}

#[tokio::test]
async fn a_key_goes_to_the_hypervisors_and_is_shown_without_its_bytes() {
    let plane = Plane::seeded().await;
    let made = plane.post(KEYS, create(7)).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let view = json!({ "name": "root", "state": "active", "versions": [1], "once": "per-start",
                       "window_seconds": 600 });
    assert_eq!(made.json(), view);
    assert_eq!(plane.get(KEYS).await.json(), json!([view]));
    assert_eq!(plane.get(WEB).await.json()["status"]["volume_keys"], json!([view]));
    assert_eq!(newest(&fed(&plane)), [SecretBytes::new(vec![7; 32])]);
    let rotated = plane.post(&format!("{ROOT}/rotate"), json!({ "key": bytes(8) })).await;
    assert_eq!(rotated.json()["versions"], json!([2, 1]), "{}", rotated.text);
    let one = plane.post(&format!("{ROOT}/revoke"), json!({ "version": 1 })).await;
    assert_eq!(one.json()["versions"], json!([2]));
    assert_eq!(newest(&fed(&plane)), [SecretBytes::new(vec![8; 32])]);
    for path in [WEB, KEYS, "/v1/projects/p/instances"] {
        let text = plane.get(path).await.text;
        assert!(!text.contains(&bytes(7)[..20]) && !text.contains(&bytes(8)[..20]), "{path}");
    }
}

#[tokio::test]
async fn a_revoked_key_leaves_the_hypervisors_and_comes_back_when_it_is_restored() {
    let plane = Plane::seeded().await;
    plane.post(KEYS, create(7)).await;
    let revoked = plane.post(&format!("{ROOT}/revoke"), json!({})).await;
    assert_eq!(revoked.json()["state"], "revoked");
    assert_eq!(revoked.json()["versions"], json!([1]), "it is kept here");
    assert!(fed(&plane).versions.is_empty(), "and not there");
    let before = plane.generation().await;
    plane.post(&format!("{ROOT}/revoke"), json!({})).await;
    assert_eq!(plane.generation().await, before, "it is so already");
    let restored = plane.call("POST", &format!("{ROOT}/restore"), &[], Body::empty()).await;
    assert_eq!(restored.json()["state"], "active", "{}", restored.text);
    assert_eq!(newest(&fed(&plane)), [SecretBytes::new(vec![7; 32])]);
    let gone = plane.call("DELETE", ROOT, &[], Body::empty()).await;
    assert_eq!((gone.status, plane.get(KEYS).await.json()), (204, json!([])));
    assert_eq!(plane.call("DELETE", ROOT, &[], Body::empty()).await.status, 404);
}

#[tokio::test]
async fn documents_neither_make_nor_lose_keys() {
    let plane = Plane::seeded().await;
    plane.post(KEYS, create(7)).await;
    let before = plane.generation().await;
    plane.apply(seed()).await;
    assert_eq!(plane.generation().await, before);
    let mut changed = seed();
    changed[3]["hop_limit"] = 3.into();
    plane.apply(changed).await;
    assert_eq!(fed(&plane).versions.len(), 1);
    plane.post(&format!("{ROOT}/revoke"), json!({})).await;
    plane.apply(seed()).await;
    let restored = plane.call("POST", &format!("{ROOT}/restore"), &[], Body::empty()).await;
    assert_eq!(restored.json()["versions"], json!([1]));
    let mut with_keys = seed();
    with_keys[3]["volume_keys"] = json!({});
    let refused = plane.post("/v1/apply", json!({ "documents": with_keys })).await;
    assert_eq!(refused.status, 422, "no document has the field");
}

#[tokio::test]
async fn what_can_not_be_done_is_told_with_its_mend() {
    let plane = Plane::seeded().await;
    plane.post(KEYS, create(7)).await;
    for (path, body, wanted) in [
        (KEYS.to_owned(), create(8), "there is a key 'root' already"),
        (KEYS.to_owned(), json!({ "name": "x", "key": "AAAA" }), "the key has 3 bytes"),
        (
            KEYS.to_owned(),
            json!({ "name": "x", "key": bytes(1), "window_seconds": 0 }),
            "no time at all is left",
        ),
        (format!("{ROOT}/rotate"), json!({ "key": bytes(7) }), "it is the key that there is"),
        (format!("{ROOT}/revoke"), json!({ "version": 1 }), "it is the key's only version"),
    ] {
        let refused = plane.post(&path, body).await;
        assert_eq!(refused.status, 422, "{}", refused.text);
        let fault = &refused.problem()["faults"][0];
        assert_eq!(fault["message"], wanted);
        assert!(!fault["mend"].as_str().unwrap().is_empty());
        assert!(!refused.text.contains(&bytes(7)[..20]));
    }
    for body in [json!({ "name": "Root", "key": bytes(1) }), json!({ "name": "x" }), json!([])] {
        assert_eq!(plane.post(KEYS, body).await.status, 400);
    }
    let reader = plane.call_as(Some(Role::Read), "POST", KEYS, &[], create(1).to_string()).await;
    assert_eq!(reader.status, 403);
    assert_eq!(plane.get("/v1/projects/p/instances/none/volume-keys").await.status, 404);
    assert_eq!(
        plane.post("/v1/projects/p/instances/web/volume-keys/x/revoke", json!({})).await.status,
        404
    );
}

#[tokio::test]
async fn requests_of_the_guest_are_filed_and_those_in_vain_make_no_event() {
    let plane = Plane::seeded().await;
    let request = |outcome| {
        GuestEventKind::VolumeKey(KeyRequest {
            volume: VolumeName::parse("root").unwrap(),
            start: BootDigest::new([1; 16]),
            boot: BootDigest::new([2; 16]),
            outcome,
        })
    };
    plane.deliver(1, 5, request(KeyOutcome::Released(vec![2, 1]))).await;
    plane.deliver(2, 6, request(KeyOutcome::Withheld(Withheld::AlreadyReleased))).await;
    plane.deliver(2, 6, request(KeyOutcome::Withheld(Withheld::AlreadyReleased))).await;
    let filed = plane.get(&format!("{WEB}/key-requests")).await.json();
    assert_eq!(filed.as_array().unwrap().len(), 2, "{filed}");
    assert_eq!(filed[0]["request"]["outcome"], json!({ "withheld": "already-released" }));
    assert_eq!(filed[1]["request"]["outcome"], json!({ "released": [2, 1] }));
    assert_eq!(filed[1]["request"]["start"], "01".repeat(16));
    let page = plane
        .control
        .events(crate::store::From::After(mezame_model::Generation::ZERO), 99)
        .await
        .unwrap();
    let told: Vec<_> =
        page.events.iter().filter(|event| event.what.starts_with("volume")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].what.as_str(), told[0].detail.as_str()), ("volume-key-released", "root"));
}
