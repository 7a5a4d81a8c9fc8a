//! Real logins with OpenSSH's client.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    namespace::Namespace,
    process::{self, Ended},
    wait,
};

/// A key pair in files.
#[derive(Debug, Clone)]
pub struct Key {
    private: PathBuf,
}

impl Key {
    /// Makes an Ed25519 key.
    pub fn generate(directory: &Path, name: &str) -> Result<Self> {
        Self::of("ed25519", directory, name)
    }

    /// Makes a key of this kind.
    pub fn of(kind: &str, directory: &Path, name: &str) -> Result<Self> {
        let private = directory.join(name);
        process::succeed(
            process::command("ssh-keygen")
                .args(["-q", "-t", kind, "-N", "", "-C", name, "-f"])
                .arg(&private),
        )?;
        Ok(Self { private })
    }

    /// The line for `authorized_keys`.
    pub fn public(&self) -> Result<String> {
        let path = self.private.with_extension("pub");
        let line = fs::read_to_string(path).context("reading a public key")?;
        Ok(line.trim().to_owned())
    }

    /// The file of the private key.
    pub fn private(&self) -> &Path {
        &self.private
    }
}

/// How a login ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// It was let in, and this is what the command wrote.
    In(String),
    /// The server spoke SSH and let nobody in.
    Refused,
}

/// A guest's SSH server as a tenant's machine reaches it.
#[derive(Debug, Clone)]
pub struct SshTarget {
    from: Namespace,
    address: String,
    known_hosts: Option<PathBuf>,
    directory: PathBuf,
}

impl SshTarget {
    /// The server at this address, as seen from this namespace.
    pub fn new(from: &Namespace, address: &str, directory: &Path) -> Self {
        Self {
            from: from.clone(),
            address: address.into(),
            known_hosts: None,
            directory: directory.into(),
        }
    }

    /// From now on only these host keys are believed, as the guest's agent reported them.
    pub fn believe(&mut self, host_keys: &[String], name: &str) -> Result<()> {
        ensure!(!host_keys.is_empty(), "{name} reported no SSH host key");
        let lines: String =
            host_keys.iter().map(|key| format!("{} {key}\n", self.address)).collect();
        let path = self.directory.join(format!("known-hosts-{name}"));
        fs::write(&path, lines).context("writing known hosts")?;
        self.known_hosts = Some(path);
        Ok(())
    }

    /// Logs in with a key and runs a command.
    pub fn with_key(&self, user: &str, key: &Key, command: &str) -> Result<Login> {
        let mut ssh = self.ssh();
        ssh.args(["-o", "BatchMode=yes", "-o", "PreferredAuthentications=publickey", "-i"])
            .arg(key.private())
            .arg(format!("{user}@{}", self.address))
            .arg(command);
        Self::login(&process::run(&mut ssh)?)
    }

    /// Logs in with a password and runs a command.
    pub fn with_password(&self, user: &str, password: &str, command: &str) -> Result<Login> {
        let asks = self.directory.join("askpass");
        fs::write(&asks, "#!/bin/sh\nprintf '%s\\n' \"$MEZAME_PASSWORD\"\n")
            .context("writing askpass")?;
        fs::set_permissions(&asks, fs::Permissions::from_mode(0o700)).context("askpass' mode")?;
        let mut ssh = self.ssh();
        ssh.env("SSH_ASKPASS", &asks)
            .env("SSH_ASKPASS_REQUIRE", "force")
            .env("MEZAME_PASSWORD", password)
            .args(["-o", "PreferredAuthentications=password,keyboard-interactive"])
            .args(["-o", "NumberOfPasswordPrompts=1", "-o", "PubkeyAuthentication=no"])
            .arg(format!("{user}@{}", self.address))
            .arg(command);
        Self::login(&process::run(&mut ssh)?)
    }

    /// Logs in with a key as soon as it is let in; gives what the command wrote.
    pub fn until_in(
        &self,
        user: &str,
        key: &Key,
        command: &str,
        bound: Duration,
    ) -> Result<String> {
        wait::until(&format!("a login at {}", self.address), bound, || {
            match self.with_key(user, key, command)? {
                Login::In(output) => Ok(output),
                Login::Refused => bail!("the key was refused"),
            }
        })
    }

    fn ssh(&self) -> std::process::Command {
        let mut ssh = self.from.command("ssh");
        ssh.args(["-F", "none", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=20"]).args([
            "-o",
            "LogLevel=ERROR",
            "-o",
            "GlobalKnownHostsFile=/dev/null",
        ]);
        match &self.known_hosts {
            Some(file) => ssh
                .args(["-o", "StrictHostKeyChecking=yes", "-o"])
                .arg(format!("UserKnownHostsFile={}", file.display())),
            None => {
                ssh.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"])
            }
        };
        ssh
    }

    /// Tells a refusal from everything else: only the former is an answer.
    fn login(ended: &Ended) -> Result<Login> {
        match ended.status.code() {
            Some(0) => Ok(Login::In(ended.stdout.clone())),
            Some(255) if ended.stderr.contains("Permission denied") => Ok(Login::Refused),
            _ => bail!("ssh ended with {}: {}{}", ended.status, ended.stdout, ended.stderr),
        }
    }
}
