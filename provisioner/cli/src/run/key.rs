//! `key`: the keys of an instance's encrypted volumes.
//!
//! A key is made here and not by the control plane, which takes keys in and never tells one. It is
//! written to its file before the control plane has it, and taken away again if that refuses it: a
//! key that is kept and that nobody has would open nothing.

use std::{
    fs,
    io::{self, IsTerminal, Read, Write},
    path::Path,
};

use mezame_model::{
    SecretBytes, VolumeKey,
    api::{Kind, NewVersion, NewVolumeKey, Revocation, StoredKeyRequest, VolumeKeyView},
    volume_key::KeyOutcome,
};

use super::{Session, disk};
use crate::{
    client::error::ClientError,
    command::{CreateArguments, KeyCommand, KeyName, KeySource, RotateArguments},
    exit::Exit,
    failure::Failure,
    kind_name::Name,
    table::Table,
    text,
};

/// Standard input and output, on the command line.
const STREAM: &str = "-";
/// What a random key is made of, in bytes.
const RANDOM_BYTES: usize = 32;

pub(super) async fn run(session: &Session<'_>, command: KeyCommand) -> Result<Exit, Failure> {
    match command {
        KeyCommand::Create(arguments) => create(session, arguments).await,
        KeyCommand::Rotate(arguments) => rotate(session, arguments).await,
        KeyCommand::Revoke { key, version } => {
            let name = session.name(Kind::Instance, &key.instance)?;
            let what = Revocation { version };
            let shown = about(&name, session.client.revoke_key(&name, &key.key, &what).await)?;
            let done = match version {
                Some(version) => format!("version {version} of {} of {name} is forgotten", key.key),
                None => format!("{} of {name} is given out no more", key.key),
            };
            show_one(session, &shown, &done)
        }
        KeyCommand::Restore(key) => {
            let name = session.name(Kind::Instance, &key.instance)?;
            let shown = about(&name, session.client.restore_key(&name, &key.key).await)?;
            show_one(session, &shown, &format!("{} of {name} is given out again", key.key))
        }
        KeyCommand::Destroy { key, .. } => {
            let name = session.name(Kind::Instance, &key.instance)?;
            about(&name, session.client.destroy_key(&name, &key.key).await)?;
            session.screen.say(&format!("{} of {name} is forgotten", key.key));
            Ok(Exit::Success)
        }
        KeyCommand::List { instance } => list(session, &instance).await,
        KeyCommand::Audit { instance, key } => {
            let name = session.name(Kind::Instance, &instance)?;
            let mut requests = about(&name, session.client.key_requests(&name).await)?;
            requests.retain(|it| key.as_ref().is_none_or(|key| it.request.volume == *key));
            audit(session, &name, &requests)
        }
    }
}

async fn create(session: &Session<'_>, arguments: CreateArguments) -> Result<Exit, Failure> {
    let CreateArguments { key: KeyName { instance, key }, source, once, window, until } = arguments;
    let name = session.name(Kind::Instance, &instance)?;
    let given = Given::of(&source)?;
    let window = window.map(|window| u32::try_from(window.as_secs()).unwrap_or(u32::MAX));
    let new = NewVolumeKey {
        name: key.clone(),
        key: given.bytes.clone(),
        once: once.0,
        window_seconds: window,
        not_after: until,
    };
    let shown = given.unless_refused(session.client.create_key(&name, &new).await, &name)?;
    given.tell()?;
    if given.is_on_stdout() {
        return Ok(Exit::Success);
    }
    show_one(session, &shown, &format!("{name} has the key {key}, version 1"))
}

async fn rotate(session: &Session<'_>, arguments: RotateArguments) -> Result<Exit, Failure> {
    let RotateArguments { key: KeyName { instance, key }, source } = arguments;
    let name = session.name(Kind::Instance, &instance)?;
    let given = Given::of(&source)?;
    let new = NewVersion { key: given.bytes.clone() };
    let call = session.client.rotate_key(&name, &key, &new).await;
    let shown = given.unless_refused(call, &name)?;
    given.tell()?;
    if given.is_on_stdout() {
        return Ok(Exit::Success);
    }
    let versions: Vec<String> = shown.versions.iter().map(u32::to_string).collect();
    let versions = versions.join(" and ");
    show_one(session, &shown, &format!("{key} of {name} has the versions {versions}"))
}

/// A key, and where it is to be found from now on.
struct Given<'a> {
    bytes: SecretBytes,
    to: Option<&'a Path>,
}

impl<'a> Given<'a> {
    /// Reads it, or makes it and writes it into its file.
    fn of(source: &'a KeySource) -> Result<Self, Failure> {
        if let Some(path) = &source.key_file {
            return Ok(Self { bytes: read(path)?, to: None });
        }
        let bytes = make()?;
        let to = source.to.as_deref().unwrap_or(Path::new(STREAM));
        if to.as_os_str() != STREAM {
            disk::check(to, false)?;
            disk::write(to, bytes.expose(), false)?;
        }
        Ok(Self { bytes, to: Some(to) })
    }

