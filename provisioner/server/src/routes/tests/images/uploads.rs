//! Files on their way in: wrong, cut off, too many.

use super::*;

#[tokio::test]
async fn a_file_that_is_not_what_was_said_becomes_no_image() {
    let gallery = Gallery::open().await;
    let file = disk(1);
    let wrong = |field: &str, value: Value| {
        let mut what = json!({ "name": "x", "format": "raw" });
        what[field] = value;
        what
    };
    for (what, place) in [
        (wrong("sha256", "00".repeat(32).into()), "sha256"),
        (wrong("sha512", "00".repeat(64).into()), "sha512"),
        (wrong("size", 1_500_001.into()), "size"),
        (wrong("size", 1_499_999.into()), "size"),
        (wrong("largest", 1_499_999.into()), "largest"),
        (wrong("format", "qcow2".into()), "format"),
    ] {
        let job = gallery.import("p", what, file.clone()).await;
        assert_eq!((&job["state"], &job["faults"][0]["path"]), (&"failed".into(), &place.into()));
        let text = job["faults"][0].to_string();
        assert!(!text.contains("uploads") && !text.contains("\"mend\":\"\""), "{text}");
    }
    assert!(gallery.names("p").await.is_empty());
    assert_eq!(gallery.uploads(), 0);
    let faults = json!({ "name": "", "format": "raw", "sha256": "x" });
    let refused = gallery.plane.post("/v1/projects/p/images", faults).await;
    assert_eq!((refused.status, refused.problem()["faults"].as_array().unwrap().len()), (422, 2));
}

#[tokio::test]
async fn a_sender_that_breaks_off_leaves_nothing_but_a_job_that_says_so() {
    let gallery = Gallery::open().await;
    let what = json!({ "name": "x", "format": "raw" });
    let asked = gallery.plane.post("/v1/projects/p/images", what).await.json();
    let id = asked["id"].as_str().unwrap();
    assert_eq!(asked["state"], "awaiting");
    let parts = [Ok(vec![1; 100_000]), Err(std::io::Error::other("gone"))];
    let body = Body::from_stream(futures_util::stream::iter(parts));
    let path = format!("/v1/projects/p/jobs/{id}/content");
    let answer = gallery.plane.call("PUT", &path, &[], body).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    let job = gallery.ended(&format!("/v1/projects/p/jobs/{id}")).await;
    assert_eq!(job["state"], "failed");
    assert!(job["faults"][0]["message"].as_str().unwrap().contains("100000 bytes"), "{job}");
    assert_eq!(gallery.uploads(), 0);
    // It is not taken up again, and no other project's.
    assert_eq!(gallery.send("p", id, disk(1)).await.status, 409);
    assert_eq!(gallery.send("q", id, disk(1)).await.status, 404);
}

#[tokio::test]
async fn what_an_end_or_a_cancel_cuts_off_is_told_as_that_and_not_as_done_or_failed() {
    let gallery = Gallery::open().await;
    let what = json!({ "name": "x", "format": "raw" });
    for (state, is_end) in [("cancelled", false), ("interrupted", true)] {
        let asked = gallery.plane.post("/v1/projects/p/images", what.clone()).await.json();
        let at = format!("/v1/projects/p/jobs/{}", asked["id"].as_str().unwrap());
        let (parts, coming) = tokio::sync::mpsc::channel::<std::io::Result<Vec<u8>>>(1);
        let next = |mut coming: tokio::sync::mpsc::Receiver<_>| async {
            coming.recv().await.map(|part| (part, coming))
        };
        let body = Body::from_stream(futures_util::stream::unfold(coming, next));
        let path = format!("{at}/content");
        let sending = gallery.plane.call("PUT", &path, &[], body);
        let ending = async {
            parts.send(Ok(vec![1; 1000])).await.unwrap();
            while gallery.plane.get(&at).await.json()["done"] != 1000 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if is_end {
                gallery.images.announce_end();
                // As a connection that is cut.
                let _ = parts.send(Err(std::io::Error::other("cut"))).await;
            } else {
                gallery.plane.post(&format!("{at}/cancel"), Value::Null).await;
                drop(parts);
            }
        };
        let (answer, ()) = tokio::join!(sending, ending);
        let wanted = if is_end { 400 } else { 409 };
        assert_eq!(answer.status, wanted, "{}", answer.text);
        assert_eq!(gallery.ended(&at).await["state"], state);
    }
}

#[tokio::test]
async fn an_import_leaves_others_their_room() {
    let gallery = Gallery::unmade(|settings| settings.upload_reserve_bytes = Some(1 << 60)).await;
    gallery.plane.post("/v1/archive", Value::Null).await;
    let what = json!({ "name": "x", "format": "raw" });
    let refused = gallery.plane.post("/v1/projects/p/images", what).await;
    assert_eq!((refused.status, refused.problem()["type"].clone()), (507, "no-room".into()));
    assert_eq!(refused.problem()["faults"][0]["path"], "archive");
}

#[tokio::test]
async fn uploads_take_so_much_of_the_disk_and_no_more() {
    let gallery = Gallery::unmade(|settings| settings.upload_bytes = 1 << 20).await;
    gallery.plane.post("/v1/archive", Value::Null).await;
    let what = json!({ "name": "x", "format": "raw" });
    let job = gallery.import("p", what, disk(1)).await;
    assert_eq!((&job["state"], &job["faults"][0]["path"]), (&"failed".into(), &"archive".into()));
    let what = json!({ "name": "x", "format": "raw", "size": 2 << 20 });
    assert_eq!(gallery.plane.post("/v1/projects/p/images", what).await.status, 422);
    assert_eq!(gallery.uploads(), 0);
    let status = gallery.plane.get("/v1/archive").await.json();
    assert_eq!((&status["uploading"], &status["uploading_most"]), (&0.into(), &(1 << 20).into()));
}
