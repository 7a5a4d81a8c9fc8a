//! The feed's contract: newer only, the newest at once, events written once.

use mezame_model::{
    Acknowledgement, FeedError, GuestAttribute, PortId, SecretDigest, SecretString,
    api::{Action, Kind},
    report::{GuestEventKind, NovaPassword, Outcome, Report, SealedPassword},
};
use mezame_protocol::spent::digest_of;
use serde_json::{Value, json};

use super::*;
use crate::{
    control::SealingKeys,
    environment::{Environment, fixed::FixedEnvironment},
};

async fn control() -> Arc<Control> {
    let environment = Arc::new(FixedEnvironment::new());
    let keys = SealingKeys::in_memory(&*environment).unwrap();
    let store = crate::testing::store(&*environment).await;
    Control::open(store, environment, keys, "local-1", "mezame.internal").await.unwrap()
}

fn documents() -> Vec<Value> {
    vec![
        json!({ "kind": "Project", "name": "p" }),
        json!({ "kind": "Network", "project": "p", "name": "lan", "vni": 1,
                "subnets": [{ "cidr": "10.0.0.0/16" }] }),
        json!({ "kind": "Port", "project": "p", "name": "web-0", "network": "lan" }),
        json!({ "kind": "Port", "project": "p", "name": "db-0", "network": "lan" }),
        json!({ "kind": "Instance", "project": "p", "name": "web", "ports": ["web-0"],
                "secrets": { "one": "first", "two": "second" } }),
        json!({ "kind": "Instance", "project": "p", "name": "db", "ports": ["db-0"] }),
    ]
}

/// The event of an instance's first port.
fn event(snapshot: &Snapshot, name: &str, key: u128, kind: GuestEventKind) -> GuestEvent {
    let instance = snapshot.instances.iter().find(|i| i.name.as_str() == name).unwrap();
    let (port, instance) = (instance.ports[0].clone(), instance.id.clone());
    GuestEvent { port, instance, at_ms: 5, key, kind }
}

fn acknowledged(name: &str, digest: Option<SecretDigest>) -> GuestEventKind {
    GuestEventKind::SecretAcknowledged(Acknowledgement { name: name.parse().unwrap(), digest })
}

/// The secrets of the instance `web` that wait.
fn secrets(snapshot: &Snapshot) -> Vec<String> {
    let web = snapshot.instances.iter().find(|i| i.name.as_str() == "web").unwrap();
    web.secrets.iter().map(|(name, value)| format!("{name}={}", value.expose())).collect()
}

fn report(snapshot: &Snapshot, name: &str) -> Report {
    let instance = snapshot.instances.iter().find(|i| i.name.as_str() == name).unwrap();
    Report {
        instance_id: instance.id.clone(),
        agent: "0.1.0".into(),
        boot_id: "b".into(),
        run: 1,
        outcome: Outcome::Done,
        steps: vec![],
        configured_ms: None,
        total_ms: 1,
        host_keys: vec![],
    }
}

fn refused(reason: &'static str) -> Result<(), FeedError> {
    Err(FeedError::Refused { reason })
}

#[tokio::test]
async fn the_first_snapshot_is_there_at_once_and_the_next_only_when_it_is_newer() {
    let control = control().await;
    let feed = InProcessFeed::new(Arc::clone(&control));
    let first = feed.next(Generation::ZERO).await.unwrap();
    assert!(first.generation > Generation::ZERO);
    let mut waiting = Box::pin(feed.next(first.generation));
    assert!(crate::testing::poll_once(&mut waiting).is_pending());
    control.apply(documents(), false).await.unwrap();
    let second = waiting.await.unwrap();
    assert!(second.generation > first.generation);
    // Whoever missed some gets the newest, not those between.
    control.apply(vec![json!({ "kind": "Project", "name": "q" })], false).await.unwrap();
    let mut network = documents()[1].clone();
    network["mtu"] = 1400.into();
    control.apply(vec![network], false).await.unwrap();
    assert_eq!(feed.next(first.generation).await.unwrap().networks[0].mtu, 1400);
}

