//! What applying did or would do, field by field, as people read diffs: `-` before, `+` after.

use std::fmt::Write;

use mezame_model::api::{Action, Applied, Change, Kind};
use serde_json::Value;

use crate::{
    screen::{Paint, paint},
    seed::mask,
    text,
};

/// How many lines of a long text are shown.
const MAX_LINES: usize = 40;

/// The diff of all changes. `documents` are what was sent, in the changes' order; a new thing is
/// shown by its own fields.
pub fn render(applied: &Applied, documents: &[&Value], color: bool) -> String {
    let mut out = String::new();
    for (at, change) in applied.changes.iter().enumerate() {
        let (mark, colour) = match change.action {
            Action::Created => ("+", Paint::Green),
            Action::Updated => ("~", Paint::Yellow),
            Action::Unchanged => ("=", Paint::Dim),
        };
        let heading = format!("{mark} {} {}", change.kind.as_str(), full_name(change));
        let _ = writeln!(out, "{}", paint(color, colour, &heading));
        match change.action {
            Action::Created => created(&mut out, change, documents.get(at).copied(), color),
            Action::Updated => {
                for field in &change.fields {
                    write_value(&mut out, '-', &field.path, &field.before, color);
                    write_value(&mut out, '+', &field.path, &field.after, color);
                }
            }
            Action::Unchanged => {}
        }
    }
    out
}

/// `2 created, 1 updated, 3 unchanged`, or `to create` and so on for a dry run.
pub fn summary(applied: &Applied, dry_run: bool) -> String {
    let count = |action| applied.changes.iter().filter(|c| c.action == action).count();
    let words = if dry_run { ["to create", "to update"] } else { ["created", "updated"] };
    format!(
        "{} {}, {} {}, {} unchanged",
        count(Action::Created),
        words[0],
        count(Action::Updated),
        words[1],
        count(Action::Unchanged)
    )
}

/// Whether anything differs.
pub fn differs(applied: &Applied) -> bool {
    applied.changes.iter().any(|change| change.action != Action::Unchanged)
}

fn full_name(change: &Change) -> String {
    match &change.project {
        Some(project) if change.kind != Kind::Project => {
            text::line(&format!("{project}/{}", change.name))
        }
        _ => text::line(&change.name),
    }
}

fn created(out: &mut String, change: &Change, document: Option<&Value>, color: bool) {
    if !change.fields.is_empty() {
        for field in &change.fields {
            write_value(out, '+', &field.path, &field.after, color);
        }
        return;
    }
    if let Some(Value::Object(fields)) = document {
        for (key, value) in fields {
            if !matches!(key.as_str(), "kind" | "project" | "name") {
                write_value(out, '+', key, value, color);
            }
        }
    }
}

/// A value as lines of `path: text`. What is null was not there, so it has no line.
fn write_value(out: &mut String, mark: char, path: &str, value: &Value, color: bool) {
    let mut lines = Vec::new();
    flatten(path, value, &mut lines);
    for line in lines {
        let colour = if mark == '-' { Paint::Red } else { Paint::Green };
        let _ = writeln!(out, "{}", paint(color, colour, &format!("{mark}     {line}")));
    }
}

fn flatten(path: &str, value: &Value, lines: &mut Vec<String>) {
    match value {
        Value::Null => {}
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                flatten(&format!("{path}.{key}"), value, lines);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, item) in items.iter().enumerate() {
                flatten(&format!("{path}[{at}]"), item, lines);
            }
        }
        _ if mask::is_hidden_path(path) && !is_telling_nothing(value) => {
            lines.push(format!("{}: {}", text::line(path), hidden(path, value)));
        }
        Value::String(long) if long.contains('\n') => {
            lines.push(format!("{}:", text::line(path)));
            let all = long.lines().count();
            lines.extend(long.lines().take(MAX_LINES).map(|l| format!("  {}", text::line(l))));
            if all > MAX_LINES {
                lines.push(format!("  … {} more", text::count(all - MAX_LINES, "line")));
            }
        }
        Value::String(short) => lines.push(format!("{}: {}", text::line(path), text::line(short))),
        other => lines.push(format!("{}: {other}", text::line(path))),
    }
}

/// What the control plane already hid, and flags.
fn is_telling_nothing(value: &Value) -> bool {
    match value {
        Value::String(text) => text.starts_with('(') && text.ends_with(')'),
        Value::Bool(_) => true,
        _ => false,
    }
}

fn hidden(path: &str, value: &Value) -> String {
    match value {
        Value::String(text) if path.starts_with("user_data") || path.starts_with("vendor_data") => {
            format!("({})", text::count(text.len(), "byte"))
        }
        _ => "(hidden)".into(),
    }
}
