//! `reset`: what a guest is asked to make anew.
//!
//! The control plane notes the ask; the guest's agent answers it later, by itself.

use mezame_model::{
    UserName,
    api::{Kind, NewPasswordReset, PasswordReset, ResetState},
};
use serde_json::Value;

use super::{Session, get};
use crate::{
    command::{ResetArguments, ResetCommand},
    exit::Exit,
    failure::Failure,
    kind_name::Name,
    text,
};

pub(super) async fn run(session: &Session<'_>, command: ResetCommand) -> Result<Exit, Failure> {
    match command {
        ResetCommand::Password(arguments) => password(session, arguments).await,
    }
}

async fn password(session: &Session<'_>, arguments: ResetArguments) -> Result<Exit, Failure> {
    let name = session.name(Kind::Instance, &arguments.name)?;
    let user = match arguments.user {
        Some(user) => user,
        None => only_user(session, &name).await?,
    };
    let what = NewPasswordReset { again: arguments.again };
    let reset = session
        .client
        .reset_password(&name, &user, &what)
        .await
        .map_err(|source| Failure::About { name: Box::new(name.clone()), source })?;
    if session.screen.is_data() {
        session.screen.print_value(&reset)?;
    } else {
        let asked = text::timestamp(reset.asked_ms);
        session.screen.say(&format!("{name} makes another password of {user}, asked for {asked}"));
    }
    Ok(Exit::Success)
}

/// The one user whose password the guest makes.
async fn only_user(session: &Session<'_>, name: &Name) -> Result<UserName, Failure> {
    let resource = get::fetch(session, name).await?.resource;
    let users = resource.spec["users"].as_array().map(Vec::as_slice).unwrap_or_default();
    let made = users.iter().filter(|user| user["password"]["generate"] == true);
    let names: Vec<&str> = made.filter_map(|user| user["name"].as_str()).collect();
    match names.as_slice() {
        [one] => Ok(UserName::parse(one)?),
        _ => {
            let users = names.iter().map(|user| text::line(user)).collect();
            Err(Failure::WhosePassword { name: Box::new(name.clone()), users })
        }
    }
}

/// The asks that an instance's guest has not answered yet.
pub(super) fn pending(status: &Value) -> Vec<PasswordReset> {
    let all: Vec<PasswordReset> =
        serde_json::from_value(status["password_resets"].clone()).unwrap_or_default();
    all.into_iter().filter(|reset| reset.state == ResetState::Pending).collect()
}
