//! Long lists of backups.

use super::*;

/// Where the next page is.
fn next_of(answer: &Answer) -> Option<String> {
    let link = answer.header("link").strip_prefix('<')?;
    Some(link.strip_suffix(">; rel=\"next\"")?.to_owned())
}

#[tokio::test]
async fn backups_come_in_pages_that_go_on_where_one_was_deleted() {
    let depot = Depot::with_backups().await;
    for _ in 0..5 {
        let order = json!({ "volumes": ["web", "data"], "qmp": "/run/x" });
        assert_eq!(depot.done("backups", order).await["state"], "done");
        depot.pass(1);
    }
    let hour = |backup: &Value| (backup["taken_ms"].as_u64().unwrap() - 1_767_225_600_000) / HOUR;
    let mut next = Some("/v1/projects/p/backups?volume=web&limit=2".to_owned());
    let mut seen = Vec::new();
    for _ in 0..3 {
        let path = next.take().unwrap();
        assert!(path.contains("volume=web&limit=2"), "{path}");
        let answer = depot.plane().get(&path).await;
        next = next_of(&answer);
        let page = answer.json();
        let page = page.as_array().unwrap();
        assert!(page.iter().all(|backup| backup["volume"] == "web"));
        seen.push(page.iter().map(hour).collect::<Vec<_>>());
        let last = page.last().unwrap()["id"].as_str().unwrap();
        let gone = format!("/v1/projects/p/backups/{last}");
        assert_eq!(depot.plane().call("DELETE", &gone, &[], "").await.status, 204);
    }
    assert_eq!((seen, next), (vec![vec![4, 3], vec![2, 1], vec![0]], None));
    let all = depot.plane().get("/v1/projects/p/backups").await;
    assert_eq!((all.json().as_array().unwrap().len(), next_of(&all)), (5 + 2, None));
    for query in ["after=x", "after=1.x", "limit=0"] {
        let refused = depot.plane().get(&format!("/v1/projects/p/backups?{query}")).await;
        assert_eq!((refused.status, &refused.problem()["type"]), (400, &json!("parameter")));
    }
}
