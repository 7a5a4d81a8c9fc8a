//! Opening the store that the settings name. Nothing is made but where an operator asks for it.

use std::{fs, io, os::unix::fs::MetadataExt, path::PathBuf, sync::Arc};

use mezame_images::{
    archive::store::{
        Store, StoreError,
        directory::Directory,
        s3::{Credentials, Patience, Place as Bucket, PlainHttp, S3, S3Error, Style, Trust},
    },
    environment::SystemEnvironment,
};
use zeroize::Zeroizing;

use crate::settings::images::{ImageSettings, S3Settings};

/// Why the store can't be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    /// The directory can't be used.
    #[error(transparent)]
    Directory(#[from] StoreError),
    /// There is no such directory.
    #[error("there is no directory {path}")]
    NoDirectory { path: PathBuf },
    /// The file of access keys can't be read.
    #[error("{path}: can't be read")]
    Credentials {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Others may read the access keys.
    #[error("{path}: has the mode {mode:o}; others may read the keys in it")]
    Mode { path: PathBuf, mode: u32 },
    /// The object store can't be used.
    #[error(transparent)]
    S3(#[from] S3Error),
    /// The settings name no place; they are checked before.
    #[error("the settings name no place")]
    None,
}

/// Opens the store. A directory is made only where `create` says so, and never its parent.
/// `patience` is for an object store.
pub(crate) fn open(
    settings: &ImageSettings,
    create: bool,
    patience: Patience,
) -> Result<Arc<dyn Store>, PlaceError> {
    if let Some(bucket) = &settings.s3 {
        return Ok(Arc::new(open_bucket(bucket, patience)?));
    }
    let path = settings.directory.as_ref().ok_or(PlaceError::None)?;
    if create {
        return Ok(Arc::new(Directory::create(path)?));
    }
    match Directory::open(path) {
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Err(PlaceError::NoDirectory { path: path.clone() })
        }
        other => Ok(Arc::new(other?)),
    }
}

fn open_bucket(settings: &S3Settings, patience: Patience) -> Result<S3, PlaceError> {
    let path = &settings.credentials_file;
    let at = |source| PlaceError::Credentials { path: path.clone(), source };
    let mode = fs::metadata(path).map_err(at)?.mode();
    if mode & 0o077 != 0 {
        return Err(PlaceError::Mode { path: path.clone(), mode: mode & 0o7777 });
    }
    let text = Zeroizing::new(fs::read_to_string(path).map_err(at)?);
    let place = Bucket {
        endpoint: &settings.endpoint,
        region: &settings.region,
        bucket: &settings.bucket,
        folder: &settings.folder,
        style: if settings.virtual_host { Style::VirtualHost } else { Style::Path },
        plain: if settings.plain_http { PlainHttp::Allowed } else { PlainHttp::ToLoopback },
    };
    let trust = settings.ca_file.clone().map_or(Trust::System, Trust::File);
    let environment = Arc::new(SystemEnvironment::new());
    Ok(S3::open(&place, Credentials::parse(&text)?, &trust, patience, environment)?)
}

/// For people.
pub(crate) fn describe(settings: &ImageSettings) -> String {
    match (&settings.directory, &settings.s3) {
        (Some(path), _) => path.display().to_string(),
        (None, Some(s3)) => format!("{}/{}/{}", s3.endpoint, s3.bucket, s3.folder),
        (None, None) => String::new(),
    }
}
