//! `delete`: one thing, or what documents describe, those that refer to others first.

use std::cmp::Reverse;

use mezame_model::api::Kind;

use super::{Session, apply::name_of};
use crate::{
    bundle::Bundle,
    client::{Precondition, error::ClientError},
    command::DeleteArguments,
    exit::Exit,
    failure::Failure,
    kind_name::Name,
    screen::Format,
    seed::envelope::Item,
};

pub(super) async fn run(
    session: &Session<'_>,
    arguments: DeleteArguments,
) -> Result<Exit, Failure> {
    let (names, precondition) = match (arguments.kind, &arguments.name) {
        (Some(kind), Some(name)) => {
            let precondition =
                arguments.if_revision.map_or(Precondition::Exists, Precondition::Revision);
            (vec![session.name(kind, name)?], precondition)
        }
        _ => match session.load(&arguments.seeds.files, arguments.seeds.recursive)? {
            Ok(bundle) => (in_order(session, &bundle)?, Precondition::Exists),
            Err(exit) => return Ok(exit),
        },
    };
    let mut exit = Exit::Success;
    for name in names {
        match session.client.delete(&name, &precondition).await {
            Ok(()) => say(session, &name, "deleted")?,
            Err(ClientError::Problem(problem)) if problem.status == 404 => {
                if !arguments.ignore_missing {
                    exit = Exit::NotFound;
                }
                say(session, &name, "not there")?;
            }
            Err(source) => {
                let failure = Failure::About { name: Box::new(name), source };
                // Of many, the others can still go; but not without a server.
                if failure.exit() == Exit::Unreachable {
                    return Err(failure);
                }
                failure.show(session.screen);
                exit = failure.exit();
            }
        }
    }
    Ok(exit)
}

fn in_order(session: &Session<'_>, bundle: &Bundle) -> Result<Vec<Name>, Failure> {
    let mut items: Vec<&Item> = bundle.items().collect();
    // Within a kind the last of the seed first, as it was the last to be made.
    items.reverse();
    items.sort_by_key(|item| Reverse(item.kind));
    items.into_iter().map(|item| name_of(session, item)).collect()
}

fn say(session: &Session<'_>, name: &Name, what: &str) -> Result<(), Failure> {
    let screen = session.screen;
    match screen.format {
        Format::Json => screen.print(&format!(
            "{}\n",
            serde_json::json!({
                "kind": name.kind,
                "project": name.project,
                "name": name.name,
                "result": what,
            })
        ))?,
        Format::Name => screen.print(&format!("{}\n", name.short()))?,
        _ => screen.print(&format!("{name} {what}\n"))?,
    }
    Ok(())
}

/// What refers to a resource must go before it; kinds are declared in that order.
const _: () = assert!((Kind::Project as u8) < (Kind::Instance as u8));
