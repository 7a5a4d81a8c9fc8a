//! Writers that race, and token keys that come due.

use serde_json::json;

use super::*;
use crate::{environment::fixed::FixedEnvironment, store::memory::MemoryStore};

const HOUR_MS: u64 = 3_600_000;

async fn open(store: Arc<MemoryStore>, environment: Arc<FixedEnvironment>) -> Arc<Control> {
    let keys = SealingKeys::in_memory(&*environment).unwrap();
    Control::open(store, environment, keys, "local-1", "mezame.internal").await.unwrap()
}

fn numbers(control: &Control) -> Vec<u32> {
    let state = control.state();
    state.snapshot().site.token_keys.iter().map(|key| key.number).collect()
}

#[tokio::test]
async fn token_keys_are_rotated_and_removed_when_their_time_comes() {
    let environment = Arc::new(FixedEnvironment::new());
    let store = crate::testing::store(&*environment).await;
    let control = open(store, Arc::clone(&environment)).await;
    let rotation = 24 * HOUR_MS;
    control.tend_token_keys(rotation).await.unwrap();
    assert_eq!(numbers(&control), [1]);
    assert_eq!(control.token_keys_due_in_ms(rotation), rotation);
    environment.advance_ms(rotation);
    assert_eq!(control.token_keys_due_in_ms(rotation), 0);
    control.tend_token_keys(rotation).await.unwrap();
    assert_eq!(numbers(&control), [2, 1]);
    let due = control.token_keys_due_in_ms(rotation);
    assert!((6 * HOUR_MS..7 * HOUR_MS).contains(&due));
    environment.advance_ms(due - 1);
    control.tend_token_keys(rotation).await.unwrap();
    assert_eq!(numbers(&control), [2, 1]);
    environment.advance_ms(1);
    control.tend_token_keys(rotation).await.unwrap();
    assert_eq!(numbers(&control), [2]);
}

#[tokio::test]
async fn a_foreign_write_to_the_store_is_noticed_and_read_in() {
    let environment = Arc::new(FixedEnvironment::new());
    let store = crate::testing::store(&*environment).await;
    let one = open(Arc::clone(&store), Arc::clone(&environment)).await;
    let two = open(store, environment).await;
    let project = |name: &str| vec![json!({ "kind": "Project", "name": name })];
    one.apply(project("a"), false).await.unwrap();
    let refused = two.apply(project("b"), false).await.unwrap_err();
    assert!(matches!(refused, ControlError::Store(StoreError::Conflict { .. })), "{refused}");
    // Nothing was lost on either side, and trying again works.
    two.apply(project("b"), false).await.unwrap();
    let names: Vec<_> = two.state().tenants.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["a", "b"]);
}

#[tokio::test]
async fn schedules_and_what_became_of_them_are_there_after_a_restart() {
    let environment = Arc::new(FixedEnvironment::new());
    let store = crate::testing::store(&*environment).await;
    let one = open(Arc::clone(&store), Arc::clone(&environment)).await;
    one.apply(vec![json!({ "kind": "Project", "name": "a" })], false).await.unwrap();
    let project = mezame_model::ProjectName::parse("a").unwrap();
    let spec = json!({ "volumes": ["web"], "qmp": "/q", "when": "02:30", "keep": { "last": 2 } });
    let spec: mezame_model::api::schedules::Schedule = serde_json::from_value(spec).unwrap();
    for name in ["nightly", "other"] {
        one.put_schedule(&project, name, spec.clone(), Precondition::Any, 7).await.unwrap();
    }
    one.change_schedule(&project, "nightly", |it| it.begin(9, Some("job".into()))).await.unwrap();
    one.forget_schedule(&project, "other").await.unwrap();
    let two = open(store, environment).await;
    assert_eq!(two.schedules(&project).unwrap(), one.schedules(&project).unwrap());
    assert_eq!(two.schedule(&project, "nightly").unwrap().job(), Some("job"));
    assert!(matches!(two.schedule(&project, "other"), Err(ControlError::NotFound)));
}

#[tokio::test]
async fn a_write_whose_caller_goes_away_is_finished_in_store_and_memory() {
    let environment = Arc::new(FixedEnvironment::new());
    let store = crate::testing::store(&*environment).await;
    let control = open(Arc::clone(&store), environment).await;
    for number in 0..50 {
        let project = vec![json!({ "kind": "Project", "name": format!("p{number}") })];
        let mut write = Box::pin(control.apply(project, false));
        // Begun, and dropped at once.
        assert!(crate::testing::poll_once(&mut write).is_pending());
        drop(write);
    }
    // A last write waits for all those before it.
    control.apply(vec![json!({ "kind": "Project", "name": "last" })], false).await.unwrap();
    let stored = store.load().await.unwrap();
    assert_eq!(stored.rows.len(), control.state().tenants.len());
    assert_eq!(stored.generation, control.state().generation);
    assert_eq!(stored.rows.len(), 51);
}
