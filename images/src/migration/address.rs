//! Where a guest is sent to.

use std::{fmt, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

/// Where a destination listens. There is no TLS: a guest's memory, with all of its keys, passes in the
/// clear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MigrationAddress {
    /// A UNIX socket.
    Unix(PathBuf),
    /// A TCP port, on a network that is the operator's alone.
    Tcp(SocketAddr),
}

impl fmt::Display for MigrationAddress {
    /// As QEMU's `uri`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
            Self::Tcp(address) => write!(out, "tcp:{address}"),
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
