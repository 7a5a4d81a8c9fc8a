//! What is left of volumes that were not made.

use super::*;

#[tokio::test]
async fn a_volume_whose_job_was_cancelled_before_its_turn_leaves_its_id_to_others() {
    let depot = Depot::open().await;
    depot.noted.is_held.store(true, Ordering::SeqCst);
    let mut jobs = Vec::new();
    for number in 0..5 {
        let body = json!({ "id": format!("web{number}"), "size": 1 << 20 });
        let begun = depot.plane().post("/v1/projects/p/volumes", body).await.json();
        jobs.push(format!("/v1/projects/p/image-jobs/{}", begun["id"].as_str().unwrap()));
    }
    // The fifth has no thread yet.
    depot.plane().post(&format!("{}/cancel", jobs[4]), Value::Null).await;
    depot.noted.is_held.store(false, Ordering::SeqCst);
    assert_eq!(depot.gallery.ended(&jobs[4]).await["state"], "cancelled");
    assert_eq!(depot.plane().get("/v1/projects/p/volumes/web4").await.status, 404);
}

#[tokio::test]
async fn what_a_making_finds_there_is_not_removed_with_what_it_has_made() {
    let depot = Depot::open().await;
    depot.made(json!({ "id": "web", "size": 1 << 20 })).await;
    let (p, web) = (ProjectName::parse("p").unwrap(), VolumeId::parse("web").unwrap());
    depot.gallery.plane.control.forget_volume(&p, &web).await.unwrap();
    depot.noted.refuse(Reason::Exists);
    let job = depot.done("volumes", json!({ "id": "web", "size": 1 << 20 })).await;
    assert_eq!(job["state"], "failed");
    assert!(depot.noted.volumes.lock().unwrap().contains_key(&web));
    assert_eq!(depot.plane().get("/v1/projects/p/volumes/web").await.status, 404);
}
