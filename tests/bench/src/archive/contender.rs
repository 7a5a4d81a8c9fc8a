//! Those who archive: ours as a library, restic and borg as Debian ships them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Instant,
};

use anyhow::Context;
use mezame_images::{
    archive::{
        Archive, Detail, ImageId, KeyOf, Kind, NewImage, ProjectKey, Settings, Unwatched, Viewer,
        source::FileSource, store::directory::Directory, target::FileTarget,
    },
    environment::SystemEnvironment,
};
use mezame_model::ProjectName;
use mezame_tests::process;

/// Who archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contender {
    /// Ours, under a project's key.
    Sealed,
    /// Ours, without one.
    Open,
    /// restic as it is by default: encrypted, zstd.
    Restic,
    /// borg without encryption, with zstd at its default level. Its own default, LZ4, takes
    /// half as much space again, and hardly less time.
    Borg,
}

/// An empty folder, with a repository in it.
pub(super) struct Place {
    folder: PathBuf,
}

impl Place {
    pub(super) fn new(folder: PathBuf) -> anyhow::Result<Self> {
        fs::create_dir(&folder)?;
        Ok(Self { folder })
    }

    fn repository(&self) -> PathBuf {
        self.folder.join("repository")
    }

    /// Bytes of all files of the repository.
    pub(super) fn bytes(&self) -> anyhow::Result<f64> {
        let (mut bytes, mut folders) = (0, vec![self.repository()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                let about = entry.metadata()?;
                if about.is_dir() {
                    folders.push(entry.path());
                } else {
                    bytes += about.len();
                }
            }
        }
        Ok(bytes as f64)
    }

    pub(super) fn clear(self) -> anyhow::Result<()> {
        fs::remove_dir_all(&self.folder).context("clearing up")
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = process::command(program);
        command.args(arguments).current_dir(&self.folder);
        command.env("HOME", &self.folder).env("BORG_BASE_DIR", self.folder.join("borg"));
        command.env("RESTIC_PASSWORD", "bench").env("RESTIC_REPOSITORY", self.repository());
        command.env("BORG_REPO", self.repository());
        command.env("BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK", "yes");
        command
    }

    fn archive(&self) -> anyhow::Result<Archive> {
        let store = Arc::new(Directory::open(self.repository())?);
        Ok(Archive::open(store, Arc::new(SystemEnvironment::new()), Settings::default())?)
    }
}

impl Contender {
    /// Its name in rows.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sealed | Self::Open => "mezame",
            Self::Restic => "restic",
            Self::Borg => "borg",
        }
    }

    fn key(self) -> Option<ProjectKey> {
        (self == Self::Sealed).then(|| ProjectKey::new([7; 32]))
    }

    /// Makes an empty repository.
    pub(super) fn prepare(self, place: &Place) -> anyhow::Result<()> {
        match self {
            Self::Sealed | Self::Open => {
                let store = Arc::new(Directory::create(place.repository())?);
                let environment = Arc::new(SystemEnvironment::new());
                Archive::create(store, environment, Settings::default())?;
                Ok(())
            }
            Self::Restic => process::succeed(&mut place.command("restic", &["init", "-q"])),
            Self::Borg => process::succeed(&mut place.command("borg", &["init", "-e", "none"])),
        }
    }

    /// Archives the disks; seconds that it took.
    pub(super) fn import(self, place: &Place, disks: &[PathBuf]) -> anyhow::Result<f64> {
        let begin = Instant::now();
        for disk in disks {
            let file = disk.to_str().context("no text")?;
            let name = disk.file_stem().and_then(|name| name.to_str()).context("no name")?;
            match self {
                Self::Sealed | Self::Open => self.import_one(place, disk).map(drop)?,
                Self::Restic => {
                    process::succeed(&mut place.command("restic", &["backup", "-q", file]))?;
                }
                Self::Borg => {
                    let name = format!("::{name}");
                    let arguments = ["create", "-C", "zstd,3", &name, file];
                    process::succeed(&mut place.command("borg", &arguments))?;
                }
            }
        }
        Ok(begin.elapsed().as_secs_f64())
    }

    fn import_one(self, place: &Place, disk: &Path) -> anyhow::Result<ImageId> {
        let (project, key) = (ProjectName::parse("bench")?, self.key());
        let new = NewImage {
            project: &project,
            kind: Kind::Imported,
            detail: Detail::default(),
            key: key.as_ref(),
            base: None,
        };
        let source = FileSource::open(disk)?;
        Ok(place.archive()?.import(&new, &source, &Unwatched)?.image.id)
    }

    /// Restores the last disk to a new file: where, and seconds that it took. Ours is durable then.
    pub(super) fn restore(self, place: &Place, last: &Path) -> anyhow::Result<(PathBuf, f64)> {
        let target = place.folder.join("restored");
        fs::create_dir(&target)?;
        let begin = Instant::now();
        let file = match self {
            Self::Sealed | Self::Open => {
                let file = target.join("disk.raw");
                self.restore_one(place, &file)?;
                file
            }
            Self::Restic => {
                let to = target.to_str().context("no text")?;
                let arguments = ["restore", "-q", "latest", "--target", to];
                process::succeed(&mut place.command("restic", &arguments))?;
                target.join(last.strip_prefix("/")?)
            }
            Self::Borg => {
                let name = last.file_stem().and_then(|name| name.to_str()).context("no name")?;
                let name = format!("::{name}");
                let mut command = place.command("borg", &["extract", "--sparse", &name]);
                process::succeed(command.current_dir(&target))?;
                target.join(last.strip_prefix("/")?)
            }
        };
        Ok((file, begin.elapsed().as_secs_f64()))
    }

    fn restore_one(self, place: &Place, file: &Path) -> anyhow::Result<()> {
        let archive = place.archive()?;
        let keys = |_: &ProjectName| self.key().map_or(KeyOf::Open, KeyOf::Key);
        let images = archive.list(Viewer::Operator, &keys)?;
        let last = images.last().context("no image")?.id;
        let image = archive.view(last, Viewer::Operator, &keys)?;
        archive.export(&image, &FileTarget::create(file)?, &Unwatched)?;
        Ok(())
    }
}
