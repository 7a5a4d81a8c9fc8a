//! The description is whole, true, and the one that is checked in.

use std::collections::BTreeSet;

use mezame_model::{
    Generation,
    api::{Change, Event, Fault, FieldChange, Kind, List, Problem, Resource},
};

use super::*;
use crate::admission::{NESTED_FIELDS, fields_of};

fn document() -> Value {
    serde_json::from_str(&make().unwrap()).unwrap()
}

fn properties(schema: &str) -> BTreeSet<String> {
    let document = document();
    let properties = &document["components"]["schemas"][schema]["properties"];
    properties.as_object().unwrap_or_else(|| panic!("{schema}")).keys().cloned().collect()
}

#[test]
fn the_checked_in_copy_is_what_the_server_serves() {
    let path = format!("{}/openapi.json", std::env::var("CARGO_MANIFEST_DIR").unwrap());
    let text = text().unwrap();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert!(golden == *text, "run this test with UPDATE_GOLDEN=1 and look at the difference");
}

#[test]
fn every_route_is_described_once_and_nothing_else() {
    let document = document();
    let described: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(|method| (path.clone(), method.to_uppercase())).collect::<Vec<_>>()
        })
        .collect();
    let routed: BTreeSet<(String, String)> =
        routes().map(|route| (route.path.to_owned(), route.method.to_string())).collect();
    assert_eq!(described, routed);
    let operations: BTreeSet<&str> = routes().map(|route| route.operation).collect();
    assert_eq!(operations.len(), routes().count());
}

#[test]
fn every_reference_leads_to_a_schema() {
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(target)) = fields.get("$ref") {
                    found.push(target.clone());
                }
                fields.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 50);
    for target in found {
        assert!(document.pointer(&target[1..]).is_some(), "{target}");
    }
}

#[test]
fn the_documents_schemas_have_the_fields_that_admission_takes() {
    for kind in Kind::ALL {
        let known: BTreeSet<String> = fields_of(kind).iter().map(ToString::to_string).collect();
        assert_eq!(properties(kind.as_str()), known);
    }
    for (schema, known) in NESTED_FIELDS {
        let known: BTreeSet<String> = known.iter().map(ToString::to_string).collect();
        assert_eq!(properties(schema), known);
    }
}

#[test]
fn the_answers_schemas_have_the_fields_that_are_sent() {
    let generation = Generation(1);
    let resource =
        Resource { kind: Kind::Port, spec: Value::Null, status: Value::Null, revision: generation };
    let field = FieldChange { path: "x".into(), before: Value::Null, after: Value::Null };
    let change = Change {
        kind: Kind::Port,
        project: Some("p".into()),
        name: "n".into(),
        action: mezame_model::api::Action::Updated,
        fields: vec![],
    };
    let fault = Fault { document: 0, path: "".into(), message: "".into(), mend: "".into() };
    let problem = Problem {
        kind: "k".into(),
        title: "t".into(),
        status: 400,
        detail: "d".into(),
        faults: vec![fault.clone()],
    };
    let event = Event {
        generation,
        at_ms: 1,
        project: "p".into(),
        kind: Kind::Port,
        name: "n".into(),
        what: "created".into(),
        detail: "d".into(),
    };
    let list = List { items: vec![], generation };
    for (schema, value) in [
        ("Resource", serde_json::to_value(resource)),
        ("FieldChange", serde_json::to_value(field)),
        ("Change", serde_json::to_value(change)),
        ("Fault", serde_json::to_value(fault)),
        ("Problem", serde_json::to_value(problem)),
        ("Event", serde_json::to_value(event)),
        ("List", serde_json::to_value(list)),
    ] {
        let sent: BTreeSet<String> = value.unwrap().as_object().unwrap().keys().cloned().collect();
        assert_eq!(properties(schema), sent, "{schema}");
    }
}

#[test]
fn every_schema_and_operation_has_the_form_that_openapi_has() {
    let described = describe();
    for (name, schema) in described["components"]["schemas"].as_object().unwrap() {
        let parsed: Result<utoipa::openapi::RefOr<utoipa::openapi::Schema>, _> =
            serde_json::from_value(schema.clone());
        assert!(parsed.is_ok(), "{name}");
    }
    for (path, item) in described["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let parsed: Result<utoipa::openapi::path::Operation, _> =
                serde_json::from_value(operation.clone());
            assert!(parsed.is_ok(), "{method} {path}: {:?}", parsed.err());
        }
    }
}
