//! What `mezame volume restore` and `mezame volume capture` take.

use std::path::PathBuf;

use clap::Args;

use super::{Detach, freezing::FreezeArguments, volume::VolumeName};

pub(super) const RESTORE_HELP: &str = "Examples:
  mezame volume restore web-root --image img-0123456789abcdef0123456789abcdef -p tenant-a
  mezame volume restore web-root --image debian-12 -p tenant-a --over     no room for both
  mezame volume restore web-root --cancel -p tenant-a                     one that was cut short

Beside, the volume is the old one until all of the new one is durable. Over, it is half of each until it
is done, and is not opened meanwhile. Asked for again it goes on. The volume is plain, and as long as the
image, afterwards.";

pub(super) const CAPTURE_HELP: &str = "Examples:
  mezame volume capture web-root --name web-golden --sealed -p tenant-a    its guest is stopped
  mezame volume capture web-root --name web-now --instance web -p tenant-a

The image's id is printed. Of a running guest it is the disk at one point in time, as a backup is.";

/// Of `volume restore`.
#[derive(Debug, Args)]
pub struct RestoreVolumeArguments {
    /// Which volume
    #[command(flatten)]
    pub volume: VolumeName,
    /// The image or backup, by its id or name
    #[arg(long, required_unless_present = "cancel", conflicts_with = "cancel")]
    pub image: Option<String>,
    /// Write it to a new file, which takes the old one's place at the end [default]
    #[arg(long, conflicts_with_all = ["over", "cancel"])]
    pub beside: bool,
    /// Write over a plain volume as it lies there
    #[arg(long, conflicts_with = "cancel")]
    pub over: bool,
    /// Keep a plain volume's old file, under another name in its pool
    #[arg(long, conflicts_with_all = ["over", "cancel"])]
    pub keep_old: bool,
    /// Give up a restore that was cut short: the volume is what it was
    #[arg(long)]
    pub cancel: bool,
    /// Whether it is waited for
    #[command(flatten)]
    pub detach: Detach,
}

/// Of `volume capture`.
#[derive(Debug, Args)]
pub struct CaptureArguments {
    /// Which volume
    #[command(flatten)]
    pub volume: VolumeName,
    /// What the image is called
    #[arg(long, value_name = "NAME")]
    pub name: String,
    /// Note that 'guest-agent seal' was run before the guest stopped
    #[arg(long, conflicts_with = "qmp")]
    pub sealed: bool,
    /// The QMP socket of the QEMU that has it open [default: as 'volume open' was told]; where nobody
    /// listens, no guest may run on it
    #[arg(long, value_name = "SOCKET")]
    pub qmp: Option<PathBuf>,
    /// Who freezes the guest
    #[command(flatten)]
    pub freeze: FreezeArguments,
    /// Whether it is waited for
    #[command(flatten)]
    pub detach: Detach,
}
