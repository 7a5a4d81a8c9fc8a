//! The agent's settings: what the image's maker chose, and what the command line says.
//!
//! `/etc/mezame/guest-agent.yaml`, all keys optional:
//!
//! ```yaml
//! endpoint: http://169.254.169.254   # where the metadata service is, and nowhere else
//! default_user: root                 # whom the instance's own keys are for
//! follow_includes: false             # whether '#include' lists in user-data are fetched
//! script_timeout: 3600               # seconds until a script is ended; 0: never
//! link_local_probe: fast             # or rfc3927: its waiting times of several seconds
//! configure_network: true            # whether addresses of the document are applied
//! ```
//! An unknown key is an error: a typing mistake must not pass for a setting.

use std::{path::PathBuf, time::Duration};

use crate::{
    account::is_account_name,
    endpoint::{Endpoint, EndpointError},
    user_data::yaml::{self, Node, YamlError},
};

/// The file's place.
pub const PATH: &str = "/etc/mezame/guest-agent.yaml";
/// Where the agent keeps its state, inside the root.
pub const STATE: &str = "var/lib/mezame-agent";

/// How link-local addresses are claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbePace {
    /// Three probes within about a tenth of a second: enough for an address that is used to
    /// reach one on-link service for seconds.
    Fast,
    /// RFC 3927, section 9: one to seven seconds.
    Rfc3927,
}

/// Why the settings are not taken.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file can't be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is no YAML.
    #[error("the settings are not valid YAML: {0}")]
    Yaml(#[from] YamlError),
    /// A key that is not known.
    #[error("unknown setting {0:?}")]
    UnknownKey(String),
    /// A value of the wrong form.
    #[error("the setting {key} must be {wanted}")]
    Value {
        /// Which.
        key: &'static str,
        /// What is wanted.
        wanted: &'static str,
    },
    /// No address of an endpoint.
    #[error("the setting endpoint: {0}")]
    Endpoint(#[from] EndpointError),
}

/// How the agent is to behave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the metadata service is; none: at its link-local addresses, through any device.
    pub endpoint: Option<Endpoint>,
    /// `/` in a guest; another directory in a rehearsal, where the running system is left alone.
    pub root: PathBuf,
    /// Whom the instance's own keys are for.
    pub default_user: String,
    /// Whether `#include` lists are fetched.
    pub follow_includes: bool,
    /// When a script is ended; none: never.
    pub script_timeout: Option<Duration>,
    /// How link-local addresses are claimed.
    pub probe_pace: ProbePace,
    /// Whether the document's addresses are applied.
    pub configure_network: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoint: None,
            root: PathBuf::from("/"),
            default_user: "root".into(),
            follow_includes: false,
            script_timeout: Some(Duration::from_secs(3600)),
            probe_pace: ProbePace::Fast,
            configure_network: true,
        }
    }
}

impl Settings {
    /// Reads the file below a root; without one, the defaults.
    pub fn load(root: PathBuf) -> Result<Self, SettingsError> {
        let path = root.join(PATH.trim_start_matches('/'));
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(SettingsError::Read { path, source }),
        };
        Self { root, ..Self::default() }.with(&text)
    }

    /// The settings with what a text says in place of the defaults.
    pub fn with(mut self, text: &[u8]) -> Result<Self, SettingsError> {
        let entries = match yaml::parse(text)? {
            Node::Mapping(entries) => entries,
            Node::Null => Vec::new(),
            _ => return Err(SettingsError::Value { key: "(all)", wanted: "a mapping" }),
        };
        for (key, node) in &entries {
            let truth =
                |key| node.as_bool().ok_or(SettingsError::Value { key, wanted: "true or false" });
            let text = node.as_text().unwrap_or_default();
            match key.as_str() {
                "endpoint" => self.endpoint = Some(text.parse()?),
                "default_user" if is_account_name(text) => self.default_user = text.to_owned(),
                "default_user" => {
                    let wanted = crate::account::NAME_RULE;
                    return Err(SettingsError::Value { key: "default_user", wanted });
                }
                "follow_includes" => self.follow_includes = truth("follow_includes")?,
                "configure_network" => self.configure_network = truth("configure_network")?,
                "script_timeout" => {
                    let wanted = "a number of seconds";
                    let seconds: u64 = text
                        .parse()
                        .map_err(|_| SettingsError::Value { key: "script_timeout", wanted })?;
                    self.script_timeout = (seconds > 0).then(|| Duration::from_secs(seconds));
                }
                "link_local_probe" => {
                    self.probe_pace = match text {
                        "fast" => ProbePace::Fast,
                        "rfc3927" => ProbePace::Rfc3927,
                        _ => {
                            let wanted = "fast or rfc3927";
                            return Err(SettingsError::Value { key: "link_local_probe", wanted });
                        }
                    };
                }
                _ => return Err(SettingsError::UnknownKey(key.chars().take(80).collect())),
            }
        }
        Ok(self)
    }

    /// Whether this is the running system and not a directory to rehearse in.
    pub fn is_live(&self) -> bool {
        self.root == std::path::Path::new("/")
    }

    /// Where the agent keeps its state.
    pub fn state(&self) -> PathBuf {
        self.root.join(STATE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_read_and_a_typing_mistake_is_refused() {
        let text = b"endpoint: http://127.0.0.1:8080\ndefault_user: ops\nfollow_includes: yes\n\
            script_timeout: 0\nlink_local_probe: rfc3927\nconfigure_network: off\n";
        let settings = Settings::default().with(text).unwrap();
        assert_eq!(settings.endpoint.unwrap().to_string(), "http://127.0.0.1:8080");
        assert_eq!(settings.default_user, "ops");
        assert!(settings.follow_includes && !settings.configure_network);
        assert_eq!(settings.script_timeout, None);
        assert_eq!(settings.probe_pace, ProbePace::Rfc3927);
        let error = Settings::default().with(b"defualt_user: ops\n").unwrap_err();
        assert!(matches!(error, SettingsError::UnknownKey(key) if key == "defualt_user"));
    }

    #[test]
    fn an_endpoint_of_ipv6_is_read_and_a_wrong_one_is_told_with_its_mend() {
        let settings = Settings::default().with(b"endpoint: 'http://[fd00:ec2::254]'\n").unwrap();
        assert_eq!(settings.endpoint.unwrap().to_string(), "http://[fd00:ec2::254]:80");
        assert_eq!(Settings::default().endpoint, None);
        let error = Settings::default().with(b"endpoint: http://fd00:ec2::254\n").unwrap_err();
        assert!(error.to_string().contains("write [fd00:ec2::254]"), "{error}");
    }
}
