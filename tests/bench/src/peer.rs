//! What the metadata-server is compared with.

pub mod haproxy;
pub mod nginx;

use std::{
    net::SocketAddr,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};

use crate::{namespace::Namespace, pinned::Server};

/// Where a Debian package puts a program that may not be on the path of a user.
fn program(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is not installed (apt-get install {name})"))
}

/// Waits until `address` takes connections from within `from`, for ten seconds at most.
pub(crate) fn await_listener(
    from: &Namespace,
    address: SocketAddr,
    server: &mut Server,
) -> anyhow::Result<()> {
    let begin = Instant::now();
    from.within(|| {
        loop {
            match std::net::TcpStream::connect_timeout(&address, Duration::from_secs(1)) {
                Ok(_) => return Ok(()),
                Err(error) if begin.elapsed() > Duration::from_secs(10) => {
                    return Err(error).with_context(|| format!("nothing listens on {address}"));
                }
                Err(_) => {}
            }
            if let Some(status) = server.ended()? {
                bail!("the server on {address} ended: {status}");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    })
}
