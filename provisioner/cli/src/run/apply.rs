//! `apply`: documents to the control plane, all or none.

use mezame_model::api::{Action, Applied, Change, Problem};
use serde_json::Value;

use super::Session;
use crate::{
    bundle::Bundle,
    client::{Precondition, error::ClientError},
    command::ApplyArguments,
    diff,
    exit::Exit,
    failure::Failure,
    kind_name::{Name, lower},
    screen::{Format, Paint, paint},
    seed::envelope::Item,
    table::Table,
    text,
};

pub(super) async fn run(session: &Session<'_>, arguments: ApplyArguments) -> Result<Exit, Failure> {
    let bundle = match session.load(&arguments.seeds.files, arguments.seeds.recursive)? {
        Ok(bundle) => bundle,
        Err(exit) => return Ok(exit),
    };
    if bundle.items().len() == 0 {
        session.screen.complain("mezame: the seed has no document; nothing was changed");
        return Ok(Exit::Success);
    }
    if let Some(revision) = arguments.if_revision {
        return replace(session, &bundle, Precondition::Revision(revision)).await;
    }
    let documents: Vec<Value> = bundle.items().map(|item| item.value.clone()).collect();
    match session.client.apply(documents, arguments.dry_run).await {
        Ok(applied) => show(session, &bundle, &applied, &arguments),
        Err(ClientError::Problem(problem)) if !problem.faults.is_empty() => {
            refused(session, &bundle, &problem)
        }
        Err(error) => Err(error.into()),
    }
}

fn refused(session: &Session<'_>, bundle: &Bundle, problem: &Problem) -> Result<Exit, Failure> {
    session.show_faults(&bundle.locate(&problem.faults))?;
    Ok(Exit::of_status(problem.status, true))
}

/// One document with a precondition, which only a replacement can have.
async fn replace(
    session: &Session<'_>,
    bundle: &Bundle,
    precondition: Precondition,
) -> Result<Exit, Failure> {
    let mut items = bundle.items();
    let (Some(item), 0) = (items.next(), items.len()) else {
        return Err(Failure::NotOneDocument { documents: bundle.items().len() });
    };
    let name = name_of(session, item)?;
    match session.client.replace(&name, &item.value, &precondition).await {
        Ok(resource) => {
            if session.screen.is_data() {
                session.screen.print_value(&resource)?;
            } else {
                session.screen.print(&format!("{name}: generation {}\n", resource.revision))?;
            }
            Ok(Exit::Success)
        }
        Err(ClientError::Problem(problem)) if !problem.faults.is_empty() => {
            refused(session, bundle, &problem)
        }
        Err(source) => Err(Failure::About { name: Box::new(name), source }),
    }
}

/// The name in a document, checked by the rule of its kind.
pub(super) fn name_of(session: &Session<'_>, item: &Item) -> Result<Name, Failure> {
    let project = match (&item.project, item.kind) {
        (_, mezame_model::api::Kind::Project) => None,
        (Some(project), _) => Some(mezame_model::ProjectName::parse(project)?),
        (None, _) => Some(session.project()?.clone()),
    };
    Ok(Name::new(item.kind, project, item.name.as_deref().unwrap_or_default())?)
}

fn show(
    session: &Session<'_>,
    bundle: &Bundle,
    applied: &Applied,
    arguments: &ApplyArguments,
) -> Result<Exit, Failure> {
    let screen = session.screen;
    match screen.format {
        Format::Json | Format::Yaml => screen.print_value(applied)?,
        Format::Name => {
            let names: String = applied
                .changes
                .iter()
                .map(|c| format!("{}/{}\n", lower(c.kind), text::line(&c.name)))
                .collect();
            screen.print(&names)?;
        }
        Format::Seed => {
            for item in bundle.items() {
                screen.print(&super::rows::document(item.kind, &item.value)?)?;
            }
        }
        Format::Table | Format::Wide if arguments.dry_run => {
            let sent: Vec<&Value> = bundle.items().map(|item| &item.value).collect();
            screen.print(&diff::render(applied, &sent, screen.color))?;
        }
        Format::Table | Format::Wide => screen.print(&table(session, &applied.changes))?,
    }
    let summary = diff::summary(applied, arguments.dry_run);
    screen.say(&if arguments.dry_run {
        format!("{summary}; nothing was changed (dry run)")
    } else {
        format!("{summary}; generation {}", applied.generation)
    });
    let differs = arguments.dry_run && arguments.exit_code && diff::differs(applied);
    Ok(if differs { Exit::Differs } else { Exit::Success })
}

fn table(session: &Session<'_>, changes: &[Change]) -> String {
    let mut table = Table::new(["ACTION", "KIND", "PROJECT", "NAME", "FIELDS"]);
    for change in changes {
        let action = match change.action {
            Action::Created => "created",
            Action::Updated => "updated",
            Action::Unchanged => "unchanged",
        };
        let fields = match change.action {
            Action::Updated => {
                let paths: Vec<&str> = change.fields.iter().map(|f| f.path.as_str()).collect();
                paths.join(",")
            }
            _ => String::new(),
        };
        table.row([
            action,
            lower(change.kind),
            change.project.as_deref().unwrap_or_default(),
            &change.name,
            &fields,
        ]);
    }
    color_actions(&table.render(0), session.screen.color)
}

fn color_actions(table: &str, color: bool) -> String {
    table
        .split_inclusive('\n')
        .map(|line| match line.split(' ').next() {
            Some("created") => paint(color, Paint::Green, line.trim_end()) + "\n",
            Some("updated") => paint(color, Paint::Yellow, line.trim_end()) + "\n",
            Some("unchanged") => paint(color, Paint::Dim, line.trim_end()) + "\n",
            _ => line.to_owned(),
        })
        .collect()
}
