//! The operator: the real `mezame` against the lab's control plane.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use mezame_model::api::{StoredPassword, StoredReport};
use serde_json::{Value, json};

use crate::{http::Connection, process};

/// Calls `mezame`.
#[derive(Debug, Clone)]
pub struct Operator {
    program: PathBuf,
    socket: PathBuf,
}

impl Operator {
    /// An operator who uses this program on this socket.
    pub fn new(program: &Path, socket: &Path) -> Self {
        Self { program: program.into(), socket: socket.into() }
    }

    /// `mezame` with these words.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = process::command(&self.program);
        command
            .env("MEZAME_CONFIG", "/dev/null")
            .arg("--server")
            .arg(format!("unix:{}", self.socket.display()))
            .args(words);
        command
    }

    /// Runs it; it must succeed.
    pub fn run(&self, words: &[&str]) -> Result<String> {
        process::output(&mut self.command(words))
    }

    /// Applies a seed that stands in a file.
    pub fn apply_file(&self, file: &Path) -> Result<String> {
        let file = file.to_str().context("a path of UTF-8")?;
        self.run(&["apply", "-f", file])
    }

    /// Applies documents.
    pub fn apply(&self, documents: &[Value]) -> Result<()> {
        let mut child = self
            .command(&["apply", "-q", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting mezame")?;
        let mut stdin = child.stdin.take().context("a pipe to mezame")?;
        let text = serde_json::to_vec(documents).context("writing documents")?;
        // If it ends early, its own message says more than a broken pipe.
        let sent = stdin.write_all(&text);
        drop(stdin);
        let output = child.wait_with_output().context("waiting for mezame")?;
        ensure!(
            output.status.success(),
            "mezame apply ended with {}: {}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        sent.context("sending documents to mezame")
    }

    /// Deletes one thing.
    pub fn delete(&self, kind: &str, project: &str, name: &str) -> Result<()> {
        self.run(&["delete", kind, name, "-p", project]).map(drop)
    }

    /// QEMU's `-smbios` values by which an instance's client knows its cloud.
    pub fn smbios(&self, project: &str, instance: &str) -> Result<Vec<String>> {
        let text = self.run(&["get", "instance", instance, "-p", project, "-o", "json"])?;
        let shown: Value =
            serde_json::from_str(&text).with_context(|| format!("no JSON: {text}"))?;
        let values = shown["status"]["smbios"][0]["qemu"].clone();
        serde_json::from_value(values).with_context(|| format!("no SMBIOS strings: {text}"))
    }

    /// Writes an instance's disk of this format into a file.
    pub fn disk(&self, project: &str, instance: &str, format: &str, to: &Path) -> Result<()> {
        let to = to.to_str().context("a path of UTF-8")?;
        self.run(&["disk", instance, "-p", project, "--format", format, "--to", to]).map(drop)
    }

    /// What an instance's guest reported, newest first.
    pub fn reports(&self, project: &str, instance: &str) -> Result<Vec<StoredReport>> {
        let text = self.run(&["reports", instance, "-p", project, "-o", "json"])?;
        serde_json::from_str(&text).with_context(|| format!("no reports: {text}"))
    }

    /// The sealed passwords that an instance's guest has sent, newest first.
    pub fn passwords(&self, project: &str, instance: &str) -> Result<Vec<StoredPassword>> {
        let path = format!("/v1/projects/{project}/instances/{instance}/passwords");
        let response = Connection::local(&self.socket)?.get(&path, &[])?;
        ensure!(response.status == 200, "status {}: {}", response.status, response.text());
        Ok(serde_json::from_value(response.json()?)?)
    }
}

/// A project's document.
pub fn project(name: &str) -> Value {
    json!({"kind": "Project", "name": name})
}

/// A network's document, with one subnet without a router.
pub fn network(project: &str, name: &str, vni: u32, cidr: &str) -> Value {
    json!({
        "kind": "Network", "project": project, "name": name, "vni": vni,
        "subnets": [{"cidr": cidr}],
    })
}

/// A port's document.
pub fn port(
    project: &str,
    name: &str,
    network: &str,
    mac: &str,
    addresses: &[&str],
    device: &str,
) -> Value {
    json!({
        "kind": "Port", "project": project, "name": name, "network": network,
        "mac": mac, "addresses": addresses, "device": device,
    })
}

/// An instance's document, with the fields that `more` adds.
pub fn instance(project: &str, name: &str, port: &str, more: &Value) -> Value {
    let mut document =
        json!({"kind": "Instance", "project": project, "name": name, "ports": [port]});
    if let (Some(fields), Some(more)) = (document.as_object_mut(), more.as_object()) {
        fields.extend(more.clone());
    }
    document
}
