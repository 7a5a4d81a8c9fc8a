//! The fake's `POST /v1/apply`: what differs is what differs field by field.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::{Query, State},
    response::{IntoResponse, Response},
};
use mezame_model::{
    Generation,
    api::{Action, Applied, Apply, Change, FieldChange, Kind, Resource},
};
use serde_json::{Value, json};

use super::{Shared, key_of, refusal};

pub(super) async fn apply(
    State(shared): State<Shared>,
    Query(query): Query<BTreeMap<String, String>>,
    Json(apply): Json<Apply>,
) -> Response {
    let mut contents = shared.contents.lock().unwrap();
    contents.body = json!(apply.documents);
    if let Some(refused) = contents.refuse.take() {
        return refusal(refused);
    }
    let dry_run = query.get("dry_run").is_some_and(|value| value == "true");
    if !dry_run {
        contents.generation += 1;
    }
    let generation = Generation(contents.generation);
    let mut changes = Vec::new();
    for document in apply.documents {
        let kind: Kind = serde_json::from_value(document["kind"].clone()).unwrap();
        let key = key_of(kind, &document);
        let (action, fields) = match contents.resources.get(&key) {
            None => (Action::Created, Vec::new()),
            Some(before) => {
                let fields = differences(&before.spec, &document);
                let same = fields.is_empty();
                (if same { Action::Unchanged } else { Action::Updated }, fields)
            }
        };
        let (_, project, name) = key.clone();
        let project = Some(project).filter(|project| !project.is_empty());
        changes.push(Change { kind, project, name, action, fields });
        if !dry_run {
            let resource =
                Resource { kind, spec: document, status: json!({}), revision: generation };
            contents.resources.insert(key, resource);
        }
    }
    Json(Applied { generation, changes }).into_response()
}

fn differences(before: &Value, after: &Value) -> Vec<FieldChange> {
    let (before, after) = (before.as_object().unwrap(), after.as_object().unwrap());
    let mut keys: Vec<&String> = before.keys().chain(after.keys()).collect();
    keys.sort();
    keys.dedup();
    let of = |fields: &serde_json::Map<String, Value>, key: &str| {
        fields.get(key).cloned().unwrap_or_default()
    };
    keys.into_iter()
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|key| FieldChange {
            path: key.clone(),
            before: of(before, key),
            after: of(after, key),
        })
        .collect()
}
