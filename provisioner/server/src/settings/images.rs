//! Where the image archive is, and what imports may take of this machine.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::schedules::when::When;

/// The image archive. Without this part of the settings a site has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageSettings {
    /// The archive's directory, on a file system of this machine that knows O_TMPFILE. The archive
    /// is made by `mezame image archive create`, and never by itself.
    pub directory: Option<PathBuf>,
    /// Or the bucket that it is in. It is in one of these two.
    pub s3: Option<S3Settings>,
    /// Where files that are imported lie meanwhile; `uploads` in the state directory without.
    /// Nothing else may be in it.
    pub upload_dir: Option<PathBuf>,
    /// How many bytes all files that are being imported may have together.
    pub upload_bytes: u64,
    /// How many bytes imports leave free on the file system of that folder, for others. Without,
    /// what [`mezame_images::room::usual_reserve`] says.
    pub upload_reserve_bytes: Option<u64>,
    /// How large the disk of an imported image may be, in bytes.
    pub largest_bytes: u64,
    /// How many jobs are at work at once, 1 to 64; each takes threads and memory of its own.
    pub jobs: usize,
    /// How many jobs may wait or be at work, 1 to 1000.
    pub jobs_waiting: usize,
    /// How many images may be read out at once.
    pub downloads: usize,
    /// How long `qemu-img` may take for a file, in minutes.
    pub conversion_minutes: u32,
    /// When garbage is collected by itself, as schedules of backups say it: `04:30`, `every 6h`, five
    /// fields. Never without.
    pub collect: Option<String>,
    /// When all packs are read by itself.
    pub verify: Option<String>,
}

impl ImageSettings {
    /// What of them makes no sense, and what it must be.
    pub(crate) fn fault(&self) -> Option<(&'static str, &'static str)> {
        if self.directory.is_some() == self.s3.is_some() {
            return Some(("images", "either of 'directory' and 's3', and not both"));
        }
        if !(1..=64).contains(&self.jobs) {
            return Some(("images.jobs", "1 to 64"));
        }
        if !(1..=1000).contains(&self.jobs_waiting) {
            return Some(("images.jobs_waiting", "1 to 1000"));
        }
        if !(1..=1000).contains(&self.downloads) {
            return Some(("images.downloads", "1 to 1000"));
        }
        if self.conversion_minutes == 0 {
            return Some(("images.conversion_minutes", "at least 1"));
        }
        let is_time =
            |text: &Option<String>| text.as_deref().is_none_or(|it| When::parse(it).is_ok());
        let wanted = "a time: '04:30', 'every 6h', or five fields as crontab(5) has them";
        if !is_time(&self.collect) {
            return Some(("images.collect", wanted));
        }
        if !is_time(&self.verify) {
            return Some(("images.verify", wanted));
        }
        None
    }
}

impl Default for ImageSettings {
    fn default() -> Self {
        Self {
            directory: None,
            s3: None,
            upload_dir: None,
            upload_bytes: 256 << 30,
            upload_reserve_bytes: None,
            largest_bytes: 1 << 40,
            jobs: 2,
            jobs_waiting: 32,
            downloads: 8,
            conversion_minutes: 120,
            collect: None,
            verify: None,
        }
    }
}

/// A bucket of an object store that speaks S3's REST API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct S3Settings {
    /// `https://HOST[:PORT]`.
    pub endpoint: String,
    /// The bucket's region.
    #[serde(default = "region")]
    pub region: String,
    /// The bucket, which must be there.
    pub bucket: String,
    /// The folder in it; the whole bucket without.
    #[serde(default)]
    pub folder: String,
    /// Whether the bucket stands before the host (`https://BUCKET.HOST`), as AWS wishes.
    #[serde(default)]
    pub virtual_host: bool,
    /// Whether plain `http` may be used to other machines, too.
    #[serde(default)]
    pub plain_http: bool,
    /// The access keys, as the AWS CLI writes them; mode 0600 or 0400.
    pub credentials_file: PathBuf,
    /// The authorities in this PEM file are believed and no others; the machine's without.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

fn region() -> String {
    "us-east-1".into()
}
