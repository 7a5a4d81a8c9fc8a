//! Where a guest is sent to.

use std::{fmt, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::MigrationError;

/// Where a destination listens. There is no TLS: a guest's memory, with all of its keys, passes in the
/// clear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MigrationAddress {
    /// A UNIX socket.
    Unix(PathBuf),
    /// A TCP port of this host alone.
    Tcp(SocketAddr),
    /// Any TCP port, on a network that is the operator's alone: who listens there has all of it, and who
    /// connects first to a destination is believed.
    #[serde(rename = "tcp-clear")]
    TcpClear(SocketAddr),
}

impl MigrationAddress {
    /// Whether it is one that was asked for by its name.
    pub(super) fn check(&self) -> Result<(), MigrationError> {
        match self {
            Self::Tcp(address) if !address.ip().to_canonical().is_loopback() => {
                Err(MigrationError::Exposed(*address))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for MigrationAddress {
    /// As QEMU's `uri`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
            Self::Tcp(address) | Self::TcpClear(address) => write!(out, "tcp:{address}"),
        }
    }
}

#[test]
fn an_address_is_told_as_qemu_reads_it() {
    let text = |text: &str| MigrationAddress::Tcp(text.parse().unwrap()).to_string();
    assert_eq!(text("192.0.2.1:4444"), "tcp:192.0.2.1:4444");
    assert_eq!(text("[2001:db8::1]:4444"), "tcp:[2001:db8::1]:4444");
    assert_eq!(MigrationAddress::Unix("/run/m".into()).to_string(), "unix:/run/m");
}

#[test]
fn memory_goes_to_another_host_only_where_it_is_asked_for_by_its_name() {
    let far: SocketAddr = "192.0.2.1:4444".parse().unwrap();
    let near: SocketAddr = "[::1]:4444".parse().unwrap();
    let mapped: SocketAddr = "[::ffff:127.0.0.1]:4444".parse().unwrap();
    assert!(matches!(MigrationAddress::Tcp(far).check(), Err(MigrationError::Exposed(_))));
    for right in [
        MigrationAddress::Tcp(near),
        MigrationAddress::Tcp(mapped),
        MigrationAddress::TcpClear(far),
    ] {
        right.check().unwrap();
    }
    let text = serde_json::to_string(&MigrationAddress::TcpClear(far)).unwrap();
    assert_eq!(text, "{\"tcp-clear\":\"192.0.2.1:4444\"}");
}
