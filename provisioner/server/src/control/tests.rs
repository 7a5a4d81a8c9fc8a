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