    fn is_on_stdout(&self) -> bool {
        self.to.is_some_and(|to| to.as_os_str() == STREAM)
    }

    /// What the control plane answered. Where it refused the key, the key's file goes.
    fn unless_refused<T>(&self, answer: Result<T, ClientError>, name: &Name) -> Result<T, Failure> {
        // Where the answer was lost, the control plane may have the key; then the file is needed.
        let refused = matches!(&answer, Err(ClientError::Problem(problem)) if problem.status < 500);
        if refused && let Some(path) = self.to.filter(|to| to.as_os_str() != STREAM) {
            // What is left of it opens nothing.
            let _ = fs::remove_file(path);
        }
        about(name, answer)
    }

    /// Writes it to standard output, if it goes there.
    fn tell(&self) -> Result<(), Failure> {
        if !self.is_on_stdout() {
            return Ok(());
        }
        let mut out = io::stdout().lock();
        out.write_all(self.bytes.expose())?;
        // A program gets the key and nothing else.
        if out.is_terminal() {
            out.write_all(b"\n")?;
        }
        out.flush()?;
        Ok(())
    }
}

/// A random key, as hexadecimal digits.
fn make() -> Result<SecretBytes, Failure> {
    use std::fmt::Write;
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::Random(io::Error::other(error.to_string())))?;
    let mut text = String::with_capacity(2 * RANDOM_BYTES);
    for byte in random {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(SecretBytes::new(text.into_bytes()))
}

fn read(path: &Path) -> Result<SecretBytes, Failure> {
    // One byte more than is taken, so that the control plane's refusal is heard and nothing is cut.
    let most = VolumeKey::LENGTH_MAX as u64 + 1;
    let mut bytes = Vec::with_capacity(VolumeKey::LENGTH_MAX + 1);
    let read = if path.as_os_str() == STREAM {
        io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    read.map_err(|source| Failure::KeyFile { path: path.into(), source })?;
    Ok(SecretBytes::new(bytes))
}

async fn list(session: &Session<'_>, instance: &str) -> Result<Exit, Failure> {
    let name = session.name(Kind::Instance, instance)?;
    let keys = about(&name, session.client.volume_keys(&name).await)?;
    let screen = session.screen;
    if screen.is_data() {
        screen.print_value(&keys)?;
    } else if keys.is_empty() {
        screen.say(&format!("{name} has no keys of volumes"));
    } else {
        let mut table = Table::new(["KEY", "STATE", "VERSIONS", "ONCE", "WINDOW", "UNTIL"]);
        for key in &keys {
            let versions: Vec<String> = key.versions.iter().map(u32::to_string).collect();
            let window = key.window_seconds.map(|seconds| format!("{seconds}s"));
            let until = key.not_after.map(|at| text::timestamp(at.saturating_mul(1000)));
            table.row([
                key.name.as_str(),
                key.state.as_str(),
                &versions.join(","),
                key.once.as_str(),
                &window.unwrap_or_default(),
                &until.unwrap_or_default(),
            ]);
        }
        screen.print(&table.render(0))?;
    }
    Ok(Exit::Success)
}

fn audit(
    session: &Session<'_>,
    name: &Name,
    requests: &[StoredKeyRequest],
) -> Result<Exit, Failure> {
    let screen = session.screen;
    if screen.is_data() {
        screen.print_value(&requests)?;
        return Ok(Exit::Success);
    }
    if requests.is_empty() {
        screen.say(&format!("the guest of {name} has asked for no key"));
        return Ok(Exit::Success);
    }
    let mut table = Table::new(["AT", "KEY", "OUTCOME", "PORT", "START", "BOOT"]);
    for stored in requests {
        let request = &stored.request;
        let outcome = match &request.outcome {
            KeyOutcome::Released(versions) => {
                let versions: Vec<String> = versions.iter().map(u32::to_string).collect();
                format!("released {}", versions.join(","))
            }
            KeyOutcome::Withheld(why) => format!("withheld: {}", why.code()),
        };
        // Enough to see which are the same.
        let short = |digest: &dyn std::fmt::Display| digest.to_string()[..8].to_owned();
        table.row([
            text::timestamp(stored.at_ms).as_str(),
            request.volume.as_str(),
            &outcome,
            stored.port.as_str(),
            &short(&request.start),
            &short(&request.boot),
        ]);
    }
    screen.print(&table.render(0))?;
    Ok(Exit::Success)
}

fn show_one(session: &Session<'_>, shown: &VolumeKeyView, done: &str) -> Result<Exit, Failure> {
    if session.screen.is_data() {
        session.screen.print_value(shown)?;
    } else {
        session.screen.say(done);
    }
    Ok(Exit::Success)
}

fn about<T>(name: &Name, answer: Result<T, ClientError>) -> Result<T, Failure> {
    answer.map_err(|source| Failure::About { name: Box::new(name.clone()), source })
}
