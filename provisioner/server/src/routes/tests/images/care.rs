//! The archive as a whole, and what is found wrong with it.

use mezame_images::archive::{Archive, Settings as ArchiveSettings, store::directory::Directory};

use super::*;
use crate::images::upkeep::Upkeep;

#[tokio::test]
async fn damage_is_told_by_place_and_what_is_read_out_then_breaks_off() {
    let gallery = Gallery::open().await;
    let id = gallery.image("p", "x", disk(1)).await;
    for pack in gallery.packs() {
        let mut bytes = std::fs::read(&pack).unwrap();
        bytes[1000] ^= 1;
        std::fs::remove_file(&pack).unwrap();
        std::fs::write(&pack, bytes).unwrap();
    }
    let at = format!("/v1/projects/p/images/{id}");
    let job = gallery.plane.post(&format!("{at}/verify"), Value::Null).await.json();
    let job = format!("/v1/projects/p/jobs/{}", job["id"].as_str().unwrap());
    let job = gallery.ended(&job).await;
    assert_eq!((&job["state"], &job["figures"]["damaged"]), (&"failed".into(), &1.into()), "{job}");
    assert!(job["faults"][0]["path"].as_str().unwrap().starts_with("offset "));
    let role = Some(Role::Write);
    let path = format!("{at}/content");
    let response = gallery.plane.respond(role, "GET", &path, &[], Body::empty()).await;
    assert!(response.into_body().collect().await.is_err());

    let scrub = gallery.plane.post("/v1/archive/verify", Value::Null).await.json();
    let job = gallery.ended(&format!("/v1/jobs/{}", scrub["id"].as_str().unwrap())).await;
    assert_eq!(job["state"], "failed");
    let pack = job["faults"][0]["path"].as_str().unwrap().trim_start_matches("packs/").to_owned();
    let quarantine = format!("/v1/archive/quarantine/{pack}");
    assert_eq!(gallery.plane.call("PUT", &quarantine, &[], "").await.status, 204);
    assert_eq!(gallery.plane.get("/v1/archive/quarantine").await.json(), json!([pack]));
    assert_eq!(gallery.plane.call("DELETE", &quarantine, &[], "").await.status, 204);
    assert_eq!(gallery.plane.get("/v1/archive/quarantine").await.json(), json!([]));
    assert_eq!(gallery.plane.call("PUT", "/v1/archive/quarantine/none", &[], "").await.status, 404);
    let forget = format!("/v1/archive/images/{id}");
    assert_eq!(gallery.plane.call("DELETE", &forget, &[], "").await.status, 204);
    assert_eq!(gallery.plane.get("/v1/archive/images").await.json()["items"], json!([]));
}

#[tokio::test]
async fn backups_that_a_policy_does_not_keep_are_dropped() {
    use mezame_images::archive::{
        Detail, Kind, NewImage, Unwatched, source::FileSource, store::Store,
    };
    let gallery = Gallery::open().await;
    let store: Arc<dyn Store> =
        Arc::new(Directory::open(gallery.folder.path().join("archive")).unwrap());
    let environment = Arc::new(mezame_images::environment::SystemEnvironment::new());
    let archive = Archive::open(store, environment, ArchiveSettings::default()).unwrap();
    let project = mezame_model::ProjectName::parse("p").unwrap();
    let file = gallery.folder.path().join("disk");
    std::fs::write(&file, disk(9)).unwrap();
    for volume in ["one", "one", "one", "two"] {
        let labels = [("backup.volume".to_owned(), volume.to_owned())].into();
        let new = NewImage {
            project: &project,
            kind: Kind::Backup,
            detail: Detail { name: "nightly".into(), labels, ..Detail::default() },
            key: None,
            base: None,
        };
        archive.import(&new, &FileSource::open(&file).unwrap(), &Unwatched).unwrap();
    }
    let policy = json!({ "volume": "one", "keep": { "last": 1 } });
    let path = "/v1/projects/p/backups/prune";
    let dry = gallery.plane.post(&format!("{path}?dry_run=true"), policy.clone()).await.json();
    assert_eq!(dry["dropped"].as_array().unwrap().len(), 2);
    assert_eq!(gallery.names("p").await.len(), 4);
    assert_eq!(gallery.plane.post(path, policy).await.json(), dry);
    assert_eq!(gallery.names("p").await.len(), 2);
    let keeps_all = gallery.plane.post(path, json!({ "volume": "one" })).await.json();
    assert_eq!(keeps_all["dropped"], json!([]));
}

