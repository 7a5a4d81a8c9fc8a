//! The agent's settings: what the image's maker chose, and what the command line says.
//!
//! `/etc/mezame/guest-agent.yaml`, on Windows `C:\ProgramData\Mezame\guest-agent.yaml`, all keys
//! optional:
//!
//! ```yaml
//! endpoint: http://169.254.169.254   # where the metadata service is, and nowhere else
//! default_user: root                 # whom the instance's own keys are for; Administrator
//! follow_includes: false             # whether '#include' lists in user-data are fetched
//! script_timeout: 3600               # seconds until a script is ended; 0: never
//! link_local_probe: fast             # or rfc3927: its waiting times of several seconds
//! freeze: true                       # whether a backup may freeze the file systems for a moment
//! configure_network: true            # whether addresses of the document are applied
//! activate_licence: false            # Windows: whether the licence is activated (KMS)
//! activation_host: 169.254.169.250   # Windows: where; HOST or HOST:PORT
//! product_key: AAAAA-BBBBB-...       # Windows: set before; without it the image's own stays
//! ```
//! An unknown key is an error: a typing mistake must not pass for a setting.

use std::{path::PathBuf, time::Duration};

use mezame_model::SecretString;

use crate::{
    account::is_account_name,
    endpoint::{Endpoint, EndpointError},
    facts::System,
    licence::{self, Licence},
    platform::{self, PlatformError},
    user_data::yaml::{self, Node, YamlError},
};

/// The file's place, inside the root.
pub const PATH: &str = match platform::SYSTEM {
    System::Unix => "etc/mezame/guest-agent.yaml",
    System::Windows => "ProgramData\\Mezame\\guest-agent.yaml",
};
/// The file in the agent's state that names the devices which it has made.
pub const LINKS: &str = "links";
/// Where the agent keeps its state, inside the root.
pub const STATE: &str = match platform::SYSTEM {
    System::Unix => "var/lib/mezame-agent",
    System::Windows => "ProgramData\\Mezame\\GuestAgent",
};

/// A place inside the root as people write it.
pub fn shown(inside: &str) -> String {
    match platform::SYSTEM {
        System::Unix => format!("/{inside}"),
        System::Windows => format!("C:\\{inside}"),
    }
}

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
    /// The file can't be read, or is not to be believed.
    #[error("{0}")]
    Read(#[source] PlatformError),
    /// The file is no YAML.
    #[error("the settings are not valid YAML: {0}")]
    Yaml(#[from] YamlError),
    /// A key that is not known.
    #[error("unknown setting {0:?} in {PATH}: mend or remove the line")]
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
    /// `/` or `C:\` in a guest; another directory in a rehearsal, where the running system is left
    /// alone.
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
    /// Whether a backup may freeze the file systems for a moment.
    pub freeze: bool,
    /// How Windows is activated, if it is.
    pub licence: Option<Licence>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            endpoint: None,
            root: platform::root(),
            default_user: platform::SYSTEM.superuser().into(),
            follow_includes: false,
            script_timeout: Some(Duration::from_secs(3600)),
            probe_pace: ProbePace::Fast,
            configure_network: true,
            freeze: true,
            licence: None,
        }
    }
}

impl Settings {
    /// Reads the file below a root; without one, the defaults.
    pub fn load(root: PathBuf) -> Result<Self, SettingsError> {
        let path = root.join(PATH);
        let live = root == platform::root();
        let text = platform::read_settings(&path, live).map_err(SettingsError::Read)?;
        Self { root, ..Self::default() }.with(&text.unwrap_or_default())
    }

    /// The settings with what a text says in place of the defaults.
    pub fn with(mut self, text: &[u8]) -> Result<Self, SettingsError> {
        let entries = match yaml::parse(text)? {
            Node::Mapping(entries) => entries,
            Node::Null => Vec::new(),
            _ => return Err(SettingsError::Value { key: "(all)", wanted: "a mapping" }),
        };
        let mut licence = Licence { key: None, host: None };
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
                "freeze" => self.freeze = truth("freeze")?,
                "activate_licence" => {
                    self.licence = truth("activate_licence")?.then(|| licence.clone());
                }
                "activation_host" if licence::is_host(text) => {
                    licence.host = Some(text.to_owned());
                }
                "activation_host" => {
                    let wanted = "HOST or HOST:PORT";
                    return Err(SettingsError::Value { key: "activation_host", wanted });
                }
                "product_key" if licence::is_product_key(text) => {
                    licence.key = Some(SecretString::new(text.to_owned()));
                }
                "product_key" => {
                    let wanted = "five times five letters, with '-' between";
                    return Err(SettingsError::Value { key: "product_key", wanted });
                }
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
        // Its parts may stand before or behind it.
        self.licence = self.licence.map(|_| licence);
        Ok(self)
    }

    /// Whether this is the running system and not a directory to rehearse in.
    pub fn is_live(&self) -> bool {
        self.root == platform::root()
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
            script_timeout: 0\nlink_local_probe: rfc3927\nconfigure_network: off\n\
            freeze: no\n";
        let settings = Settings::default().with(text).unwrap();
        assert_eq!(settings.endpoint.unwrap().to_string(), "http://127.0.0.1:8080");
        assert_eq!(settings.default_user, "ops");
        assert!(settings.follow_includes && !settings.configure_network && !settings.freeze);
        assert_eq!(settings.script_timeout, None);
        assert_eq!(settings.probe_pace, ProbePace::Rfc3927);
        let error = Settings::default().with(b"defualt_user: ops\n").unwrap_err();
        assert!(matches!(error, SettingsError::UnknownKey(key) if key == "defualt_user"));
    }

    #[test]
    fn a_licence_is_activated_only_where_it_is_asked_for_and_in_any_order_of_keys() {
        let parts = "product_key: AAAAA-BBBBB-CCCCC-DDDDD-EEEEE\nactivation_host: kms.example\n";
        let settings = |text: String| Settings::default().with(text.as_bytes());
        assert_eq!(settings(parts.into()).unwrap().licence, None);
        for text in
            [format!("{parts}activate_licence: true\n"), format!("activate_licence: true\n{parts}")]
        {
            let licence = settings(text).unwrap().licence.unwrap();
            assert_eq!(licence.host.as_deref(), Some("kms.example"));
            assert!(licence.key.unwrap().expose().starts_with("AAAAA"));
        }
        assert!(settings("activation_host: /dlv\n".into()).is_err());
        assert!(settings("product_key: short\n".into()).is_err());
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
