//! Where a server is: `unix:PATH` on this machine, `https://HOST[:PORT]` on the network.
//!
//! There is no plain `http://`: the bearer token and the seeds' secrets would be readable on the
//! way.

use std::{fmt, path::PathBuf, str::FromStr};

use rustls::pki_types::ServerName;

/// Where a server listens on its own machine unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/mezame/provisioner.sock";

/// The port of `https://` addresses that name none.
pub const DEFAULT_PORT: u16 = 443;

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerAddress {
    /// A unix socket; who may connect is up to the file's owner and mode.
    Unix(PathBuf),
    /// TLS on the network.
    Https {
        /// As certificates name it.
        name: ServerName<'static>,
        /// The TCP port.
        port: u16,
    },
}

/// The text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Plain HTTP.
    #[error("http:// would show the token to everybody on the way; use https:// or unix:PATH")]
    PlainHttp,
    /// Neither form.
    #[error("{0:?} is no server; write unix:/path/to.sock or https://host[:port]")]
    Form(String),
    /// A path, query or user after the host.
    #[error("{0:?} has more than a host and a port; write https://host[:port]")]
    TooMuch(String),
}

impl Default for ServerAddress {
    fn default() -> Self {
        Self::Unix(DEFAULT_SOCKET.into())
    }
}

impl ServerAddress {
    /// The value of a request's Host header.
    pub fn host(&self) -> String {
        match self {
            Self::Unix(_) => "localhost".into(),
            Self::Https { name, port } => match name {
                ServerName::IpAddress(rustls::pki_types::IpAddr::V6(_)) => {
                    format!("[{}]:{port}", name.to_str())
                }
                _ => format!("{}:{port}", name.to_str()),
            },
        }
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
            Self::Https { .. } => write!(out, "https://{}", self.host()),
        }
    }
}

impl FromStr for ServerAddress {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.is_empty() || path.contains('\0') {
                Err(AddressError::Form(text.into()))
            } else {
                Ok(Self::Unix(path.into()))
            };
        }
        if text.starts_with('/') {
            return Ok(Self::Unix(text.into()));
        }
        if text.starts_with("http://") {
            return Err(AddressError::PlainHttp);
        }
        let form = || AddressError::Form(text.chars().take(200).collect());
        let authority = text.strip_prefix("https://").ok_or_else(form)?;
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.contains(['/', '?', '#', '@']) {
            return Err(AddressError::TooMuch(text.chars().take(200).collect()));
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(form)?;
                (host, port.strip_prefix(':').or(port.is_empty().then_some("")).ok_or_else(form)?)
            }
            None => authority.split_once(':').unwrap_or((authority, "")),
        };
        let port = if port.is_empty() {
            if authority.ends_with(':') {
                return Err(form());
            }
            DEFAULT_PORT
        } else {
            port.parse().ok().filter(|port| *port != 0).ok_or_else(form)?
        };
        let name = ServerName::try_from(host.to_owned()).map_err(|_| form())?;
        Ok(Self::Https { name, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_written_in_one_spelling() {
        for (text, written) in [
            ("unix:/run/x.sock", "unix:/run/x.sock"),
            ("unix:///run/x.sock", "unix:/run/x.sock"),
            ("/run/x.sock", "unix:/run/x.sock"),
            ("unix:x.sock", "unix:x.sock"),
            ("https://api.example", "https://api.example:443"),
            ("https://api.example:8443/", "https://api.example:8443"),
            ("https://192.0.2.1:1", "https://192.0.2.1:1"),
            ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443"),
            ("https://[2001:db8::1]", "https://[2001:db8::1]:443"),
        ] {
            assert_eq!(text.parse::<ServerAddress>().unwrap().to_string(), written);
        }
    }

    #[test]
    fn plain_http_and_anything_else_are_refused() {
        assert_eq!("http://x".parse::<ServerAddress>(), Err(AddressError::PlainHttp));
        for text in [
            "",
            "x",
            "unix:",
            "https://",
            "https://x:0",
            "https://x:99999",
            "https://x:",
            "https://x/v1",
            "https://u@x",
            "https://[::1",
            "https://[::1]x",
            "https://a b",
        ] {
            assert!(text.parse::<ServerAddress>().is_err(), "{text}");
        }
    }
}