#[tokio::test]
async fn a_site_without_an_archive_says_so() {
    let plane = Plane::seeded().await;
    for (method, path) in [
        ("GET", "/v1/archive"),
        ("POST", "/v1/archive"),
        ("GET", "/v1/projects/p/images"),
        ("GET", "/v1/projects/p/jobs"),
    ] {
        let answer = plane.call(method, path, &[], "").await;
        assert_eq!((answer.status, answer.problem()["type"].clone()), (404, "no-archive".into()));
    }
}

#[tokio::test]
async fn an_archive_is_made_when_asked_for_and_found_once_it_is_there() {
    let gallery = Gallery::unmade(|_| ()).await;
    for path in ["/v1/archive", "/v1/projects/p/images"] {
        let answer = gallery.plane.get(path).await;
        let kind = answer.problem()["type"].clone();
        assert_eq!((answer.status, kind), (409, "no-archive-there".into()));
    }
    let what = json!({ "name": "x", "format": "raw" });
    assert_eq!(gallery.plane.post("/v1/projects/p/images", what).await.status, 409);
    assert!(!gallery.folder.path().join("archive").exists());
    // As when what it lies on is mounted.
    let store = Directory::create(gallery.folder.path().join("archive")).unwrap();
    let environment = Arc::new(mezame_images::environment::SystemEnvironment::new());
    Archive::create(Arc::new(store), environment, ArchiveSettings::default()).unwrap();
    assert_eq!(gallery.plane.get("/v1/archive").await.status, 200);
    let again = gallery.plane.post("/v1/archive", Value::Null).await;
    assert_eq!((again.status, again.problem()["type"].clone()), (409, "archive-there".into()));
}

#[tokio::test]
async fn a_project_stays_while_the_archive_with_its_images_is_away() {
    let gallery = Gallery::open().await;
    let delete = async |plane: &Plane, project: &str| {
        let answer = plane.call("DELETE", &format!("/v1/projects/{project}"), &[], "").await;
        let kind = (answer.status != 204).then(|| answer.problem()["type"].clone());
        (answer.status, kind)
    };
    gallery.image("vault", "secret", disk(1)).await;
    gallery.image("p", "open", disk(2)).await;
    // As when what it lies on is not mounted after a restart: there is an empty folder, or none.
    let (archive, away) =
        (gallery.folder.path().join("archive"), gallery.folder.path().join("away"));
    std::fs::rename(&archive, &away).unwrap();
    let again = gallery.again().await;
    for is_mount_point in [false, true] {
        if is_mount_point {
            std::fs::create_dir(&archive).unwrap();
        }
        for project in ["vault", "p", "q"] {
            let refused = (409, Some("no-archive-there".into()));
            assert_eq!(delete(&again, project).await, refused, "{project}");
        }
    }
    // As when the settings name none any more.
    let (_ending, end) = watch::channel(false);
    let router = router(Arc::clone(&gallery.plane.control), None, None, None, 8 << 20, end);
    let control = Arc::clone(&gallery.plane.control);
    let without = Plane { control, router, ending: watch::channel(false).0 };
    for project in ["vault", "p"] {
        assert_eq!(delete(&without, project).await, (409, Some("in-use".into())), "{project}");
    }
    std::fs::remove_dir(&archive).unwrap();
    std::fs::rename(&away, &archive).unwrap();
    assert_eq!(delete(&again, "vault").await, (409, Some("in-use".into())));
    assert_eq!(delete(&again, "q").await, (204, None));
}

#[tokio::test]
async fn a_folder_that_is_not_there_stops_images_alone_and_is_not_made() {
    let gallery = Gallery::open().await;
    let uploads = gallery.folder.path().join("disk/uploads");
    let folder = uploads.clone();
    let plane = gallery.again_with(|settings| settings.upload_dir = Some(folder)).await;
    assert_eq!(plane.get("/v1/projects/p").await.status, 200);
    let kind = async |path: &str| {
        let answer = plane.get(path).await;
        (answer.status, answer.problem()["type"].clone())
    };
    assert_eq!(kind("/v1/archive").await, (503, "images-away".into()));
    assert_eq!(kind("/v1/projects/p/images").await, (503, "images-away".into()));
    assert!(!uploads.exists());
    // A file in its place is no folder either.
    std::fs::create_dir(uploads.parent().unwrap()).unwrap();
    std::fs::write(&uploads, "").unwrap();
    assert_eq!(kind("/v1/archive").await, (503, "images-away".into()));
    std::fs::remove_file(&uploads).unwrap();
    // What is left over and can't be removed is in nobody's way.
    std::fs::create_dir_all(uploads.join("upload-x/y")).unwrap();
    let status = plane.get("/v1/archive").await;
    assert_eq!(status.status, 200, "{}", status.text);
}