#[tokio::test]
async fn generations_only_go_forward_under_many_writers() {
    let control = control().await;
    control.apply(documents(), false).await.unwrap();
    let feed = InProcessFeed::new(Arc::clone(&control));
    let reader = tokio::spawn(async move {
        let mut last = Generation::ZERO;
        let mut seen = 0;
        while let Ok(snapshot) = feed.next(last).await {
            assert!(snapshot.generation > last);
            assert!(snapshot.ports.is_sorted_by(|a, b| a.id < b.id));
            last = snapshot.generation;
            seen += 1;
        }
        seen
    });
    let writers: Vec<_> = (0..20)
        .map(|n| {
            let control = Arc::clone(&control);
            let port = json!({ "kind": "Port", "project": "p", "name": format!("x{n}"),
                               "network": "lan" });
            tokio::spawn(async move { control.apply(vec![port], false).await.unwrap().generation })
        })
        .collect();
    let mut generations = Vec::new();
    for writer in writers {
        generations.push(writer.await.unwrap());
    }
    generations.sort();
    assert!(generations.windows(2).all(|pair| pair[0].next() == pair[1]));
    control.close().await;
    assert!(reader.await.unwrap() > 0);
}

#[tokio::test]
async fn a_record_that_did_not_change_is_the_same_in_the_next_snapshot() {
    let control = control().await;
    let feed = InProcessFeed::new(Arc::clone(&control));
    control.apply(documents(), false).await.unwrap();
    let before = feed.next(Generation::ZERO).await.unwrap();
    let mut web = documents()[4].clone();
    web["hop_limit"] = 2.into();
    control.apply(vec![web], false).await.unwrap();
    let after = feed.next(before.generation).await.unwrap();
    assert!(Arc::ptr_eq(&before.site, &after.site));
    assert!(Arc::ptr_eq(&before.networks[0], &after.networks[0]));
    for (old, new) in before.ports.iter().zip(&after.ports) {
        assert!(Arc::ptr_eq(old, new));
    }
    let changed = before.instances.iter().zip(&after.instances).filter(|(a, b)| !Arc::ptr_eq(a, b));
    assert_eq!(changed.map(|(_, new)| new.name.as_str()).collect::<Vec<_>>(), ["web"]);
}

#[tokio::test]
async fn a_report_makes_no_snapshot_and_is_stored_once() {
    let control = control().await;
    let feed = InProcessFeed::new(Arc::clone(&control));
    control.apply(documents(), false).await.unwrap();
    let snapshot = feed.next(Generation::ZERO).await.unwrap();
    let kind = GuestEventKind::Report(report(&snapshot, "web"));
    for _ in 0..3 {
        feed.deliver(event(&snapshot, "web", 9, kind.clone())).await.unwrap();
    }
    feed.deliver(event(&snapshot, "web", 10, kind)).await.unwrap();
    let reports = control.reports(&"p".parse().unwrap(), &"web".parse().unwrap()).await.unwrap();
    assert_eq!(reports.len(), 2);
    assert_eq!(control.state().generation.0, snapshot.generation.0 + 2);
    assert_eq!(feed.next(Generation::ZERO).await.unwrap().generation, snapshot.generation);
}

#[tokio::test]
async fn a_secret_that_was_read_is_gone_and_stays_gone_when_applied_again() {
    let control = control().await;
    let feed = InProcessFeed::new(Arc::clone(&control));
    control.apply(documents(), false).await.unwrap();
    let snapshot = feed.next(Generation::ZERO).await.unwrap();
    assert_eq!(secrets(&snapshot), ["one=first", "two=second"]);
    let read = acknowledged("one", None);
    feed.deliver(event(&snapshot, "web", 1, read.clone())).await.unwrap();
    let after = feed.next(snapshot.generation).await.unwrap();
    assert_eq!(secrets(&after), ["two=second"]);
    // The same once more, under the same key and under another.
    feed.deliver(event(&snapshot, "web", 1, read.clone())).await.unwrap();
    feed.deliver(event(&snapshot, "web", 2, read)).await.unwrap();
    // The operator's document still names it with its old value.
    let applied = control.apply(documents(), false).await.unwrap();
    assert_eq!(applied.generation, after.generation);
    // Another value is another secret.
    let mut web = documents()[4].clone();
    web["secrets"]["one"] = "third".into();
    control.apply(vec![web.clone()], false).await.unwrap();
    let renewed = feed.next(after.generation).await.unwrap();
    assert_eq!(secrets(&renewed), ["one=third", "two=second"]);
    let unknown = acknowledged("none", None);
    assert_eq!(feed.deliver(event(&snapshot, "web", 3, unknown)).await, refused("unknown-secret"));
}

