//! How people and programs come into a Windows guest from outside: Remote Desktop and WinRM.
//!
//! What a record wants of them, and nothing of how a guest does it. A record without one of the two
//! leaves it as the image has it.

use std::num::NonZeroU16;

use serde::{Deserialize, Serialize};

/// Remote Desktop (Microsoft, "Win32_TSGeneralSetting class", "Change the listening port for Remote
/// Desktop").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteDesktop {
    /// Whether anybody gets in by it.
    pub enabled: bool,
    /// Of TCP and of UDP.
    #[serde(default = "remote_desktop_port")]
    pub port: NonZeroU16,
    /// Whether clients must prove who they are before they see a desktop (Network Level
    /// Authentication).
    #[serde(default = "yes")]
    pub nla: bool,
}

impl RemoteDesktop {
    /// The port without another one.
    pub const PORT: NonZeroU16 = NonZeroU16::new(3389).unwrap();
}

/// WinRM by HTTPS (Microsoft, "Installation and configuration for Windows Remote Management").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Winrm {
    /// Whether it listens, with a certificate that the guest makes.
    pub https: bool,
    /// Of TCP.
    #[serde(default = "winrm_port")]
    pub port: NonZeroU16,
    /// Whether a name and a password in HTTP's form are taken, besides Windows' own ways.
    #[serde(default)]
    pub basic: bool,
}

impl Winrm {
    /// The port without another one.
    pub const PORT: NonZeroU16 = NonZeroU16::new(5986).unwrap();
}

fn yes() -> bool {
    true
}

fn remote_desktop_port() -> NonZeroU16 {
    RemoteDesktop::PORT
}

fn winrm_port() -> NonZeroU16 {
    Winrm::PORT
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_left_out_is_the_safer_and_a_port_of_nought_is_refused() {
        let desktop: RemoteDesktop = serde_json::from_value(json!({"enabled": true})).unwrap();
        assert_eq!(desktop, RemoteDesktop { enabled: true, port: RemoteDesktop::PORT, nla: true });
        let winrm: Winrm = serde_json::from_value(json!({"https": true})).unwrap();
        assert_eq!(winrm, Winrm { https: true, port: Winrm::PORT, basic: false });
        for port in [json!(0), json!(65536), json!("3389")] {
            let value = json!({"enabled": true, "https": true, "port": port});
            assert!(serde_json::from_value::<RemoteDesktop>(value.clone()).is_err(), "{port}");
            assert!(serde_json::from_value::<Winrm>(value).is_err(), "{port}");
        }
    }
}