#[tokio::test]
async fn a_project_goes_where_an_archive_was_never_made() {
    let gallery = Gallery::unmade(|_| ()).await;
    for project in ["vault", "p"] {
        let gone = gallery.plane.call("DELETE", &format!("/v1/projects/{project}"), &[], "").await;
        assert_eq!(gone.status, 204, "{}", gone.text);
    }
}

#[tokio::test]
async fn a_call_that_nobody_waits_for_any_more_is_not_carried_out_later() {
    let gallery = Gallery::open().await;
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Arc::new(std::sync::Mutex::new(held));
    let (began, has_begun) = std::sync::mpsc::channel();
    // All threads are at work.
    let mut working = Vec::new();
    for _ in 0..crate::images::CALLS {
        let (images, held, began) = (Arc::clone(&gallery.images), Arc::clone(&held), began.clone());
        working.push(tokio::spawn(async move {
            let call = move |_: &_, _: &_| {
                began.send(()).unwrap();
                let _ = held.lock().unwrap().recv();
                Ok(())
            };
            images.ask(call).await
        }));
    }
    for _ in 0..crate::images::CALLS {
        while has_begun.try_recv().is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let is_done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let tell = Arc::clone(&is_done);
    let mut given_up = Box::pin(gallery.images.ask(move |_, _| {
        tell.store(true, std::sync::atomic::Ordering::SeqCst);
        Ok(())
    }));
    assert!(crate::testing::poll_once(&mut given_up).is_pending());
    drop(given_up);
    drop(release);
    for call in working {
        call.await.unwrap().unwrap();
    }
    // One that comes later is done, so that one would have been done before.
    gallery.images.ask(|_, _| Ok(())).await.unwrap();
    assert!(!is_done.load(std::sync::atomic::Ordering::SeqCst));
}

#[tokio::test]
async fn the_end_leaves_no_thread_and_takes_nothing_more() {
    let gallery = Gallery::open().await;
    gallery.image("p", "x", disk(1)).await;
    let others = std::future::ready(());
    assert!(Arc::clone(&gallery.images).end(others).await, "a thread is left");
    let what = json!({ "name": "x", "format": "raw" });
    let refused = gallery.plane.post("/v1/projects/p/images", what).await;
    assert!(matches!(refused.status, 429 | 503), "{}", refused.text);
}

#[tokio::test]
async fn the_archive_is_collected_and_verified_at_the_times_of_the_settings() {
    let gallery = Gallery::open().await;
    let clock = Arc::new(FixedEnvironment::new());
    let settings = ImageSettings {
        collect: Some("every 6h".into()),
        verify: Some("every 1d".into()),
        ..ImageSettings::default()
    };
    let at = Arc::clone(&clock);
    let mut upkeep = Upkeep::of(&settings, Arc::clone(&gallery.part), at);
    let mut works = Vec::new();
    for _ in 0..5 {
        upkeep.tick().await;
        let jobs = gallery.plane.get("/v1/jobs").await.json();
        for job in jobs.as_array().unwrap() {
            let id = job["id"].as_str().unwrap();
            let job = gallery.ended(&format!("/v1/jobs/{id}")).await;
            assert_eq!(job["state"], "done", "{job}");
        }
        works.push(jobs.as_array().unwrap().len());
        clock.advance_ms(6 * 60 * 60 * 1000);
    }
    // The clock begins at a midnight; four collections then, and all packs once.
    assert_eq!(works, [0, 1, 2, 3, 5]);
}

#[tokio::test]
async fn what_can_not_begin_is_tried_again() {
    let gallery = Gallery::unmade(|_| ()).await;
    let clock = Arc::new(FixedEnvironment::new());
    let settings = ImageSettings { collect: Some("06:00".into()), ..ImageSettings::default() };
    let at = Arc::clone(&clock);
    let mut upkeep = Upkeep::of(&settings, Arc::clone(&gallery.part), at);
    upkeep.tick().await;
    clock.advance_ms(6 * 60 * 60 * 1000);
    upkeep.tick().await;
    assert_eq!(gallery.plane.get("/v1/jobs").await.json(), json!([]));
    assert_eq!(gallery.plane.post("/v1/archive", Value::Null).await.status, 201);
    clock.advance_ms(10 * 60 * 1000);
    upkeep.tick().await;
    let jobs = gallery.plane.get("/v1/jobs").await.json();
    assert_eq!(jobs[0]["what"], "collect", "{jobs}");
}
