//! How the part that works with volumes begins, and how it ends.

use super::*;
use crate::{settings::volumes::VolumeSettings, volumes::local::Local};

#[tokio::test]
async fn a_job_is_on_the_disk_before_it_is_told_of_and_the_end_waits_until_its_end_is() {
    let depot = Depot::open().await;
    depot.noted.is_held.store(true, Ordering::SeqCst);
    let body = json!({ "id": "web", "size": 1 << 20 });
    let begun = depot.plane().post("/v1/projects/p/volumes", body).await.json();
    let job = format!("/v1/projects/p/jobs/{}", begun["id"].as_str().unwrap());
    // One that no thread has begun is not waited for.
    while depot.plane().get(&job).await.json()["state"] != "running" {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let path = depot.gallery.folder.path().join("jobs");
    let path = path.join(format!("{}.json", begun["id"].as_str().unwrap()));
    let written = || serde_json::from_slice::<Value>(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(written()["volumes"], json!(["web"]));
    while written()["state"] != "running" {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (images, volumes) = (Arc::clone(&depot.gallery.images), depot.volumes.begun().unwrap());
    let ending = tokio::spawn(images.end(volumes.end()));
    // The images' own have ended once nobody takes a call.
    while !matches!(
        depot.gallery.images.ask(|_, _| Ok(())).await,
        Err(crate::images::ImagesError::TooMany { .. })
    ) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    depot.noted.is_held.store(false, Ordering::SeqCst);
    ending.await.unwrap();
    assert_eq!(written()["state"], "done");
    let refused = depot.plane().post("/v1/projects/p/volumes/web/open", Value::Null).await;
    assert!(matches!(refused.status, 429 | 503), "{}", refused.text);
}

#[tokio::test]
async fn a_directory_that_can_not_be_used_is_told_until_it_can_and_stops_nothing_else() {
    let gallery = Gallery::open().await;
    let mount = gallery.folder.path().join("mount");
    let pool = gallery.folder.path().join("pool");
    let settings = VolumeSettings {
        pools: [("fast".to_owned(), pool.into())].into(),
        masters: Some(gallery.folder.path().join("masters")),
        run_dir: Some(mount.join("run")),
        ..VolumeSettings::default()
    };
    let records = gallery.folder.path().join("restores");
    let open = move |images| {
        let local = Local::open(settings.clone(), "/nowhere".into(), &records, images)?;
        Ok(Arc::new(local) as Arc<dyn Executor>)
    };
    let manner = Manner { default_pool: "fast".into(), jobs: 1, hydrations: 2, jobs_waiting: 8 };
    let (control, images) = (Arc::clone(&gallery.plane.control), Arc::clone(&gallery.part));
    let environment = Arc::new(FixedEnvironment::new());
    let (at, of) = (Arc::clone(&control), Arc::clone(&images));
    let volumes = VolumePart::open(of, Box::new(open), at, environment, manner).await;
    let (ending, end) = watch::channel(false);
    let router = router(Arc::clone(&control), Some(images), Some(volumes), None, 8 << 20, end);
    let plane = Plane { control, router, ending };
    let away = plane.get("/v1/pools").await;
    assert_eq!((away.status, &away.problem()["type"]), (503, &json!("volumes-away")));
    assert!(away.text.contains("mount/run"), "{}", away.text);
    assert_eq!(plane.get("/v1/projects/p/images").await.status, 200);
    std::fs::create_dir(&mount).unwrap();
    let there = plane.get("/v1/pools").await;
    assert_eq!((there.status, &there.json()[0]["is_there"]), (200, &json!(false)));
}
