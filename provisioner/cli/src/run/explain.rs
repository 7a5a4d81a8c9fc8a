//! `explain`: the fields of a kind of document.

use mezame_model::api::Kind;

use crate::{
    command::ExplainArguments,
    exit::Exit,
    explain::{self, examples, fields},
    failure::Failure,
    kind_name,
    screen::Screen,
};

pub(super) fn run(arguments: &ExplainArguments, screen: &Screen) -> Result<Exit, Failure> {
    let Some(what) = &arguments.what else {
        screen.print(&explain::overview(screen.color))?;
        return Ok(Exit::Success);
    };
    let (kind, path) = what.split_once('.').unwrap_or((what, ""));
    let kind = kind_name::kind(kind)?;
    if arguments.example {
        screen.print(examples::of(kind))?;
    } else if screen.is_data() {
        screen.print_value(&as_data(kind, path))?;
    } else if path.is_empty() {
        screen.print(&explain::of_kind(kind, screen.color))?;
    } else {
        let text = explain::of_field(kind, path, screen.color).ok_or_else(|| Failure::NoField {
            kind: kind_name::lower(kind),
            path: path.to_owned(),
        })?;
        screen.print(&text)?;
    }
    Ok(Exit::Success)
}

fn as_data(kind: Kind, path: &str) -> Vec<serde_json::Value> {
    fields::of(kind)
        .iter()
        .filter(|field| field.path.starts_with(path))
        .map(|field| {
            serde_json::json!({
                "path": field.path,
                "form": field.form,
                "default": field.default,
                "limits": field.limits,
                "meaning": field.meaning,
            })
        })
        .collect()
}
