//! The image archive over the API, with a real archive in a directory.

mod care;
mod files;
mod uploads;

use std::{path::PathBuf, time::Duration};

use super::*;
use crate::{
    images::{Images, part::Part},
    settings::images::ImageSettings,
};

/// A control plane with an archive, and the projects `p` and `q`.
pub(super) struct Gallery {
    pub(super) plane: Plane,
    pub(super) images: Arc<Images>,
    pub(super) part: Arc<Part>,
    pub(super) folder: tempfile::TempDir,
}

impl Gallery {
    pub(super) async fn open() -> Self {
        let gallery = Self::unmade(|_| ()).await;
        let made = gallery.plane.post("/v1/archive", Value::Null).await;
        assert_eq!(made.status, 201, "{}", made.text);
        gallery
    }

    /// One whose archive is not made yet.
    async fn unmade(change: impl FnOnce(&mut ImageSettings)) -> Self {
        let plane = Plane::start().await;
        let folder = tempfile::tempdir().unwrap();
        let mut settings = ImageSettings {
            directory: Some(folder.path().join("archive")),
            upload_bytes: 64 << 20,
            largest_bytes: 64 << 20,
            ..ImageSettings::default()
        };
        change(&mut settings);
        let (uploads, jobs) = (folder.path().join("uploads"), folder.path().join("jobs"));
        let control = Arc::clone(&plane.control);
        let environment = Arc::new(FixedEnvironment::new());
        let part = Part::open(settings, uploads, Some(jobs), control, environment).await;
        let images = part.begun().unwrap();
        let (ending, end) = watch::channel(false);
        let control = Arc::clone(&plane.control);
        let router = router(control, Some(Arc::clone(&part)), None, None, 8 << 20, end);
        let plane = Plane { control: plane.control, router, ending };
        plane
            .apply(json!([
                { "kind": "Project", "name": "p" },
                { "kind": "Project", "name": "q" },
                { "kind": "Project", "name": "vault", "encrypted_images": true },
            ]))
            .await;
        Self { plane, images, part, folder }
    }

    /// The same control plane as after a restart: it has opened nothing yet.
    async fn again(&self) -> Plane {
        self.again_with(|_| ()).await
    }

    async fn again_with(&self, change: impl FnOnce(&mut ImageSettings)) -> Plane {
        let mut settings = ImageSettings {
            directory: Some(self.folder.path().join("archive")),
            ..ImageSettings::default()
        };
        change(&mut settings);
        let (uploads, jobs) = (self.folder.path().join("uploads"), self.folder.path().join("jobs"));
        let control = Arc::clone(&self.plane.control);
        let environment = Arc::new(FixedEnvironment::new());
        let part = Part::open(settings, uploads, Some(jobs), control, environment).await;
        let (ending, end) = watch::channel(false);
        let control = Arc::clone(&self.plane.control);
        let router = router(Arc::clone(&control), Some(part), None, None, 8 << 20, end);
        Plane { control, router, ending }
    }

    /// Imports a file of this form; the job once it has ended.
    async fn import(&self, project: &str, what: Value, file: Vec<u8>) -> Value {
        let asked = self.plane.post(&format!("/v1/projects/{project}/images"), what).await;
        assert_eq!(asked.status, 201, "{}", asked.text);
        let id = asked.json()["id"].as_str().unwrap().to_owned();
        self.send(project, &id, file).await;
        self.ended(&format!("/v1/projects/{project}/jobs/{id}")).await
    }

    async fn send(&self, project: &str, job: &str, file: Vec<u8>) -> Answer {
        let path = format!("/v1/projects/{project}/jobs/{job}/content");
        self.plane.call("PUT", &path, &[], file).await
    }

