//! The event stream: what was, what comes, and how it goes on after a break.

use super::*;

/// Lines of a stream as they come.
struct Lines {
    body: Body,
    rest: Vec<u8>,
}

impl Lines {
    async fn open(plane: &Plane, path: &str) -> Self {
        let response = plane.respond(Some(Role::Read), "GET", path, &[], Body::empty()).await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        Self { body: response.into_body(), rest: Vec::new() }
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = self.body.frame().await?.unwrap();
            self.rest.extend_from_slice(&frame.into_data().unwrap());
        }
    }

    async fn tell(&mut self, count: usize) -> Vec<String> {
        let mut told = Vec::new();
        for _ in 0..count {
            let event = self.next().await.unwrap();
            let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
            told.push(format!("{} {} {}", text("what"), text("kind"), text("name")));
        }
        told
    }
}

#[tokio::test]
async fn events_come_from_a_generation_on_and_then_live() {
    let plane = Plane::seeded().await;
    let mut lines = Lines::open(&plane, "/v1/events?after=0").await;
    let mut told = lines.tell(4).await;
    told.sort();
    assert_eq!(
        told,
        ["created Instance web", "created Network lan", "created Port web-0", "created Project p",]
    );
    let (next, _) = tokio::join!(lines.next(), async {
        let mut documents = seed();
        documents[1]["mtu"] = 1400.into();
        plane.apply(documents).await
    });
    let next = next.unwrap();
    assert_eq!(
        (&next["what"], &next["name"], &next["detail"]),
        (&json!("updated"), &json!("lan"), &json!("mtu"))
    );
    assert_eq!(next["generation"], plane.generation().await);
}

#[tokio::test]
async fn a_reader_that_comes_back_misses_nothing_and_hears_nothing_twice() {
    let plane = Plane::seeded().await;
    let seen = plane.generation().await;
    for name in ["q", "r"] {
        plane.put(&format!("/v1/projects/{name}"), &[], json!({})).await;
    }
    let mut lines = Lines::open(&plane, &format!("/v1/events?after={seen}")).await;
    assert_eq!(lines.tell(2).await, ["created Project q", "created Project r"]);
    let mut late = Lines::open(&plane, &format!("/v1/events?after={}", seen + 1)).await;
    assert_eq!(late.tell(1).await, ["created Project r"]);
}

#[tokio::test]
async fn without_a_generation_only_what_comes_is_told() {
    let plane = Plane::seeded().await;
    let mut lines = Lines::open(&plane, "/v1/events").await;
    let (told, _) = tokio::join!(lines.tell(1), plane.put("/v1/projects/q", &[], json!({})));
    assert_eq!(told, ["created Project q"]);
}

#[tokio::test]
async fn after_a_generation_beyond_all_only_what_comes_is_told() {
    let plane = Plane::seeded().await;
    let mut lines = Lines::open(&plane, "/v1/events?after=9223372036854775808").await;
    let (told, _) = tokio::join!(lines.tell(1), plane.put("/v1/projects/q", &[], json!({})));
    assert_eq!(told, ["created Project q"]);
}

#[tokio::test]
async fn many_events_of_one_write_are_all_told() {
    let plane = Plane::start().await;
    let projects: Vec<Value> =
        (0..1234).map(|n| json!({ "kind": "Project", "name": format!("p{n}") })).collect();
    plane.apply(json!(projects)).await;
    let mut lines = Lines::open(&plane, "/v1/events?after=0").await;
    let told: std::collections::BTreeSet<_> = lines.tell(1234).await.into_iter().collect();
    assert_eq!(told.len(), 1234);
}

#[tokio::test]
async fn the_stream_ends_with_the_control_plane() {
    let plane = Plane::seeded().await;
    let mut lines = Lines::open(&plane, "/v1/events").await;
    let (ended, _) = tokio::join!(lines.next(), async { plane.ending.send_replace(true) });
    assert_eq!(ended, None);
}

#[tokio::test]
async fn a_generation_that_can_not_be_read_is_refused() {
    let plane = Plane::start().await;
    for bad in ["x", "-1", "", "18446744073709551616"] {
        assert_eq!(plane.get(&format!("/v1/events?after={bad}")).await.status, 400);
    }
}
