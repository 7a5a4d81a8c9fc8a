//! What `mezame image partitions`, `ls`, `cat` and `tar` take.

use std::ffi::OsString;

use clap::Args;

use super::ImageName;

pub(super) const PARTITIONS_HELP: &str = "Examples:
  mezame image partitions debian-12 -p tenant-a

Files can be read of ext2, ext3 and ext4.";

pub(super) const LS_HELP: &str = "Examples:
  mezame image ls debian-12 -p tenant-a
  mezame image ls img-0123456789abcdef0123456789abcdef /etc -p tenant-a --partition 1

No symbolic link is followed: where one leads is told.";

pub(super) const CAT_HELP: &str = "Examples:
  mezame image cat img-0123456789abcdef0123456789abcdef /etc/fstab -p tenant-a

The file's modes are not obeyed: whoever may export the image may read all of it.";

pub(super) const TAR_HELP: &str = "Examples:
  mezame image tar img-0123456789abcdef0123456789abcdef /home/ada -p tenant-a | tar -x -C /tmp/ada
  mezame image tar debian-12 / -p tenant-a --partition 1 > root.tar

Devices, pipes and sockets are left out. A stream that ended in an error is not whole. Unpack it as
nobody who could do harm: links in it may lead anywhere.";

/// A file of an image's.
#[derive(Debug, Args)]
pub struct FileArguments {
    /// Which image
    #[command(flatten)]
    pub image: ImageName,
    /// Where on its disk
    pub path: OsString,
    /// Of which partition [default: the only one that can be read]
    #[arg(long, value_name = "NUMBER")]
    pub partition: Option<u32>,
}

/// A folder of an image's.
#[derive(Debug, Args)]
pub struct FolderArguments {
    /// Which image
    #[command(flatten)]
    pub image: ImageName,
    /// Where on its disk
    #[arg(default_value = "/")]
    pub path: OsString,
    /// Of which partition [default: the only one that can be read]
    #[arg(long, value_name = "NUMBER")]
    pub partition: Option<u32>,
}
