//! The trees as files of a disk, for guests that have no network when they want to know who they
//! are.
//!
//! ```text
//! config-2   openstack/VERSION/{meta_data.json,user_data,vendor_data.json,…}
//!            ec2/VERSION/{meta-data.json,user-data}
//! cidata     meta-data  network-config  user-data  vendor-data
//! ```
//! Each file has the bytes that HTTP answers for the leaf that it is made of, since both come out
//! of one table; what HTTP answers with 404 is not there. The one exception is EC2's
//! `meta-data.json`, which holds the texts of all leaves below `meta-data/`.
//!
//! Whether a token is required, or the endpoint is off, is not asked: that is about who may ask
//! over a network, and a disk is given to its guest by hand.
//!
//! Never writes a disk: what a file system makes of the files is the caller's. `random_seed` comes
//! out of the context's randomness, so whoever wants the same disk twice hands in the same bytes.
//!
//! Follows "Config drives" in nova's user guide ("Metadata"), and "Config drive" and "NoCloud" in cloud-init's
//! documentation.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use mezame_model::{Dialect, Guest};

use crate::{
    respond::Context,
    tree::{Body, Scope},
    view,
};

/// A form of disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DiskFormat {
    /// OpenStack nova's config drive, version 2.
    ConfigTwo,
    /// cloud-init's NoCloud seed.
    Cidata,
}

/// No form of disk has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the format is 'config-2' or 'cidata'")]
pub struct UnknownFormat;

impl DiskFormat {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::ConfigTwo, Self::Cidata];

    /// Its name, which is the volume's label too but for the case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigTwo => "config-2",
            Self::Cidata => "cidata",
        }
    }

    /// The dialect whose tree it holds.
    pub fn dialect(self) -> Dialect {
        match self {
            Self::ConfigTwo => Dialect::Openstack,
            Self::Cidata => Dialect::Nocloud,
        }
    }
}

impl FromStr for DiskFormat {
    type Err = UnknownFormat;
    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        Self::ALL.into_iter().find(|format| format.as_str() == text).ok_or(UnknownFormat)
    }
}

impl fmt::Display for DiskFormat {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The instance is not answered in the dialect that the disk's format holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the instance is not answered in {}", .0.as_str())]
pub struct DialectMissing(pub Dialect);

/// A file of a disk. No Debug of what it holds: it may be a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct DiskFile {
    /// Its path on the disk, without a slash at its beginning; ASCII.
    pub path: String,
    /// What it holds.
    pub bytes: Bytes,
}

impl fmt::Debug for DiskFile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "DiskFile({}, {} bytes)", self.path, self.bytes.len())
    }
}

/// All files of a guest's disk, in no order that matters.
pub fn files(
    format: DiskFormat,
    guest: &Guest,
    context: &Context<'_>,
) -> Result<Vec<DiskFile>, DialectMissing> {
    let dialect = format.dialect();
    if !view::answers(&guest.instance.dialects, dialect) {
        return Err(DialectMissing(dialect));
    }
    let scope = Scope::new(guest, context);
    let mut files = Vec::new();
    let mut add = |path: String, body: Body| files.push(DiskFile { path, bytes: body.bytes });
    match format {
        DiskFormat::ConfigTwo => {
            view::openstack::files(scope, &mut add);
            view::ec2::files(scope, &mut add);
        }
        DiskFormat::Cidata => view::nocloud::files(scope, &mut add),
    }
    Ok(files)
}

#[cfg(test)]
mod tests;