#[tokio::test]
async fn a_delayed_acknowledgement_consumes_nothing_but_what_it_was_for() {
    let control = control().await;
    let feed = InProcessFeed::new(Arc::clone(&control));
    control.apply(documents(), false).await.unwrap();
    let snapshot = feed.next(Generation::ZERO).await.unwrap();
    let web = snapshot.instances.iter().find(|i| i.name.as_str() == "web").unwrap();
    let read = |value: &str| {
        let (name, value) = ("one".parse().unwrap(), SecretString::new(value.into()));
        acknowledged("one", Some(digest_of(&web.id, &name, &value)))
    };
    // The operator's change comes first.
    let mut changed = documents()[4].clone();
    changed["secrets"]["one"] = "third".into();
    control.apply(vec![changed.clone()], false).await.unwrap();
    let renewed = feed.next(snapshot.generation).await.unwrap();
    feed.deliver(event(&snapshot, "web", 1, read("first"))).await.unwrap();
    assert_eq!(secrets(control.state().snapshot()), ["one=third", "two=second"]);
    assert_eq!(feed.next(Generation::ZERO).await.unwrap().generation, renewed.generation);
    feed.deliver(event(&snapshot, "web", 2, read("third"))).await.unwrap();
    let after = feed.next(renewed.generation).await.unwrap();
    assert_eq!(secrets(&after), ["two=second"]);
    // What is spent is the value that was read last, and that alone.
    feed.deliver(event(&snapshot, "web", 3, read("first"))).await.unwrap();
    let applied = control.apply(vec![changed], false).await.unwrap();
    assert!(applied.changes.iter().all(|it| it.action == Action::Unchanged), "{applied:?}");
    control.apply(documents(), false).await.unwrap();
    assert_eq!(secrets(control.state().snapshot()), ["one=first", "two=second"]);
}

#[tokio::test]
async fn operators_are_told_of_an_acknowledgement_and_never_its_digest() {
    let control = control().await;
    let feed = InProcessFeed::new(Arc::clone(&control));
    control.apply(documents(), false).await.unwrap();
    let snapshot = feed.next(Generation::ZERO).await.unwrap();
    let digest = SecretDigest::new([0xab; 32]);
    let kind = acknowledged("one", Some(digest));
    feed.deliver(event(&snapshot, "web", 1, kind.clone())).await.unwrap();
    assert!(!format!("{kind:?}").contains("abab"));
    let page = control.events(crate::store::From::After(Generation::ZERO), 100).await.unwrap();
    let told: Vec<_> = page.events.iter().filter(|it| it.what == "secret-acknowledged").collect();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].detail, "one (an earlier value)");
    assert!(!serde_json::to_string(&told).unwrap().contains("abab"));
}

#[tokio::test]
async fn a_password_in_openstacks_way_is_set_once_and_outlives_the_next_apply() {
    let control = control().await;
    let feed = InProcessFeed::new(Arc::clone(&control));
    control.apply(documents(), false).await.unwrap();
    let snapshot = feed.next(Generation::ZERO).await.unwrap();
    let posted = |text: &str| {
        GuestEventKind::NovaPassword(NovaPassword { ciphertext: SecretString::new(text.into()) })
    };
    feed.deliver(event(&snapshot, "web", 1, posted("first"))).await.unwrap();
    let after = feed.next(snapshot.generation).await.unwrap();
    feed.deliver(event(&snapshot, "web", 2, posted("second"))).await.unwrap();
    let mut web = documents()[4].clone();
    web["hostname"] = "other".into();
    control.apply(vec![web], false).await.unwrap();
    let applied = feed.next(after.generation).await.unwrap();
    for snapshot in [after, applied] {
        let web = snapshot.instances.iter().find(|it| it.name.as_str() == "web").unwrap();
        assert_eq!(web.nova_password.as_ref().unwrap().expose(), "first");
    }
    let long = posted(&"x".repeat(5000));
    assert_eq!(feed.deliver(event(&snapshot, "db", 3, long)).await, refused("too-large"));
}

