//! The metadata-server as a process, with the provisioner inside (`--standalone`).

use std::{
    collections::BTreeMap,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{
    http::{Connection, Response},
    namespace::Namespace,
    process::Background,
    wait::{self, SOON},
};

/// Where one server's files and sockets are.
#[derive(Debug, Clone)]
pub struct ServerPlace {
    program: PathBuf,
    directory: PathBuf,
    namespace: Namespace,
}

impl ServerPlace {
    /// A server in this directory and, with its taps, in this namespace.
    pub fn new(program: &Path, directory: &Path, namespace: &Namespace) -> Self {
        Self { program: program.into(), directory: directory.into(), namespace: namespace.clone() }
    }

    /// The directory of ledger, keys and database.
    pub fn state(&self) -> PathBuf {
        self.directory.join("state")
    }

    /// The directory of sockets.
    pub fn run(&self) -> PathBuf {
        self.directory.join("run")
    }

    /// The operators' socket.
    pub fn operator_socket(&self) -> PathBuf {
        self.run().join("provisioner.sock")
    }

    /// The socket of metrics, health and events.
    pub fn local_socket(&self) -> PathBuf {
        self.run().join("metadata-server.sock")
    }

    /// Starts a server with the control plane inside, and waits until it serves.
    pub fn start(&self) -> Result<Server> {
        self.start_with(&["--standalone"])
    }

    /// Starts a server with these flags, and waits until it serves.
    pub fn start_with(&self, flags: &[&str]) -> Result<Server> {
        let mut server = self.spawn(flags)?;
        wait::until("the server to be ready", SOON, || {
            server.process.ensure_running()?;
            server.ready()
        })?;
        Ok(server)
    }

    /// Starts a server with these flags, and waits for nothing.
    pub fn spawn(&self, flags: &[&str]) -> Result<Server> {
        let mut command = self.namespace.command(&self.program);
        command.args(flags).arg("--state").arg(self.state()).arg("--run").arg(self.run());
        if !flags.contains(&"--config") {
            // Not the settings of a server that this machine may have.
            command.args(["--config", "/dev/null"]);
        }
        let log = self.directory.join("metadata-server.log");
        let process = Background::start("metadata-server", &mut command, &log)?;
        Ok(Server { process, place: self.clone() })
    }
}

/// A running server; killed when dropped.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Background,
    place: ServerPlace,
}

impl Server {
    /// Fails unless this very process says that it serves.
    pub fn ready(&self) -> Result<()> {
        let response = self.local("/healthz/ready")?;
        ensure!(response.status == 200, "health is {}: {}", response.status, response.text());
        let by = response.json()?["pid"].as_u64().context("health without a pid")?;
        ensure!(by == u64::from(self.process.pid()), "process {by} serves");
        Ok(())
    }

    /// Asks the local socket.
    pub fn local(&self, path: &str) -> Result<Response> {
        Connection::local(&self.place.local_socket())?.get(path, &[("Connection", "close")])
    }

    /// All metrics: name with labels, and value.
    pub fn metrics(&self) -> Result<Metrics> {
        let response = self.local("/metrics")?;
        ensure!(response.status == 200, "metrics answered {}", response.status);
        Ok(Metrics::parse(&response.text()))
    }

    /// Follows the event stream from now on.
    pub fn events(&self) -> Result<Events> {
        let mut connection = Connection::local(&self.place.local_socket())?;
        connection.write_request("GET", "/events", &[], b"")?;
        let response = connection.head()?;
        ensure!(response.status == 200, "events answered {}", response.status);
        Ok(Events { connection })
    }
}

/// What the server counted.
#[derive(Debug, Clone)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    fn parse(text: &str) -> Self {
        Self(
            text.lines()
                .filter(|line| !line.starts_with('#'))
                .filter_map(|line| {
                    let (name, value) = line.rsplit_once(' ')?;
                    Some((name.to_owned(), value.parse().ok()?))
                })
                .collect(),
        )
    }

    /// The sum of all series of this name whose labels hold each of these texts.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        self.0
            .iter()
            .filter(|(series, _)| {
                series.split('{').next() == Some(name)
                    && labels.iter().all(|label| series.contains(label))
            })
            .map(|(_, value)| value)
            .sum()
    }
}

/// The event stream, one JSON object a line.
#[derive(Debug)]
pub struct Events {
    connection: Connection<UnixStream>,
}

impl Events {
    /// The next event for which `wanted` gives something.
    pub fn first<T>(&mut self, mut wanted: impl FnMut(&Value) -> Option<T>) -> Result<T> {
        loop {
            let line = self.connection.line()?.context("the event stream ended")?;
            // Chunk sizes and keep-alive lines stand between the events.
            let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
            if let Some(found) = wanted(&event) {
                return Ok(found);
            }
        }
    }
}
