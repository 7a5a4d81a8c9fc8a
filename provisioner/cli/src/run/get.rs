//! `get`: things in a table, or as data.

use mezame_model::{
    ProjectName,
    api::{Kind, List, Resource},
};

use super::{Session, password, rows};
use crate::{
    command::{GetArguments, GetKind},
    exit::Exit,
    failure::Failure,
    kind_name::{Name, lower},
    screen::Format,
};

pub(super) async fn run(session: &Session<'_>, arguments: GetArguments) -> Result<Exit, Failure> {
    let kind = match arguments.kind {
        GetKind::Resource(kind) => kind,
        GetKind::Password => return password::run(session, &arguments).await,
    };
    if let Some(name) = &arguments.name {
        let name = session.name(kind, name)?;
        let tagged = fetch(session, &name).await?;
        show(session, kind, std::slice::from_ref(&tagged.resource), false, Some(&tagged.resource))?;
        return Ok(Exit::Success);
    }
    let list = if arguments.all_projects && kind != Kind::Project {
        of_all_projects(session, kind).await?
    } else {
        let project = if kind == Kind::Project { None } else { Some(session.project()?) };
        session.client.list(kind, project).await?
    };
    if session.screen.is_data() {
        session.screen.print_value(&list)?;
    } else {
        show(session, kind, &list.items, arguments.all_projects, None)?;
        if list.items.is_empty() {
            session.screen.say(&format!("there are no {}", kind.plural()));
        }
    }
    Ok(Exit::Success)
}

/// One thing, with its name in the failure.
pub(super) async fn fetch(
    session: &Session<'_>,
    name: &Name,
) -> Result<crate::client::Tagged, Failure> {
    session
        .client
        .fetch(name)
        .await
        .map_err(|source| Failure::About { name: Box::new(name.clone()), source })
}

async fn of_all_projects(session: &Session<'_>, kind: Kind) -> Result<List, Failure> {
    let projects = session.client.list(Kind::Project, None).await?;
    let mut all = List { items: Vec::new(), generation: projects.generation };
    for project in &projects.items {
        let name = ProjectName::parse(&rows::words(&project.spec["name"]))?;
        let mut list = session.client.list(kind, Some(&name)).await?;
        all.generation = all.generation.max(list.generation);
        all.items.append(&mut list.items);
    }
    Ok(all)
}

fn show(
    session: &Session<'_>,
    kind: Kind,
    items: &[Resource],
    with_project: bool,
    single: Option<&Resource>,
) -> Result<(), Failure> {
    let screen = session.screen;
    match (screen.format, single) {
        (Format::Json | Format::Yaml, Some(resource)) => screen.print_value(resource)?,
        (Format::Json | Format::Yaml, None) => screen.print_value(&items)?,
        (Format::Name, _) => {
            let names: String = items.iter().map(|item| rows::name(item) + "\n").collect();
            screen.print(&names)?;
        }
        (Format::Seed, _) => {
            let mut documents = String::new();
            for item in items {
                documents += &rows::document(kind, &item.spec)?;
            }
            screen.print(&documents)?;
            if documents.contains("(sealed)") {
                screen.say(&format!(
                    "'(sealed)' stands for secrets: applied to the same {} it keeps them; for a \
                     new one they must be written",
                    lower(kind)
                ));
            }
        }
        (format @ (Format::Table | Format::Wide), _) => {
            let table = rows::table(kind, items, format == Format::Wide, with_project);
            if !table.is_empty() {
                screen.print(&table.render(0))?;
            }
        }
    }
    Ok(())
}
