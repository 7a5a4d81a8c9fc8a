//! The commands that are one call: ports' devices, keys, certificate, versions.

use mezame_model::api::{Device, Kind};

use super::Session;
use crate::{
    command::{KeysCommand, PortCommand, RotatedKey},
    exit::Exit,
    failure::Failure,
    text,
};

pub(super) async fn port(session: &Session<'_>, command: PortCommand) -> Result<Exit, Failure> {
    let (port, device) = match command {
        PortCommand::Attach { port, device } => (port, Some(Device { device: device.to_string() })),
        PortCommand::Detach { port } => (port, None),
    };
    let name = session.name(Kind::Port, &port)?;
    let resource = session
        .client
        .set_device(&name, device.as_ref())
        .await
        .map_err(|source| Failure::About { name: Box::new(name.clone()), source })?;
    let screen = session.screen;
    match (&resource, &device) {
        (Some(resource), _) if screen.is_data() => screen.print_value(resource)?,
        (_, Some(device)) => screen.print(&format!("{name} is at {}\n", device.device))?,
        (_, None) => screen.print(&format!("{name} is at the tap of its own name\n"))?,
    }
    Ok(Exit::Success)
}

pub(super) async fn keys(session: &Session<'_>, command: KeysCommand) -> Result<Exit, Failure> {
    let KeysCommand::Rotate { key } = command;
    let (path, done) = match key {
        RotatedKey::Sealing => ("sealing", "secrets are sealed with a new key"),
        RotatedKey::Tokens => ("tokens", "session tokens are sealed with a new key"),
    };
    session.client.rotate(path).await?;
    session.screen.say(done);
    Ok(Exit::Success)
}

pub(super) async fn certificate(session: &Session<'_>) -> Result<Exit, Failure> {
    let pem = session.client.identity_certificate().await?;
    session.screen.print(&text::lines(&String::from_utf8_lossy(&pem)))?;
    Ok(Exit::Success)
}

pub(super) async fn version(session: &Session<'_>) -> Result<Exit, Failure> {
    let own = env!("CARGO_PKG_VERSION");
    let screen = session.screen;
    let server = session.client.version().await;
    if screen.is_data() {
        let server = server?;
        screen.print_value(&serde_json::json!({ "client": own, "server": server }))?;
        return Ok(Exit::Success);
    }
    screen.print(&format!("mezame {own}\n"))?;
    let server = server?;
    let shown = match server.get("version").and_then(serde_json::Value::as_str) {
        Some(version) => version.to_owned(),
        None => server.to_string(),
    };
    screen.print(&format!("provisioner {}\n", text::line(&shown)))?;
    Ok(Exit::Success)
}

pub(super) async fn whoami(session: &Session<'_>) -> Result<Exit, Failure> {
    let caller = session.client.whoami().await?;
    let screen = session.screen;
    if screen.is_data() {
        screen.print_value(&caller)?;
    } else {
        let text_of = |field: &str| caller[field].as_str().map(text::line).unwrap_or_default();
        screen.print(&format!("{}, who may {}\n", text_of("name"), text_of("role")))?;
    }
    Ok(Exit::Success)
}
