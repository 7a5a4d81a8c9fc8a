//! `get password`: what a guest sealed to its user's SSH key, opened with that key.
//!
//! An age file (<https://age-encryption.org/v1>), opened here and nowhere else: the control plane
//! has only ever seen it sealed. The password goes to standard output alone, for a pipe; without a
//! key that fits, the recipient is named.

use std::{
    cmp::Reverse,
    collections::BTreeSet,
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use age::{
    Callbacks, DecryptError,
    armor::ArmoredReader,
    secrecy::SecretString,
    ssh::{Identity, UnsupportedKey},
};
use mezame_model::api::{Kind, StoredPassword};
use serde_json::json;

use super::{Session, reset};
use crate::{
    command::GetArguments, exit::Exit, failure::Failure, kind_name::Name, table::Table, text,
};

/// The longest password that is read, in bytes.
const MAX_PASSWORD: u64 = 8 << 10;

/// Why a private key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It can't be read, or is no private key.
    #[error(transparent)]
    Unreadable(#[from] io::Error),
    /// A kind of key that passwords can't be sealed to.
    #[error("it is a key that passwords can't be sealed to; ssh-ed25519 and ssh-rsa can be")]
    Unsupported,
}

pub(super) async fn run(session: &Session<'_>, arguments: &GetArguments) -> Result<Exit, Failure> {
    let instance = arguments.name.as_ref().ok_or(Failure::NoInstance)?;
    let name = session.name(Kind::Instance, instance)?;
    let mut stored = session
        .client
        .passwords(&name)
        .await
        .map_err(|source| Failure::About { name: Box::new(name.clone()), source })?;
    if let Some(user) = &arguments.user {
        stored.retain(|stored| stored.password.user.as_str() == user);
    }
    // A password that was made anew makes the one before worthless.
    stored.sort_by_key(|stored| Reverse(stored.at_ms));
    let mut known = BTreeSet::new();
    stored.retain(|stored| known.insert(stored.password.user.clone()));
    if stored.is_empty() {
        let user = arguments.user.clone();
        return Err(Failure::NoPassword { name: Box::new(name), user });
    }
    tell_of_resets(session, &name, &stored).await;
    let identities = identities(session, &arguments.identity)?;
    let mut opened = Vec::new();
    let mut failure = None;
    for stored in &stored {
        match open(stored, &identities) {
            Ok(password) => opened.push((stored, password)),
            Err(source) => {
                failure.get_or_insert(Failure::Sealed {
                    user: stored.password.user.to_string(),
                    recipient: text::line(&stored.password.recipient),
                    source,
                });
            }
        }
    }
    // One of several users' keys opens one of several passwords.
    if opened.is_empty()
        && let Some(failure) = failure
    {
        return Err(failure);
    }
    show(session, &opened)?;
    Ok(Exit::Success)
}

/// A password that another one was asked for in place of may be the guest's no more in a moment.
/// Where that can't be looked up, it is not said: the password itself was what was asked for.
async fn tell_of_resets(session: &Session<'_>, name: &Name, stored: &[StoredPassword]) {
    let Ok(tagged) = session.client.fetch(name).await else { return };
    for reset in reset::pending(&tagged.resource.status) {
        if stored.iter().any(|stored| stored.password.user == reset.user) {
            session.screen.say(&format!(
                "{}'s password is the one before: the guest has not answered the reset of {} yet",
                reset.user,
                text::timestamp(reset.asked_ms)
            ));
        }
    }
}

fn show(session: &Session<'_>, opened: &[(&StoredPassword, String)]) -> Result<(), Failure> {
    let screen = session.screen;
    if screen.is_data() {
        let all: Vec<_> = opened
            .iter()
            .map(|(stored, password)| {
                json!({ "user": stored.password.user, "at_ms": stored.at_ms, "password": password })
            })
            .collect();
        screen.print_value(&all)?;
    } else if let [(_, password)] = opened {
        screen.print(&format!("{}\n", text::line(password)))?;
    } else {
        let mut table = Table::new(["USER", "PASSWORD", "MADE"]);
        for (stored, password) in opened {
            let made = text::timestamp(stored.at_ms);
            table.row([stored.password.user.as_str(), password, &made]);
        }
        screen.print(&table.render(0))?;
    }
    Ok(())
}

/// The keys that were named, or those in their usual places.
fn identities(session: &Session<'_>, named: &[PathBuf]) -> Result<Vec<Identity>, Failure> {
    let usual: Vec<PathBuf>;
    let paths = if named.is_empty() {
        let home = session.environment.home.clone().unwrap_or_default();
        usual = ["id_ed25519", "id_rsa"]
            .iter()
            .map(|file| home.join(".ssh").join(file))
            .filter(|path| path.is_file())
            .collect();
        if usual.is_empty() {
            return Err(Failure::NoIdentity);
        }
        &usual
    } else {
        named
    };
    paths
        .iter()
        .map(|path| {
            identity(path).map_err(|source| Failure::Identity { path: path.clone(), source })
        })
        .collect()
}

fn identity(path: &Path) -> Result<Identity, IdentityError> {
    let file = BufReader::new(File::open(path)?);
    match Identity::from_buffer(file, Some(path.display().to_string()))? {
        Identity::Unsupported(
            UnsupportedKey::Type(_) | UnsupportedKey::EncryptedSsh(_) | UnsupportedKey::Hardware(_),
        ) => Err(IdentityError::Unsupported),
        identity => Ok(identity),
    }
}

fn open(stored: &StoredPassword, identities: &[Identity]) -> Result<String, DecryptError> {
    let sealed = ArmoredReader::new(stored.password.sealed.as_bytes());
    let decryptor = age::Decryptor::new_buffered(sealed)?;
    let keys: Vec<_> = identities.iter().map(|i| i.clone().with_callbacks(AskOnTerminal)).collect();
    let reader = decryptor.decrypt(keys.iter().map(|key| key as &dyn age::Identity))?;
    let mut password = String::new();
    reader.take(MAX_PASSWORD).read_to_string(&mut password)?;
    Ok(password.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks for the passphrase of an encrypted key on the terminal, never on standard input.
#[derive(Debug, Clone, Copy)]
struct AskOnTerminal;

impl Callbacks for AskOnTerminal {
    fn display_message(&self, _: &str) {}

    fn confirm(&self, _: &str, _: &str, _: Option<&str>) -> Option<bool> {
        None
    }

    fn request_public_string(&self, _: &str) -> Option<String> {
        None
    }

    fn request_passphrase(&self, description: &str) -> Option<SecretString> {
        // age wraps the path into marks that isolate its writing direction.
        let plain = description.replace(['\u{2068}', '\u{2069}'], "");
        let prompt = format!("{}: ", text::line(&plain));
        rpassword::prompt_password(prompt).ok().map(SecretString::from)
    }
}