    pub(super) async fn ended(&self, path: &str) -> Value {
        for _ in 0..3000 {
            let job = self.plane.get(path).await.json();
            if job["ended_ms"].is_number() {
                return job;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{path} does not end");
    }

    /// A raw image with these bytes; its id.
    pub(super) async fn image(&self, project: &str, name: &str, file: Vec<u8>) -> String {
        let job = self.import(project, json!({ "name": name, "format": "raw" }), file).await;
        assert_eq!(job["state"], "done", "{job}");
        job["image"].as_str().unwrap().to_owned()
    }

    async fn names(&self, project: &str) -> Vec<String> {
        let list = self.plane.get(&format!("/v1/projects/{project}/images")).await.json();
        let mut names: Vec<String> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|image| image["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    }

    /// The bytes of an answer.
    async fn bytes(&self, path: &str, headers: &[(&str, &str)]) -> (u16, Vec<u8>) {
        let role = Some(Role::Write);
        let response = self.plane.respond(role, "GET", path, headers, Body::empty()).await;
        let (parts, body) = response.into_parts();
        (parts.status.as_u16(), body.collect().await.unwrap().to_bytes().to_vec())
    }

    fn uploads(&self) -> usize {
        std::fs::read_dir(self.folder.path().join("uploads")).unwrap().count()
    }

    fn packs(&self) -> Vec<PathBuf> {
        let packs = std::fs::read_dir(self.folder.path().join("archive/packs")).unwrap();
        packs.map(|entry| entry.unwrap().path()).collect()
    }
}

/// A disk that is no multiple of a chunk, with a hole.
fn disk(seed: u8) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..1_500_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed).collect();
    bytes[300_000..900_000].fill(0);
    bytes
}

fn hex(bytes: &[u8]) -> String {
    crate::spec::hex(bytes)
}

fn digest(algorithm: &'static ring::digest::Algorithm, bytes: &[u8]) -> String {
    hex(ring::digest::digest(algorithm, bytes).as_ref())
}

#[tokio::test]
async fn an_image_comes_in_is_seen_goes_out_is_shared_and_deleted() {
    let gallery = Gallery::open().await;
    let (plane, file) = (&gallery.plane, disk(1));
    let sha256 = digest(&ring::digest::SHA256, &file);
    let what = json!({
        "name": "debian", "format": "raw", "labels": { "os": "linux" }, "size": file.len(),
        "sha256": sha256, "sha512": digest(&ring::digest::SHA512, &file), "source": "a mirror",
    });
    let job = gallery.import("p", what, file.clone()).await;
    assert_eq!((&job["state"], &job["what"]), (&"done".into(), &"import".into()), "{job}");
    assert!(job["figures"]["written"].as_u64().unwrap() > 0);
    assert_eq!(gallery.uploads(), 0);
    let id = job["image"].as_str().unwrap();
    let at = format!("/v1/projects/p/images/{id}");
    let shown = plane.get(&at).await.json();
    assert_eq!(shown["sha256"], sha256.as_str());
    assert_eq!((&shown["size"], &shown["labels"]["os"]), (&file.len().into(), &"linux".into()));
    assert_eq!(shown["shares"], json!({ "all": false, "projects": [] }));

    assert_eq!(gallery.bytes(&format!("{at}/content"), &[]).await, (200, file.clone()));
    let part = gallery.bytes(&format!("{at}/content"), &[("Range", "bytes=1000000-")]).await;
    assert!(part == (206, file[1_000_000..].to_vec()));
    let content = format!("{at}/content");
    let behind = plane.call("GET", &content, &[("Range", "bytes=1500000-")], "").await;
    assert_eq!(behind.status, 416);
    let reader = plane.call_as(Some(Role::Read), "GET", &format!("{at}/content"), &[], "").await;
    assert_eq!(reader.status, 403);

    // Another project does not see it until it is shared, and can't change it then.
    let lent = format!("/v1/projects/q/images/{id}");
    assert_eq!(plane.get(&lent).await.status, 404);
    let share = format!("{at}/shares/q");
    assert_eq!(plane.call("PUT", &share, &[], "").await.status, 204);
    assert_eq!(gallery.names("q").await, ["debian"]);
    assert_eq!(plane.get(&at).await.json()["shares"]["projects"], json!(["q"]));
    assert_eq!(gallery.bytes(&format!("{lent}/content"), &[]).await.0, 200);
    let refused = plane.call("DELETE", &lent, &[], "").await;
    assert_eq!((refused.status, refused.problem()["type"].clone()), (403, "other-project".into()));
    assert_eq!(plane.call("DELETE", &share, &[], "").await.status, 204);
    assert!(gallery.names("q").await.is_empty());
    let nobody = plane.call("PUT", &format!("{at}/shares/nobody"), &[], "").await;
    assert_eq!(
        (nobody.status, nobody.problem()["faults"][0]["path"].clone()),
        (422, "with".into())
    );
    assert_eq!(plane.call("PUT", &format!("{at}/shares"), &[], "").await.status, 204);
    assert_eq!(gallery.names("q").await, ["debian"]);

    let verify = plane.post(&format!("{at}/verify"), Value::Null).await;
    assert_eq!(verify.status, 202);
    let job = verify.json()["id"].as_str().unwrap().to_owned();
    let job = gallery.ended(&format!("/v1/projects/p/jobs/{job}")).await;
    assert_eq!((&job["state"], &job["figures"]["damaged"]), (&"done".into(), &0.into()), "{job}");

    assert_eq!(plane.call("DELETE", "/v1/projects/p", &[], "").await.status, 409);
    assert_eq!(plane.call("DELETE", &at, &[], "").await.status, 204);
    assert_eq!(plane.get(&at).await.status, 404);
    assert!(!gallery.packs().is_empty());
    let collect = plane.post("/v1/archive/collect", Value::Null).await.json();
    let job = gallery.ended(&format!("/v1/jobs/{}", collect["id"].as_str().unwrap())).await;
    assert_eq!(job["figures"]["deleted"], 1, "{job}");
    assert!(gallery.packs().is_empty());
    let status = plane.get("/v1/archive").await.json();
    assert_eq!((&status["bytes"], &status["jobs"]), (&0.into(), &0.into()), "{status}");
    assert_eq!(plane.call("DELETE", "/v1/projects/p", &[], "").await.status, 204);
}

#[tokio::test]
async fn jobs_are_bounded_seen_by_their_project_and_can_be_cancelled() {
    let gallery = Gallery::unmade(|settings| settings.jobs_waiting = 8).await;
    gallery.plane.post("/v1/archive", Value::Null).await;
    // A quarter of them may be one project's that wait for their file.
    let what = json!({ "name": "x", "format": "raw" });
    let begin = || gallery.plane.post("/v1/projects/p/images", what.clone());
    let first = begin().await.json()["id"].as_str().unwrap().to_owned();
    begin().await;
    let refused = begin().await;
    assert_eq!((refused.status, refused.problem()["type"].clone()), (429, "too-many".into()));
    assert_eq!(gallery.plane.get("/v1/projects/p/jobs").await.json().as_array().unwrap().len(), 2);
    assert_eq!(gallery.plane.get("/v1/projects/q/jobs").await.json(), json!([]));
    assert_eq!(gallery.plane.get("/v1/jobs").await.json().as_array().unwrap().len(), 2);
    let cancel = |project: &str| {
        let path = format!("/v1/projects/{project}/jobs/{first}/cancel");
        async { gallery.plane.post(&{ path }, Value::Null).await }
    };
    assert_eq!(cancel("q").await.status, 404);
    assert_eq!(cancel("p").await.json()["state"], "cancelled");
    assert_eq!(gallery.send("p", &first, disk(1)).await.status, 409);
    assert_eq!(begin().await.status, 201);
    // A project in which something is at work is not deleted.
    let refused = gallery.plane.call("DELETE", "/v1/projects/p", &[], "").await;
    assert_eq!((refused.status, refused.problem()["type"].clone()), (409, "in-use".into()));
}

#[tokio::test]
async fn an_encrypted_projects_images_are_sealed_and_still_shared() {
    let gallery = Gallery::open().await;
    let file = disk(3);
    let id = gallery.image("vault", "secret-name", file.clone()).await;
    let at = format!("/v1/projects/vault/images/{id}");
    let shown = gallery.plane.get(&at).await.json();
    assert_eq!((&shown["name"], shown["key"].is_string()), (&"secret-name".into(), true));
    assert!(gallery.bytes(&format!("{at}/content"), &[]).await == (200, file));
    let records = gallery.folder.path().join("archive/images");
    for entry in std::fs::read_dir(records).unwrap() {
        let record = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!record.windows(11).any(|window| window == b"secret-name"));
    }
    gallery.plane.call("PUT", &format!("{at}/shares/q"), &[], "").await;
    assert_eq!(gallery.names("q").await, ["secret-name"]);
    // It stays as it is from its beginning on, and no document shows the key.
    let project = gallery.plane.get("/v1/projects/vault").await.json();
    assert_eq!(project["spec"]["encrypted_images"], true);
    assert!(!project.to_string().contains("image_key"));
    for (name, wanted) in [("vault", false), ("p", true)] {
        let document = json!({ "encrypted_images": wanted });
        let refused = gallery.plane.put(&format!("/v1/projects/{name}"), &[], document).await;
        assert_eq!(refused.status, 422, "{}", refused.text);
        assert_eq!(refused.problem()["faults"][0]["path"], "encrypted_images");
    }
    let kept = gallery.plane.put("/v1/projects/vault", &[], json!({ "description": "x" })).await;
    assert_eq!((kept.status, &kept.json()["spec"]["encrypted_images"]), (200, &true.into()));
    assert_eq!(gallery.names("vault").await, ["secret-name"]);
}

#[tokio::test]
async fn images_come_in_pages() {
    let gallery = Gallery::open().await;
    for name in ["a", "b", "c"] {
        gallery.image("p", name, vec![1; 1000]).await;
    }
    let (mut path, mut ids) = ("/v1/projects/p/images?limit=2".to_owned(), Vec::new());
    for more in [true, false] {
        let page = gallery.plane.get(&path).await;
        ids.extend(page.json()["items"].as_array().unwrap().iter().map(|it| it["id"].to_string()));
        let link = page.header("link");
        assert_eq!(link.ends_with(">; rel=\"next\""), more);
        path = link.trim_start_matches('<').split('>').next().unwrap().to_owned();
    }
    assert_eq!(ids.len(), 3);
    assert!(ids.is_sorted());
    let bad = gallery.plane.get("/v1/projects/p/images?limit=0").await;
    assert_eq!((bad.status, bad.problem()["type"].clone()), (400, "parameter".into()));
}

#[tokio::test]
async fn a_reader_changes_nothing() {
    let gallery = Gallery::open().await;
    let id = gallery.image("p", "x", disk(1)).await;
    for (method, path) in [
        ("POST", "/v1/projects/p/images".to_owned()),
        ("DELETE", format!("/v1/projects/p/images/{id}")),
        ("PUT", format!("/v1/projects/p/images/{id}/shares")),
        ("POST", "/v1/archive/collect".to_owned()),
    ] {
        let answer = gallery.plane.call_as(Some(Role::Read), method, &path, &[], "").await;
        assert_eq!(answer.status, 403, "{method} {path}");
    }
    let seen = gallery.plane.call_as(Some(Role::Read), "GET", "/v1/projects/p/images", &[], "");
    assert_eq!(seen.await.json()["items"][0]["id"], id.as_str());
}

#[tokio::test]
async fn every_described_answer_about_images_has_the_fields_that_are_sent() {
    let gallery = Gallery::open().await;
    let id = gallery.image("p", "x", disk(1)).await;
    let described = gallery.plane.get("/v1/openapi.json").await.json();
    let jobs = gallery.plane.get("/v1/jobs").await.json();
    for (schema, sent) in [
        ("Image", gallery.plane.get(&format!("/v1/projects/p/images/{id}")).await.json()),
        ("ArchiveStatus", gallery.plane.get("/v1/archive").await.json()),
        ("Job", jobs[0].clone()),
    ] {
        let schema = &described["components"]["schemas"][schema];
        for field in sent.as_object().unwrap().keys() {
            assert!(schema["properties"].get(field).is_some(), "{field}");
        }
        for field in schema["required"].as_array().unwrap() {
            assert!(sent.get(field.as_str().unwrap()).is_some(), "{field}");
        }
    }
}
