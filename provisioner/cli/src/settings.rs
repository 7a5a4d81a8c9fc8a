//! Where the command goes and as whom: flags, then environment, then the settings file.
//!
//! The file, `~/.config/mezame/config.yaml`, holds named contexts:
//!
//! ```yaml
//! current: lab
//! contexts:
//!   lab:
//!     server: https://provisioner.lab.example:8443
//!     token_file: ~/.config/mezame/lab.token
//!     ca_file: ~/.config/mezame/lab.pem
//!     project: tenant-a
//! ```
//!
//! A token stands in a file of its own or in `MEZAME_TOKEN`, never on the command line, where
//! every user of the machine could read it.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use mezame_model::{ProjectName, SecretString};
use serde::Deserialize;

use crate::{
    client::{
        ClientSettings,
        address::{AddressError, ServerAddress},
        trust::Trust,
    },
    command::ConnectionFlags,
};

/// The variables that are read.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// `MEZAME_TOKEN`.
    pub token: Option<SecretString>,
    /// `MEZAME_PROJECT`.
    pub project: Option<String>,
    /// `XDG_CONFIG_HOME`.
    pub config_home: Option<PathBuf>,
    /// `HOME`.
    pub home: Option<PathBuf>,
}

impl Environment {
    /// Of this process.
    pub fn of_process() -> Self {
        let text = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            token: text("MEZAME_TOKEN").map(SecretString::new),
            project: text("MEZAME_PROJECT"),
            config_home: text("XDG_CONFIG_HOME").map(PathBuf::from),
            home: text("HOME").map(PathBuf::from),
        }
    }
}

/// The settings file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    current: Option<String>,
    contexts: BTreeMap<String, Context>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Context {
    server: Option<String>,
    token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    project: Option<String>,
}

/// What one run of the command works with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For the client.
    pub client: ClientSettings,
    /// The project, if one was chosen.
    pub project: Option<ProjectName>,
    /// Whether it was chosen on the command line.
    pub project_is_given: bool,
    /// What the operator should know, but may go on with.
    pub warnings: Vec<String>,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file can't be read.
    #[error("{path} can't be read")]
    Unreadable {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The settings file is not what it should be.
    #[error("{path} is not understood")]
    Form {
        /// Which one.
        path: PathBuf,
        /// Why, with line and column.
        #[source]
        source: serde_yaml::Error,
    },
    /// No context of this name.
    #[error("{path} has no context {name:?}; it has: {known}")]
    NoContext {
        /// The settings file.
        path: PathBuf,
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// The server's address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The project's name.
    #[error(transparent)]
    Project(#[from] mezame_model::IdError),
    /// A token file without a token.
    #[error("the token file {path} is empty")]
    EmptyToken {
        /// Which one.
        path: PathBuf,
    },
}

impl Settings {
    /// Puts the settings together.
    pub fn gather(
        flags: &ConnectionFlags,
        environment: &Environment,
    ) -> Result<Self, SettingsError> {
        let context = context(flags, environment)?;
        let mut warnings = Vec::new();
        let address = match (&flags.server, &context.server) {
            (Some(address), _) => address.clone(),
            (None, Some(text)) => text.parse()?,
            (None, None) => ServerAddress::default(),
        };
        let in_home = |path: &PathBuf| expand_home(path, environment);
        let token_file = flags.token_file.clone().or(context.token_file.as_ref().map(in_home));
        let token = match (&flags.token_file, &environment.token, token_file) {
            // A file that was named on the command line wins over the environment.
            (Some(path), _, _) => Some(read_token(path, &mut warnings)?),
            (None, Some(token), _) => Some(token.clone()),
            (None, None, Some(path)) => Some(read_token(&path, &mut warnings)?),
            (None, None, None) => None,
        };
        let trust = match flags.ca_file.clone().or(context.ca_file.as_ref().map(in_home)) {
            Some(path) => Trust::File(path),
            None => Trust::System,
        };
        let named = environment.project.clone().or(context.project);
        let project = match (&flags.project, named) {
            (Some(project), _) => Some(project.clone()),
            (None, Some(text)) => Some(ProjectName::parse(&text)?),
            (None, None) => None,
        };
        let timeout = flags.timeout.unwrap_or(Duration::from_secs(60));
        Ok(Self {
            client: ClientSettings { address, token, trust, timeout },
            project,
            project_is_given: flags.project.is_some(),
            warnings,
        })
    }
}

fn context(flags: &ConnectionFlags, environment: &Environment) -> Result<Context, SettingsError> {
    let default_path = environment
        .config_home
        .clone()
        .or_else(|| environment.home.as_ref().map(|home| home.join(".config")))
        .map(|config| config.join("mezame/config.yaml"));
    let (Some(path), must_exist) = (match &flags.config {
        Some(path) => (Some(path.clone()), true),
        None => (default_path, flags.context.is_some()),
    }) else {
        return Ok(Context::default());
    };
    let file: File = match fs::read_to_string(&path) {
        Ok(text) if text.trim().is_empty() => File::default(),
        Ok(text) => serde_yaml::from_str(&text)
            .map_err(|source| SettingsError::Form { path: path.clone(), source })?,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !must_exist => File::default(),
        Err(source) => return Err(SettingsError::Unreadable { path, source }),
    };
    let Some(name) = flags.context.as_ref().or(file.current.as_ref()) else {
        return Ok(Context::default());
    };
    file.contexts.get(name).cloned().ok_or_else(|| SettingsError::NoContext {
        path,
        name: name.clone(),
        known: file.contexts.keys().cloned().collect::<Vec<_>>().join(", "),
    })
}

fn expand_home(path: &Path, environment: &Environment) -> PathBuf {
    match (path.strip_prefix("~"), &environment.home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

fn read_token(path: &Path, warnings: &mut Vec<String>) -> Result<SecretString, SettingsError> {
    let unreadable = |source| SettingsError::Unreadable { path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(unreadable)?.permissions().mode();
    if mode & 0o077 != 0 {
        warnings.push(format!(
            "the token file {} can be read by others (mode {:o}); 'chmod 600' it",
            path.display(),
            mode & 0o777
        ));
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    match text.trim() {
        "" => Err(SettingsError::EmptyToken { path: path.to_owned() }),
        token => Ok(SecretString::new(token.to_owned())),
    }
}

#[cfg(test)]
mod tests;
