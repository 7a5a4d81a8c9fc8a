//! Resources as rows of a table and as documents.
//!
//! Only fields that the API promises are read; one that is missing is an empty cell, so that a
//! newer or older server's answer is still shown.

use std::io;

use mezame_model::api::{Kind, Resource};
use serde_json::Value;

use crate::{explain::fields, kind_name::Name, table::Table, text};

/// The table of resources of one kind. With `project` it has a column for it.
pub(super) fn table(kind: Kind, items: &[Resource], wide: bool, project: bool) -> Table {
    let columns = columns(kind, wide);
    let mut headings: Vec<&'static str> = columns.iter().map(|column| column.heading).collect();
    let project = project && kind != Kind::Project;
    if project {
        headings.insert(0, "PROJECT");
    }
    let mut table = Table::new(headings);
    for item in items {
        let mut cells: Vec<String> = columns.iter().map(|column| (column.cell)(item)).collect();
        if project {
            cells.insert(0, words(&item.spec["project"]));
        }
        table.row(cells);
    }
    table
}

struct Column {
    heading: &'static str,
    cell: fn(&Resource) -> String,
}

fn columns(kind: Kind, wide: bool) -> Vec<Column> {
    let column = |heading, cell| Column { heading, cell };
    let mut columns = vec![column("NAME", |r| words(&r.spec["name"]))];
    match kind {
        Kind::Project => columns.push(column("DESCRIPTION", |r| words(&r.spec["description"]))),
        Kind::Network => {
            columns.push(column("VNI", |r| words(&r.spec["vni"])));
            columns.push(column("MTU", |r| words(&r.spec["mtu"])));
            columns.push(column("SUBNETS", |r| each(&r.spec["subnets"], "cidr")));
            columns.push(column("GATEWAY", |r| each(&r.spec["subnets"], "gateway")));
            if wide {
                columns.push(column("DNS", |r| words(&r.spec["dns"])));
                columns.push(column("DOMAIN", |r| words(&r.spec["domain"])));
            }
        }
        Kind::Port => {
            columns.push(column("NETWORK", |r| words(&r.spec["network"])));
            columns.push(column("MAC", |r| words(&r.spec["mac"])));
            columns.push(column("ADDRESSES", |r| words(&r.spec["addresses"])));
            columns.push(column("DEVICE", |r| words(&r.spec["device"])));
            columns.push(column("INSTANCE", |r| words(&r.status["instance"])));
            if wide {
                columns.push(column("ALLOWED", |r| words(&r.spec["allowed"])));
            }
        }
        Kind::Instance => {
            columns.push(column("HOSTNAME", |r| words(&r.spec["hostname"])));
            columns.push(column("STATE", |r| words(&r.status["state"])));
            columns.push(column("ADDRESSES", |r| words(&r.status["addresses"])));
            columns.push(column("PORTS", |r| words(&r.spec["ports"])));
            if wide {
                columns.push(column("TOKENS", |r| words(&r.spec["tokens"])));
                columns.push(column("TYPE", |r| words(&r.spec["instance_type"])));
                columns.push(column("DIALECTS", |r| words(&r.spec["dialects"])));
                columns.push(column("CONFIGURED-MS", |r| words(&last_report(r)["configured_ms"])));
                columns.push(column("REPORTED", |r| {
                    last_report(r)["at_ms"].as_u64().map(text::timestamp).unwrap_or_default()
                }));
            }
        }
    }
    if wide {
        if kind != Kind::Project {
            columns.push(column("ID", |r| words(&r.status["id"])));
        }
        columns.push(column("REVISION", |r| r.revision.to_string()));
    }
    columns
}

/// The part of an instance's status that its guest's last report made.
fn last_report(resource: &Resource) -> &Value {
    &resource.status["report"]
}

fn each(list: &Value, field: &str) -> String {
    let items = list.as_array().map(Vec::as_slice).unwrap_or_default();
    let all: Vec<String> =
        items.iter().map(|item| words(&item[field])).filter(|word| !word.is_empty()).collect();
    all.join(",")
}

/// A value as one word or several with commas between; nothing for null.
pub(super) fn words(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// The name of a resource, as far as it keeps the rules.
pub(super) fn name(resource: &Resource) -> String {
    let name = words(&resource.spec["name"]);
    Name::new(resource.kind, None, &name).map_or_else(|_| text::line(&name), |name| name.short())
}

/// A document in YAML that can be applied: `kind` first, then the fields in their usual order.
pub(super) fn document(kind: Kind, spec: &Value) -> io::Result<String> {
    let mut fields_in_order = serde_yaml::Mapping::new();
    let mut put = |key: &str, value: &Value| -> io::Result<()> {
        let value = serde_yaml::to_value(value).map_err(io::Error::other)?;
        fields_in_order.insert(key.into(), value);
        Ok(())
    };
    put("kind", &Value::String(kind.as_str().into()))?;
    let known: Vec<&str> =
        fields::of(kind).iter().map(|f| f.path).filter(|path| !path.contains('.')).collect();
    for key in &known {
        if let Some(value) = spec.get(*key).filter(|value| !value.is_null()) {
            put(key, value)?;
        }
    }
    if let Value::Object(fields) = spec {
        for (key, value) in fields {
            if key != "kind" && !known.contains(&key.as_str()) && !value.is_null() {
                put(key, value)?;
            }
        }
    }
    let yaml = serde_yaml::to_string(&fields_in_order).map_err(io::Error::other)?;
    Ok(format!("---\n{yaml}"))
}
