//! What each field of a document means: help that works without a server.
//!
//! The tables are in [`fields`]; that no field is missing there, and that every example is valid,
//! the tests check against the control plane itself.

pub mod examples;
pub mod fields;

use std::fmt::Write;

use mezame_model::api::Kind;

use crate::{
    kind_name,
    screen::{Paint, paint},
};

/// A field of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// With dots between a field and those in it: `users.password.hash`.
    pub path: &'static str,
    /// What is written there.
    pub form: &'static str,
    /// What holds where it is left out; `required` where it can't be.
    pub default: &'static str,
    /// What values are taken; empty where the form says it.
    pub limits: &'static str,
    /// What it is for.
    pub meaning: &'static str,
}

/// What a kind is for, in a sentence or two.
pub fn meaning(kind: Kind) -> &'static str {
    match kind {
        Kind::Project => "A tenant. Everything else lies in a project, and names are unique in it.",
        Kind::Network => {
            "A tenant's layer-2 network. Two networks may have the same addresses: the VNI tells \
             them apart."
        }
        Kind::Port => {
            "A guest's attachment to a network, and the identity by which its requests for \
             metadata are answered."
        }
        Kind::Instance => {
            "A guest: what it is told about itself, and how it may ask. Its ports tell where it is."
        }
    }
}

/// Whether a kind has the field that a fault's path names. Numbers and keys of maps are passed
/// over: `users[0].name` is `users.name`.
pub fn knows(kind: Kind, path: &str) -> bool {
    let plain = without_numbers(path);
    plain.is_empty()
        || fields::of(kind).iter().any(|field| {
            field.path == plain
                || (field.form.starts_with("map")
                    && plain.strip_prefix(field.path).is_some_and(|rest| rest.starts_with('.')))
        })
}

fn without_numbers(path: &str) -> String {
    let mut plain = String::new();
    let mut depth = 0u32;
    for c in path.chars() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ if depth == 0 => plain.push(c),
            _ => {}
        }
    }
    plain
}

/// The kinds, for `explain` without an argument.
pub fn overview(color: bool) -> String {
    let mut out = String::from("A seed is made of documents of these kinds:\n\n");
    for kind in Kind::ALL {
        let name = paint(color, Paint::Bold, &format!("{:<9}", kind.as_str()));
        let _ = writeln!(out, "  {name} {}", meaning(kind));
    }
    out.push_str("\n'mezame explain instance' shows the fields of a kind and an example.\n");
    out
}

/// All fields of a kind and an example.
pub fn of_kind(kind: Kind, color: bool) -> String {
    let mut out = format!(
        "{}\n  {}\n\n{}\n",
        paint(color, Paint::Bold, kind.as_str()),
        meaning(kind),
        paint(color, Paint::Bold, "Fields")
    );
    for field in fields::of(kind) {
        write_field(&mut out, field, color);
    }
    let _ = writeln!(out, "{}", paint(color, Paint::Bold, "Example"));
    for line in examples::of(kind).lines() {
        let _ = writeln!(out, "{}", format!("  {line}").trim_end());
    }
    out
}

/// One field and those in it; none if the kind has no such field.
pub fn of_field(kind: Kind, path: &str, color: bool) -> Option<String> {
    let path = without_numbers(path);
    let mut out = String::new();
    for field in fields::of(kind) {
        let is_below = field.path.strip_prefix(&path).is_some_and(|rest| rest.starts_with('.'));
        if field.path == path || is_below {
            write_field(&mut out, field, color);
        }
    }
    (!out.is_empty())
        .then(|| format!("{}\n{out}", paint(color, Paint::Bold, kind_name::lower(kind))))
}

fn write_field(out: &mut String, field: &Field, color: bool) {
    let depth = field.path.matches('.').count();
    let margin = "  ".repeat(depth + 1);
    let name = field.path.rsplit('.').next().unwrap_or(field.path);
    let default = match field.default {
        "required" => paint(color, Paint::Yellow, "required"),
        "" => "optional".into(),
        default => format!("default: {default}"),
    };
    let name = paint(color, Paint::Bold, name);
    let _ = writeln!(out, "{margin}{name}  <{}>  {default}", field.form);
    let _ = writeln!(out, "{margin}    {}", field.meaning);
    if !field.limits.is_empty() {
        let _ = writeln!(out, "{margin}    Limits: {}", field.limits);
    }
    out.push('\n');
}

#[cfg(test)]
mod tests;
