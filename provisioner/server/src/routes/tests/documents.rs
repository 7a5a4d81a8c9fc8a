//! Documents go in and come out, under preconditions, without their secrets.

use mezame_model::report::{
    Acknowledgement, GuestEventKind, HostKey, Outcome, Report, SealedPassword,
};

use super::*;

const WEB: &str = "/v1/projects/p/instances/web";
const PORT: &str = "/v1/projects/p/ports/web-0";

fn report(plane: &Plane, run: u32, outcome: Outcome) -> GuestEventKind {
    let instance_id = plane.control.state().snapshot().instances[0].id.clone();
    GuestEventKind::Report(Report {
        instance_id,
        agent: "0.1.0".into(),
        boot_id: "boot".into(),
        run,
        outcome,
        steps: vec![],
        configured_ms: Some(20),
        total_ms: 30,
        host_keys: vec![HostKey { public_key: KEY.into() }],
    })
}

#[tokio::test]
async fn applying_the_same_documents_again_changes_nothing() {
    let plane = Plane::seeded().await;
    let before = plane.generation().await;
    let applied = plane.apply(seed()).await;
    assert_eq!(applied["generation"], before);
    for change in applied["changes"].as_array().unwrap() {
        assert_eq!((&change["action"], &change["fields"]), (&json!("unchanged"), &json!([])));
    }
    assert_eq!(plane.generation().await, before);
}

#[tokio::test]
async fn what_the_api_shows_can_be_applied_and_changes_nothing() {
    let plane = Plane::seeded().await;
    let before = plane.generation().await;
    let mut specs = Vec::new();
    for path in ["/v1/projects/p", "/v1/projects/p/networks/lan", PORT, WEB] {
        specs.push(plane.get(path).await.json()["spec"].clone());
    }
    // A document with fewer fields than the stored record has would change something.
    assert_eq!(specs[3]["users"][0]["password"], json!({ "hash": "(sealed)" }));
    let applied = plane.apply(json!(specs)).await;
    assert!(applied["changes"].as_array().unwrap().iter().all(|c| c["action"] == "unchanged"));
    for (path, spec) in [(PORT, &specs[2]), (WEB, &specs[3])] {
        assert_eq!(plane.put(path, &[], spec.clone()).await.status, 200);
    }
    assert_eq!(plane.generation().await, before);
}