#[tokio::test]
async fn a_guests_own_attributes_are_set_replaced_removed_and_bounded() {
    let control = control().await;
    let feed = InProcessFeed::new(Arc::clone(&control));
    control.apply(documents(), false).await.unwrap();
    let mut snapshot = feed.next(Generation::ZERO).await.unwrap();
    let set = |path: &str, value: Option<&str>| {
        let (path, value) = (path.into(), value.map(Into::into));
        GuestEventKind::GuestAttribute(GuestAttribute { path, value })
    };
    for (key, (path, value, wanted)) in [
        ("a/one", Some("1"), vec![("a/one", "1")]),
        ("b/two", Some("2"), vec![("a/one", "1"), ("b/two", "2")]),
        ("a/one", Some("3"), vec![("a/one", "3"), ("b/two", "2")]),
        ("b/two", None, vec![("a/one", "3")]),
    ]
    .into_iter()
    .enumerate()
    {
        feed.deliver(event(&snapshot, "web", key as u128, set(path, value))).await.unwrap();
        snapshot = feed.next(snapshot.generation).await.unwrap();
        let web = snapshot.instances.iter().find(|it| it.name.as_str() == "web").unwrap();
        assert_eq!(web.guest_attributes.iter().collect::<Vec<_>>(), wanted);
    }
    // A guest's write is none of an operator's: neither a new revision nor an event.
    let (project, name) = ("p".parse().unwrap(), "web");
    let shown = crate::resource::one(&control.state(), Kind::Instance, &project, name).unwrap();
    assert!(shown.resource.revision < shown.fresh, "{:?}", shown.resource.revision);
    assert_eq!(shown.fresh, snapshot.generation);
    // What changes nothing writes nothing.
    feed.deliver(event(&snapshot, "web", 10, set("b/two", None))).await.unwrap();
    assert_eq!(control.state().generation, snapshot.generation);
    let long = set("a/long", Some(&"x".repeat(300 << 10)));
    assert_eq!(feed.deliver(event(&snapshot, "web", 11, long)).await, refused("malformed"));
}

#[tokio::test]
async fn an_event_of_another_instance_or_of_no_port_is_refused() {
    let control = control().await;
    let feed = InProcessFeed::new(Arc::clone(&control));
    control.apply(documents(), false).await.unwrap();
    let snapshot = feed.next(Generation::ZERO).await.unwrap();
    let kind = |name| GuestEventKind::Report(report(&snapshot, name));
    // A report that names another instance than the one whose port it came through.
    assert_eq!(
        feed.deliver(event(&snapshot, "web", 1, kind("db"))).await,
        refused("other-instance")
    );
    let mut moved = event(&snapshot, "web", 2, kind("db"));
    moved.instance = event(&snapshot, "db", 2, kind("db")).instance;
    assert_eq!(feed.deliver(moved).await, refused("other-instance"));
    let mut lost = event(&snapshot, "web", 3, kind("web"));
    lost.port = PortId::parse("eni-fffffffffffffffff").unwrap();
    assert_eq!(feed.deliver(lost).await, refused("unknown-port"));
    let mut long = report(&snapshot, "web");
    long.agent = "x".repeat(2 << 20);
    let long = event(&snapshot, "web", 4, GuestEventKind::Report(long));
    assert_eq!(feed.deliver(long).await, refused("too-large"));
    let password = GuestEventKind::Password(SealedPassword {
        user: "admin".parse().unwrap(),
        recipient: String::new(),
        sealed: "x".repeat(100_000),
        reset: None,
        nova: None,
    });
    assert_eq!(feed.deliver(event(&snapshot, "web", 5, password)).await, refused("too-large"));
    assert_eq!(control.state().generation, snapshot.generation);
}

#[tokio::test]
async fn a_control_plane_that_ended_is_away() {
    let control = control().await;
    let feed = InProcessFeed::new(Arc::clone(&control));
    control.apply(documents(), false).await.unwrap();
    let snapshot = feed.next(Generation::ZERO).await.unwrap();
    let waiting = tokio::spawn({
        let feed = InProcessFeed::new(Arc::clone(&control));
        let after = snapshot.generation;
        async move { feed.next(after).await }
    });
    control.close().await;
    assert_eq!(waiting.await.unwrap(), Err(FeedError::Away));
    let kind = GuestEventKind::Report(report(&snapshot, "web"));
    assert_eq!(feed.deliver(event(&snapshot, "web", 1, kind)).await, Err(FeedError::Away));
}

#[tokio::test]
async fn a_clock_that_was_ahead_hides_no_later_report() {
    let control = control().await;
    let feed = InProcessFeed::new(Arc::clone(&control));
    control.apply(documents(), false).await.unwrap();
    let snapshot = feed.next(Generation::ZERO).await.unwrap();
    let of_run = |run, at_ms| {
        let report = Report { run, ..report(&snapshot, "web") };
        GuestEvent { at_ms, ..event(&snapshot, "web", run.into(), GuestEventKind::Report(report)) }
    };
    let now = FixedEnvironment::new().now_ms();
    feed.deliver(of_run(1, u64::MAX)).await.unwrap();
    feed.deliver(of_run(2, now)).await.unwrap();
    let id = &snapshot.instances.iter().find(|i| i.name.as_str() == "web").unwrap().id;
    let observed = control.state().instance_by_id(id).unwrap().observed.clone().unwrap();
    assert_eq!((observed.run, observed.at_ms), (2, now));
}
