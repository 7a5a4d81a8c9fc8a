//! Guests that are seen to, with real QEMUs: one block server for their flushers and their backups.

use super::*;

impl Site {
    /// What is shown of a volume, once that is so.
    async fn until(&self, id: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let begin = Instant::now();
        loop {
            let shown = self.show(id).await;
            if is_so(&shown) {
                return shown;
            }
            assert!(begin.elapsed() < BOUND, "{shown}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A QEMU that is started with volumes whose monitor was named before.
    async fn seen_to(&self, name: &str, ids: &[&str]) -> Machine {
        let qmp = self.path(&format!("{name}.a"));
        let mut starts = Vec::new();
        for id in ids {
            let path = format!("/v1/projects/p/volumes/{id}/open");
            let answer = self.plane().post(&path, json!({ "qmp": qmp })).await;
            assert_eq!(answer.status, 200, "{}", answer.text);
            starts.push(answer.json());
        }
        Machine::start(&self.path(""), name, &starts.iter().collect::<Vec<_>>())
    }

    /// How often it was flushed by then.
    async fn until_kept(&self, id: &str) -> u64 {
        let kept = self.until(id, |it| it["flush"]["state"] == "kept").await;
        kept["flush"]["flushes"].as_u64().unwrap()
    }

    fn sockets(&self) -> usize {
        let entries = std::fs::read_dir(self.path("run")).unwrap().map(|it| it.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|it| it == "flush")).count()
    }
}

/// Operations a second that a guest may do.
fn iops(machine: &mut Machine, id: &str) -> u64 {
    let blocks = machine.tell("query-block", json!({}));
    let of = blocks.as_array().unwrap().iter().map(|block| &block["inserted"]);
    of.clone().find(|it| it["node-name"] == id).unwrap()["iops"].as_u64().unwrap()
}

fn exports(machine: &mut Machine) -> Vec<String> {
    let exports = machine.tell("query-block-exports", json!({}));
    let ids = exports.as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned());
    ids.collect()
}

#[tokio::test]
async fn a_guest_is_flushed_and_limited_from_its_start_backed_up_meanwhile_and_by_the_next_process()
{
    let site = Site::open().await;
    let limits = json!({ "iops": 70 });
    site.made(json!({ "id": "web", "size": 2 << 20, "limits": limits })).await;
    site.made(json!({ "id": "db", "size": 2 << 20, "class": "bounded", "flush_ms": 500 })).await;
    site.made(json!({ "id": "log", "size": 2 << 20, "class": "flush-honouring" })).await;
    let mut machine = site.seen_to("guest", &["web", "db", "log"]).await;
    site.until_kept("web").await;
    site.until_kept("db").await;
    assert_eq!((iops(&mut machine, "web"), iops(&mut machine, "db")), (70, 0));
    assert_eq!((exports(&mut machine).len(), site.sockets()), (2, 1));

    // By the same server, and the flushers go on.
    let order = json!({ "volumes": ["web", "db", "log"], "qmp": machine.socket });
    for _ in 0..2 {
        let saved = site.done("backups", order.clone()).await;
        assert_eq!(saved["state"], "done", "{saved}");
    }
    assert_eq!(exports(&mut machine).len(), 2);

    let site = site.again().await;
    let then = site.until_kept("web").await;
    site.until("web", |it| it["flush"]["flushes"].as_u64() > Some(then)).await;
    assert_eq!((exports(&mut machine).len(), site.sockets()), (2, 1));
    let path = "/v1/projects/p/volumes/web/limits";
    site.plane().put(path, &[], json!({ "limits": { "iops": 80 } })).await;
    let begin = Instant::now();
    while iops(&mut machine, "web") != 80 {
        assert!(begin.elapsed() < BOUND);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(machine);
    for id in ["web", "db"] {
        site.until(id, |it| it.get("flush").is_none()).await;
        let deleted = site.delete(id).await;
        assert_eq!(deleted.status, 200, "{}", deleted.text);
    }
}

#[tokio::test]
async fn a_flushed_volume_is_hydrated_and_flushed_no_more_and_a_backup_has_a_server_of_its_own_then()
 {
    let site = Site::open().await;
    site.made(json!({ "id": "web", "size": 2 << 20, "limits": { "iops": 9000 } })).await;
    let mut machine = site.seen_to("guest", &["web"]).await;
    site.until_kept("web").await;
    let job = site.done("volumes/web/hydrate", json!({ "qmp": machine.socket })).await;
    assert_eq!(job["state"], "done", "{job}");
    site.until("web", |it| it["class"] == "plain" && it.get("flush").is_none()).await;
    assert_eq!((exports(&mut machine).len(), site.sockets()), (0, 0));
    let order = json!({ "volumes": ["web"], "qmp": machine.socket });
    let saved = site.done("backups", order).await;
    assert_eq!(saved["state"], "done", "{saved}");
    assert!(machine.is_running());
}

#[tokio::test]
async fn an_encrypted_volume_has_its_key_changed_while_it_is_flushed() {
    let site = Site::open().await;
    site.made(json!({ "id": "web", "size": 2 << 20, "encrypted": true })).await;
    let machine = site.seen_to("guest", &["web"]).await;
    site.until_kept("web").await;
    let job = site.done("volumes/web/rotate-key", json!({ "qmp": machine.socket })).await;
    assert_eq!(job["state"], "done", "{job}");
    let shown = site.show("web").await;
    assert_eq!((&shown["keys"], &shown["flush"]["failures"]), (&json!([2]), &json!(0)));
}

#[tokio::test]
async fn a_server_that_is_another_s_is_waited_for_and_a_volume_of_another_guest_is_not_flushed() {
    let site = Site::open().await;
    for id in ["web", "db"] {
        site.made(json!({ "id": id, "size": 2 << 20 })).await;
    }
    let start = site.start("web").await;
    let mut machine = Machine::start(&site.path(""), "guest", &[&start]);
    let theirs = json!({ "type": "unix", "data": { "path": site.path("theirs") } });
    machine.tell("nbd-server-start", json!({ "addr": theirs }));
    let asked = json!({ "qmp": machine.socket });
    let taken = site.plane().put("/v1/projects/p/volumes/web/flush", &[], asked.clone()).await;
    assert_eq!(taken.problem()["type"], "volume-conflict", "{}", taken.text);
    let other = site.plane().put("/v1/projects/p/volumes/db/flush", &[], asked.clone()).await;
    assert_eq!(other.problem()["type"], "no-monitor", "{}", other.text);
    // One that is seen to is tried until the server is free.
    let path = "/v1/projects/p/volumes/db/open";
    assert_eq!(site.plane().post(path, asked.clone()).await.status, 200);
    site.until("db", |it| !it["flush"]["why"].is_null()).await;
    machine.tell("nbd-server-stop", json!({}));
    let begun = site.plane().put("/v1/projects/p/volumes/web/flush", &[], asked).await;
    assert_eq!(begun.status, 200, "{}", begun.text);
    site.until_kept("web").await;
    assert_eq!(site.show("db").await["flush"]["state"], "waiting");
    let ended =
        site.plane().call("DELETE", "/v1/projects/p/volumes/web/flush", &[], Body::empty()).await;
    assert_eq!(ended.status, 200, "{}", ended.text);
    assert_eq!((exports(&mut machine).len(), site.sockets()), (0, 0));
}
