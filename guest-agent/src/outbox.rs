//! What was not sent yet: sealed passwords and reports.
//!
//! Where the system keeps hashes, a password is written down, sealed and with its hash, before it
//! is set: from then on a crash loses nothing, since the next run sets that hash and posts that
//! sealed text. Where it does not, a password is written down, sealed, after it was set: a crash in
//! between has the next run make another one. Its file goes when the service has taken it. Reports
//! wait here, too; of more than [`MAX_REPORTS`] the oldest go.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use mezame_model::{InstanceId, Report, SecretString, report::SealedPassword};
use serde::{Deserialize, Serialize};

use crate::{
    password::Made,
    platform,
    source::{SourceError, Upstream},
};

/// How many reports wait at most.
pub const MAX_REPORTS: usize = 8;

/// Why the outbox can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the outbox {path} can't be used: {source}", path = path.display())]
pub struct OutboxError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// A password on its way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pending {
    /// Whose instance it was made in.
    pub instance: InstanceId,
    /// What is posted.
    pub password: SealedPassword,
    /// What is set; /etc/shadow holds the same. None where no hash can be set: the password was
    /// set before it came here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<SecretString>,
}

/// The directory of what waits.
#[derive(Debug, Clone)]
pub struct Outbox {
    directory: PathBuf,
}

impl Outbox {
    /// In the agent's state directory.
    pub fn open(state: &Path) -> Result<Self, OutboxError> {
        let directory = state.join("outbox");
        match fs::create_dir(&directory) {
            Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
                Err(OutboxError { path: directory, source })
            }
            _ => Ok(Self { directory }),
        }
    }

    /// The password that waits for a user of an instance, if one does.
    pub fn password(&self, instance: &InstanceId, user: &str) -> Option<Pending> {
        let bytes = fs::read(self.directory.join(password_file(user))).ok()?;
        let pending: Pending = serde_json::from_slice(&bytes).ok()?;
        (pending.instance == *instance).then_some(pending)
    }

    /// Writes a password down. When this returns, it is on the disk.
    pub fn keep_password(
        &self,
        instance: &InstanceId,
        user: &mezame_model::UserName,
        made: Made,
        hash: Option<SecretString>,
    ) -> Result<Pending, OutboxError> {
        let pending = Pending {
            instance: instance.clone(),
            password: SealedPassword {
                user: user.clone(),
                recipient: made.recipient,
                sealed: made.sealed,
                reset: made.reset,
                nova: made.nova,
            },
            hash,
        };
        let bytes = serde_json::to_vec(&pending).unwrap_or_default();
        self.write(&password_file(user.as_str()), &bytes)?;
        Ok(pending)
    }

    /// Writes a report down.
    pub fn keep_report(&self, report: &Report) -> Result<(), OutboxError> {
        let name = format!("report-{}-{:08}", report.boot_id, report.run);
        self.write(&name, &serde_json::to_vec(report).unwrap_or_default())?;
        let mut reports = self.files("report-");
        while reports.len() > MAX_REPORTS {
            let _ = fs::remove_file(self.directory.join(reports.remove(0)));
        }
        Ok(())
    }

    /// Sends what waits. What the service refuses for good goes as well, and is told in `refused`;
    /// what it can't take now stays.
    pub fn send(
        &self,
        upstream: &mut dyn Upstream,
        instance: &InstanceId,
        refused: &mut Vec<(String, SourceError)>,
    ) -> Result<(), SourceError> {
        self.send_each_password(upstream, instance, refused)?;
        for name in self.files("report-") {
            let path = self.directory.join(&name);
            let report =
                fs::read(&path).ok().and_then(|it| serde_json::from_slice::<Report>(&it).ok());
            if let Some(report) = report.filter(|report| report.instance_id == *instance) {
                match upstream.post_report(&report) {
                    Err(error) if error.is_refusal() => refused.push(("report".into(), error)),
                    other => other?,
                }
            }
            let _ = fs::remove_file(&path);
        }
        Ok(())
    }

    /// Sends the passwords that wait; what goes wrong is left to the next [`Outbox::send`].
    pub fn send_passwords(&self, upstream: &mut dyn Upstream, instance: &InstanceId) {
        let mut refused = Vec::new();
        let _ = self.send_each_password(upstream, instance, &mut refused);
        for (what, error) in refused {
            eprintln!("guest-agent: the service refused the {what}: {error}");
        }
    }

    fn send_each_password(
        &self,
        upstream: &mut dyn Upstream,
        instance: &InstanceId,
        refused: &mut Vec<(String, SourceError)>,
    ) -> Result<(), SourceError> {
        for name in self.files("password-") {
            let path = self.directory.join(&name);
            let Some(pending) =
                fs::read(&path).ok().and_then(|it| serde_json::from_slice::<Pending>(&it).ok())
            else {
                continue;
            };
            if pending.instance != *instance {
                // The disk became another instance's: the password is the old one's.
                let _ = fs::remove_file(&path);
                continue;
            }
            match upstream.post_password(&pending.password) {
                Err(error) if error.is_refusal() => {
                    let user = pending.password.user;
                    refused.push((format!("password of {user}"), error));
                }
                other => other?,
            }
            let _ = fs::remove_file(&path);
        }
        Ok(())
    }

    /// Whether anything waits.
    pub fn is_empty(&self) -> bool {
        self.files("").is_empty()
    }

    /// Oldest first.
    fn files(&self, prefix: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(&self.directory) else { return Vec::new() };
        let mut files: Vec<(std::time::SystemTime, String)> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let name = entry.file_name().into_string().ok()?;
                let time = entry.metadata().ok()?.modified().ok()?;
                let ours = name.starts_with(prefix) && !name.starts_with('.');
                ours.then_some((time, name))
            })
            .collect();
        files.sort();
        files.into_iter().map(|(_, name)| name).collect()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), OutboxError> {
        let path = self.directory.join(name);
        write_synced(&path, bytes).map_err(|source| OutboxError { path, source })
    }
}

/// Writes a file that only root reads, beside its place, syncs it, and puts it there.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::io::Write;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.new"));
    let mut options = fs::File::options();
    options.write(true).create(true).truncate(true);
    platform::make_private(&mut options);
    let mut file = options.open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    fs::rename(&temporary, path)?;
    match path.parent() {
        Some(parent) => platform::sync_directory(parent),
        None => Ok(()),
    }
}

fn password_file(user: &str) -> String {
    format!("password-{user}")
}
