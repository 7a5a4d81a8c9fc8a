//! What the metadata-server is compared with.

pub mod dnsmasq;
pub mod haproxy;
pub mod nginx;
mod system_log;
pub mod upstream;

use std::{
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context;
use mezame_tests::{
    namespace::Namespace,
    process::Background,
    wait::{self, SOON},
};

/// Where a Debian package puts a program that may not be on the path of a user.
fn program(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is not installed (apt-get install {name})"))
}

/// Waits until `address` takes connections from within `from`.
fn await_listener(
    from: &Namespace,
    address: SocketAddr,
    server: &mut Background,
) -> anyhow::Result<()> {
    wait::until(&format!("a listener on {address}"), SOON, || {
        server.ensure_running()?;
        from.run(|| TcpStream::connect_timeout(&address, Duration::from_secs(1)))??;
        Ok(())
    })
}