#[tokio::test]
async fn no_answer_shows_a_secret() {
    let plane = Plane::seeded().await;
    let read = Acknowledgement { name: "db".parse().unwrap(), digest: None };
    plane.deliver(1, 5, GuestEventKind::SecretAcknowledged(read)).await;
    let consumed = {
        let state = plane.control.state();
        let id = state.snapshot().instances[0].id.clone();
        let held = state.instance_by_id(&id).unwrap();
        held.record.consumed.values().next().unwrap().hex()
    };
    let mut seen = String::new();
    for path in [
        "/v1/projects",
        "/v1/projects/p",
        "/v1/projects/p/networks",
        "/v1/projects/p/ports",
        "/v1/projects/p/instances",
        WEB,
        "/v1/identity-certificate",
        "/v1/version",
    ] {
        seen += &plane.get(path).await.text;
    }
    let mut changed = seed();
    changed[3]["secrets"]["api"] = "secret-new".into();
    changed[3]["user_data"] = "secret-new".into();
    changed[3]["users"][0]["password"]["hash"] = format!("$6$s${}", "h".repeat(86)).into();
    seen += &plane.post("/v1/apply?dry_run=true", json!({ "documents": changed })).await.text;
    seen += &plane.put(WEB, &[], changed[3].clone()).await.text;
    assert!(seen.contains("(sealed)") && seen.contains("(changed)"));
    let digest = crate::spec::hex(
        ring::digest::digest(&ring::digest::SHA256, b"#!/bin/sh\necho secret-script\n").as_ref(),
    );
    for secret in ["secret", "c2VjcmV0", "hhhh", &digest, &consumed] {
        assert!(!seen.replace("\"secrets", "").contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let plane = Plane::seeded().await;
    let before = plane.generation().await;
    let mut documents = seed();
    documents[1]["mtu"] = 1400.into();
    documents[3]["user_data"] = "other".into();
    documents.as_array_mut().unwrap().push(json!({ "kind": "Project", "name": "q" }));
    let body = json!({ "documents": documents });
    let answer = plane.post("/v1/apply?dry_run=true", body).await.json();
    assert_eq!(answer["generation"], before);
    let changes = &answer["changes"];
    assert_eq!(changes[0]["action"], "unchanged");
    assert_eq!(changes[1]["fields"], json!([{ "path": "mtu", "before": 1450, "after": 1400 }]));
    assert_eq!(
        changes[3]["fields"],
        json!([{ "path": "user_data", "before": "(sealed)", "after": "(changed)" }])
    );
    assert_eq!(changes[4]["action"], "created");
    assert_eq!(plane.get("/v1/projects/q").await.status, 404);
    assert_eq!(plane.generation().await, before);
}

#[tokio::test]
async fn all_faults_are_answered_at_once_and_nothing_is_applied() {
    let plane = Plane::start().await;
    let documents = json!([
        { "kind": "Project", "name": "p" },
        { "kind": "Network", "project": "p", "name": "lan", "vni": 0, "subnets": [] },
        { "kind": "Port", "project": "x", "name": "a", "network": "lan" },
    ]);
    let answer = plane.post("/v1/apply", json!({ "documents": documents })).await;
    assert_eq!(answer.status, 422);
    let problem = answer.problem();
    assert_eq!(problem["type"], "faults");
    let places: Vec<_> = problem["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fault| format!("{}:{}", fault["document"], fault["path"].as_str().unwrap()))
        .collect();
    assert_eq!(places, ["1:vni", "1:subnets", "2:project", "2:network"]);
    assert_eq!(plane.get("/v1/projects/p").await.status, 404);
}

#[tokio::test]
async fn a_lost_update_is_prevented_by_the_etag() {
    let plane = Plane::seeded().await;
    let read = plane.get(WEB).await;
    let etag = read.header("etag").to_owned();
    assert_eq!(etag, format!("\"{}\"", read.json()["revision"]));
    let mut spec = read.json()["spec"].clone();
    spec["hop_limit"] = 3.into();
    let written = plane.put(WEB, &[("if-match", &etag)], spec.clone()).await;
    assert_eq!(written.status, 200, "{}", written.text);
    assert_ne!(written.header("etag"), etag);
    // The other operator, who read the same revision.
    spec["hop_limit"] = 4.into();
    let refused = plane.put(WEB, &[("if-match", &etag)], spec).await;
    assert_eq!(
        (refused.status, refused.problem()["type"].clone()),
        (412, "precondition-failed".into())
    );
    let refused = plane.call("DELETE", WEB, &[("if-match", &etag)], Body::empty()).await;
    assert_eq!(refused.status, 412);
    assert_eq!(plane.get(WEB).await.json()["spec"]["hop_limit"], 3);
}

#[tokio::test]
async fn of_two_writers_at_once_with_one_etag_one_is_refused() {
    let plane = Plane::seeded().await;
    let etag = plane.get(WEB).await.header("etag").to_owned();
    let spec = plane.get(WEB).await.json()["spec"].clone();
    let write = |limit: u8| {
        let (mut spec, plane, etag) = (spec.clone(), &plane, &etag);
        spec["hop_limit"] = limit.into();
        async move { plane.put(WEB, &[("if-match", etag.as_str())], spec).await }
    };
    let answers = futures_util::future::join_all((10..20).map(write)).await;
    let good: Vec<_> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert_eq!(good.len(), 1);
    assert!(answers.iter().all(|answer| [200, 412].contains(&answer.status)));
}

#[tokio::test]
async fn a_resource_is_made_once_where_the_writer_says_so() {
    let plane = Plane::start().await;
    let new = [("if-none-match", "*")];
    let made = plane.put("/v1/projects/p", &new, json!({})).await;
    assert_eq!((made.status, made.header("etag").is_empty()), (201, false));
    assert_eq!(plane.put("/v1/projects/p", &new, json!({})).await.status, 412);
    assert_eq!(plane.put("/v1/projects/p", &[], json!({})).await.status, 200);
    let there = [("if-match", "*")];
    assert_eq!(plane.put("/v1/projects/q", &there, json!({})).await.status, 412);
}

#[tokio::test]
async fn a_document_for_another_place_than_its_path_is_at_fault() {
    let plane = Plane::seeded().await;
    let mut spec = plane.get(PORT).await.json()["spec"].clone();
    spec["name"] = "other".into();
    let refused = plane.put(PORT, &[], spec).await;
    assert_eq!(refused.status, 422);
    assert_eq!(refused.problem()["faults"][0]["path"], "name");
}

#[tokio::test]
async fn what_others_refer_to_is_not_deleted() {
    let plane = Plane::seeded().await;
    for (path, why) in [
        ("/v1/projects/p", "the instance 'web' is in it"),
        ("/v1/projects/p/networks/lan", "the port 'web-0' is in it"),
        (PORT, "the instance 'web' has this port"),
    ] {
        let refused = plane.call("DELETE", path, &[], Body::empty()).await;
        assert_eq!(refused.status, 409, "{path}");
        assert_eq!(refused.problem()["faults"][0]["message"], why);
    }
    for path in [WEB, PORT, "/v1/projects/p/networks/lan", "/v1/projects/p"] {
        assert_eq!(plane.call("DELETE", path, &[], Body::empty()).await.status, 204, "{path}");
        assert_eq!(plane.call("DELETE", path, &[], Body::empty()).await.status, 404, "{path}");
    }
    let state = plane.control.state();
    let snapshot = state.snapshot();
    assert!(snapshot.networks.is_empty() && snapshot.ports.is_empty());
    assert!(snapshot.instances.is_empty());
}

#[tokio::test]
async fn an_instance_made_again_under_its_name_is_another_one() {
    let plane = Plane::seeded().await;
    let first = plane.get(WEB).await.json()["status"]["id"].clone();
    plane.deliver(1, 5, report(&plane, 1, Outcome::Done)).await;
    plane.call("DELETE", WEB, &[], Body::empty()).await;
    plane.apply(seed()).await;
    let second = plane.get(WEB).await.json();
    assert_ne!(second["status"]["id"], first);
    assert_eq!(second["status"]["state"], "waiting");
    assert_eq!(plane.get(&format!("{WEB}/reports")).await.json(), json!([]));
}

#[tokio::test]
async fn an_attached_device_outlives_an_apply_and_goes_back_when_detached() {
    let plane = Plane::seeded().await;
    let own = plane.get(PORT).await.json()["spec"]["device"].clone();
    let device = format!("{PORT}/device");
    let attached = plane.put(&device, &[], json!({ "device": "vnet7" })).await;
    assert_eq!(attached.json()["spec"]["device"], "vnet7");
    let applied = plane.apply(seed()).await;
    assert_eq!(applied["changes"][2]["action"], "unchanged");
    assert_eq!(plane.get(PORT).await.json()["spec"]["device"], "vnet7");
    let detached = plane.call("DELETE", &device, &[], Body::empty()).await;
    assert_eq!(detached.json()["spec"]["device"], own);
    for bad in ["", "a/b", "sixteen-letters-"] {
        let refused = plane.put(&device, &[], json!({ "device": bad })).await;
        assert_eq!(
            (refused.status, refused.problem()["faults"][0]["path"].clone()),
            (422, "device".into())
        );
    }
    let missing = plane.put("/v1/projects/p/ports/x/device", &[], json!({ "device": "a" })).await;
    assert_eq!(missing.status, 404);
}

#[tokio::test]
async fn a_report_changes_the_status_and_leaves_the_revision() {
    let plane = Plane::seeded().await;
    let before = plane.get(WEB).await;
    let etag = before.header("etag").to_owned();
    assert_eq!(before.json()["status"]["state"], "waiting");
    let known = [("if-none-match", etag.as_str())];
    assert_eq!(plane.call("GET", WEB, &known, Body::empty()).await.status, 304);
    plane.deliver(1, 5, report(&plane, 1, Outcome::Failed)).await;
    plane.deliver(2, 6, report(&plane, 2, Outcome::Done)).await;
    // One that was held up on its way.
    plane.deliver(3, 4, report(&plane, 0, Outcome::Failed)).await;
    plane.deliver(2, 6, report(&plane, 2, Outcome::Done)).await;
    let after = plane.call("GET", WEB, &known, Body::empty()).await;
    assert_eq!((after.status, after.header("etag")), (200, etag.as_str()));
    let status = &after.json()["status"];
    assert_eq!((&status["state"], &status["report"]["run"]), (&json!("configured"), &json!(2)));
    let fingerprint = &status["report"]["host_keys"][0]["fingerprint"];
    assert_eq!(fingerprint, "SHA256:869vKhJXp/RsHUuYtudZR4KurNIT6caU15Qbd+j5fsY");
    let reports = plane.get(&format!("{WEB}/reports")).await.json();
    let runs: Vec<_> = reports.as_array().unwrap().iter().map(|r| &r["report"]["run"]).collect();
    assert_eq!(runs, [0, 2, 1]);
    assert_eq!(plane.put(WEB, &[("if-match", &etag)], seed()[3].clone()).await.status, 200);
}

#[tokio::test]
async fn sealed_passwords_are_listed_newest_first() {
    let plane = Plane::seeded().await;
    for (key, sealed) in [(1, "first"), (2, "second")] {
        let password = SealedPassword {
            user: "other".parse().unwrap(),
            recipient: KEY.into(),
            sealed: sealed.into(),
            reset: None,
            nova: None,
        };
        plane.deliver(key, 5, GuestEventKind::Password(password)).await;
    }
    let passwords = plane.get(&format!("{WEB}/passwords")).await.json();
    assert_eq!(passwords[0]["password"]["sealed"], "second");
    assert_eq!(passwords[1]["password"]["sealed"], "first");
}

#[tokio::test]
async fn lists_are_sorted_and_given_page_by_page() {
    let plane = Plane::seeded().await;
    let ports: Vec<Value> = (0..25)
        .map(|n| json!({ "kind": "Port", "project": "p", "name": format!("x{n:02}"), "network": "lan" }))
        .collect();
    plane.apply(json!(ports)).await;
    let all = plane.get("/v1/projects/p/ports").await.json();
    assert_eq!(all["items"].as_array().unwrap().len(), 26);
    let (mut next, mut names) = ("/v1/projects/p/ports?limit=10".to_owned(), Vec::new());
    loop {
        let page = plane.get(&next).await;
        let items = page.json()["items"].as_array().unwrap().clone();
        assert!(items.len() <= 10);
        names.extend(items.iter().map(|item| item["spec"]["name"].as_str().unwrap().to_owned()));
        let Some((link, _)) = page.header("link").trim_start_matches('<').split_once('>') else {
            break;
        };
        next = link.to_owned();
    }
    let expected: Vec<_> =
        all["items"].as_array().unwrap().iter().map(|i| i["spec"]["name"].clone()).collect();
    assert_eq!(json!(names), json!(expected));
    assert!(names.is_sorted() && names.len() == 26);
    assert_eq!(plane.get("/v1/projects/p/ports?limit=0").await.status, 400);
    assert_eq!(plane.get("/v1/projects/none/ports").await.status, 404);
}

#[tokio::test]
async fn a_list_is_of_the_generation_at_which_it_was_taken_and_no_write_waits_for_it() {
    let plane = Plane::seeded().await;
    let project = mezame_model::ProjectName::parse("p").unwrap();
    for kind in [Kind::Network, Kind::Port, Kind::Instance] {
        let path = format!("/v1/projects/p/{}", kind.plural());
        let before = plane.get(&path).await.json();
        let page = {
            let state = plane.control.state();
            crate::resource::Page::take(&state, kind, Some(&project), None, usize::MAX).unwrap()
        };
        let mut changed = seed();
        let generation = plane.generation().await;
        changed[1]["vni"] = json!(2000 + generation);
        changed[2]["rate_limit"] = json!({ "burst": generation });
        changed[3]["tags"]["role"] = json!(format!("at {generation}"));
        plane.apply(changed).await;
        assert_eq!(json!(page.resources()), before["items"], "{path}");
        assert_eq!(json!(page.generation), before["generation"], "{path}");
        assert_ne!(plane.get(&path).await.json()["items"], before["items"], "{path}");
    }
}

#[tokio::test]
async fn a_long_body_is_read_and_refused_as_a_short_one_is() {
    let plane = Plane::seeded().await;
    let path = "/v1/projects/p/instances/web";
    let long = "x".repeat(1 << 20);
    let answer = plane.put(path, &[], json!({ "ports": ["web-0"], "user_data": long })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["status"]["user_data_bytes"], 1 << 20);
    for (body, kind) in
        [(format!("{{\"user_data\": \"{long}"), "not-json"), (json!([long]).to_string(), "form")]
    {
        let answer = plane.call("PUT", path, &[], body).await;
        assert_eq!((answer.status, answer.problem()["type"].clone()), (400, kind.into()));
        assert!(!answer.text.contains("xxx"), "the body is repeated");
    }
}
