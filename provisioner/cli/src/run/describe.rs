//! `describe`: all about one thing, for people.

use std::fmt::Write;

use mezame_model::api::{Kind, Resource, StoredPassword, StoredReport};
use serde_json::Value;

use super::{Session, get, reports, rows};
use crate::{
    command::NamedArguments,
    exit::Exit,
    explain::fields,
    failure::Failure,
    kind_name::Name,
    screen::{Paint, paint},
    text,
};

pub(super) async fn run(session: &Session<'_>, arguments: NamedArguments) -> Result<Exit, Failure> {
    let name = session.name(arguments.kind, &arguments.name)?;
    let resource = get::fetch(session, &name).await?.resource;
    let screen = session.screen;
    if screen.is_data() {
        screen.print_value(&resource)?;
        return Ok(Exit::Success);
    }
    let mut out = format!("{}\n", heading(&name.to_string(), screen.color));
    let _ = writeln!(out, "  revision: {}", resource.revision);
    fields_of(&mut out, &resource, screen.color);
    status_of(&mut out, &resource, screen.color);
    if resource.kind == Kind::Instance {
        let stored = session.client.reports(&name).await?;
        last_report(&mut out, stored.first(), &resource, screen.color);
        let passwords = session.client.passwords(&name).await?;
        passwords_of(&mut out, &passwords, &name, screen.color);
    }
    screen.print(&out)?;
    Ok(Exit::Success)
}

fn heading(text: &str, color: bool) -> String {
    paint(color, Paint::Bold, text)
}

/// The document's fields, in the order in which they are explained.
fn fields_of(out: &mut String, resource: &Resource, color: bool) {
    let _ = writeln!(out, "\n{}", heading("Fields", color));
    let known: Vec<&str> = fields::of(resource.kind).iter().map(|field| field.path).collect();
    let mut fields: Vec<(&String, &Value)> =
        resource.spec.as_object().into_iter().flatten().collect();
    fields.sort_by_key(|(key, _)| known.iter().position(|k| k == key).unwrap_or(known.len()));
    for (key, value) in fields {
        if !matches!(key.as_str(), "kind" | "project" | "name") {
            tree(out, key, value, 1);
        }
    }
}

fn status_of(out: &mut String, resource: &Resource, color: bool) {
    if resource.status.as_object().is_some_and(|status| !status.is_empty()) {
        let _ = writeln!(out, "\n{}", heading("Status", color));
        for (key, value) in resource.status.as_object().into_iter().flatten() {
            // The last report is shown whole below.
            if !(resource.kind == Kind::Instance && key == "report") {
                tree(out, key, value, 1);
            }
        }
    }
}

/// The guest's last report, with the keys that it has told.
fn last_report(out: &mut String, last: Option<&StoredReport>, resource: &Resource, color: bool) {
    let _ = writeln!(out, "\n{}", heading("Last report", color));
    let Some(last) = last else {
        out.push_str("  none: the guest has not reported\n");
        return;
    };
    for line in reports::steps(last, color).lines() {
        let _ = writeln!(out, "  {line}");
    }
    let keys = resource.status["report"]["host_keys"].as_array();
    if let Some(keys) = keys.filter(|keys| !keys.is_empty()) {
        let _ = writeln!(out, "\n{}", heading("SSH host keys, as the guest reported", color));
        for key in keys {
            let _ = writeln!(out, "  {}", host_key(key));
        }
    }
}

fn passwords_of(out: &mut String, passwords: &[StoredPassword], name: &Name, color: bool) {
    if passwords.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", heading("Passwords", color));
    for stored in passwords {
        let _ = writeln!(
            out,
            "  {}, made {}: 'mezame get password {}' opens it",
            stored.password.user,
            text::timestamp(stored.at_ms),
            name.name
        );
    }
}

/// `ssh-ed25519 SHA256:… comment`, as `ssh-keygen -l` and ssh's first question show it. The
/// control plane has worked the fingerprint out; there is none of what is not a key.
fn host_key(key: &Value) -> String {
    let text = |field: &str| key[field].as_str().unwrap_or_default();
    let fingerprint = key["fingerprint"].as_str().unwrap_or("(not a key)");
    let comment: Vec<&str> = text("public_key").split_whitespace().skip(2).collect();
    text::line(format!("{} {fingerprint} {}", text("type"), comment.join(" ")).trim_end())
}

/// A value with what is in it, one line each.
fn tree(out: &mut String, key: &str, value: &Value, depth: usize) {
    let margin = "  ".repeat(depth);
    let key = text::line(key);
    match value {
        Value::Null => {}
        Value::Array(items) if items.is_empty() => {}
        Value::Object(fields) if fields.is_empty() => {}
        Value::Object(fields) => {
            let _ = writeln!(out, "{margin}{key}:");
            fields.iter().for_each(|(key, value)| tree(out, key, value, depth + 1));
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || is_long(item)) => {
            let _ = writeln!(out, "{margin}{key}:");
            for item in items {
                match item {
                    Value::Object(fields) => {
                        let mut inner = String::new();
                        fields.iter().for_each(|(k, value)| tree(&mut inner, k, value, depth + 2));
                        // The first line carries the item's dash.
                        let dash =
                            inner.replacen(&format!("{margin}    "), &format!("{margin}  - "), 1);
                        out.push_str(&dash);
                    }
                    other => {
                        let _ = writeln!(out, "{margin}  - {}", text::line(&rows::words(other)));
                    }
                }
            }
        }
        Value::Array(_) => {
            let words = rows::words(value).replace(',', ", ");
            let _ = writeln!(out, "{margin}{key}: {}", text::line(&words));
        }
        Value::String(long) if long.contains('\n') => {
            let _ = writeln!(out, "{margin}{key}: |");
            for line in text::lines(long).lines() {
                let _ = writeln!(out, "{}", format!("{margin}  {line}").trim_end());
            }
        }
        // Seconds since 1970, as the model has it.
        Value::Number(number) if key == "launched_at" => {
            let at = number.as_u64().unwrap_or_default().saturating_mul(1000);
            let _ = writeln!(out, "{margin}{key}: {}", text::timestamp(at));
        }
        other => {
            let _ = writeln!(out, "{margin}{key}: {}", text::line(&rows::words(other)));
        }
    }
}

fn is_long(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.len() > 40)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_host_key_is_shown_as_ssh_shows_it_and_what_is_none_without_harm() {
        let key = json!({ "type": "ssh-ed25519", "fingerprint": "SHA256:IWrM",
                          "public_key": "ssh-ed25519 AAAA root@web" });
        assert_eq!(host_key(&key), "ssh-ed25519 SHA256:IWrM root@web");
        let none = json!({ "type": "x", "fingerprint": null, "public_key": "x y \u{1b}]0;evil" });
        assert_eq!(host_key(&none), "x (not a key) \\u{1b}]0;evil");
    }
}
