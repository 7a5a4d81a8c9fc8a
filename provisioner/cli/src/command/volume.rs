//! What `mezame volume` takes.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum, builder::PossibleValue};
use mezame_model::api::volumes::VolumeClass;

use super::{
    Detach, LeftoverCommand, MasterCommand,
    flush::{FLUSH_HELP, FlushArguments},
    pool::PoolCommand,
    restore::{CAPTURE_HELP, CaptureArguments, RESTORE_HELP, RestoreVolumeArguments},
};
use crate::{size, text};

/// Of `volume`.
#[derive(Debug, Subcommand)]
pub enum VolumeCommand {
    /// Make a volume, of an image or of zeros
    #[command(after_help = "Examples:
  mezame volume create web-root --image debian-12 -p tenant-a
  mezame volume create web-root --image debian-12 -p tenant-a --size 20GiB --encrypted
  mezame volume create web-data --size 100GiB --class synchronous -p tenant-a --limit-iops 500

The first volume of an image fetches it from the archive; those after it take milliseconds. ID is
what QEMU and the guest call it, and no other volume of the site has it.")]
    Create(CreateVolumeArguments),
    /// Show a project's volumes
    #[command(after_help = "Examples:
  mezame volume list -p tenant-a")]
    List,
    /// Show all about one volume
    #[command(after_help = "Examples:
  mezame volume show web-root -p tenant-a")]
    Show(VolumeName),
    /// Delete a volume, and forget its keys
    #[command(after_help = "Examples:
  mezame volume delete web-root -p tenant-a

One that a QEMU has open is not deleted. Its backups stay.")]
    Delete(VolumeName),
    /// Put back what a hard stop took, and print what QEMU is to be started with
    #[command(after_help = "Examples:
  out=$(mezame volume open web-root -p tenant-a --qmp /run/web.qmp) &&
    mapfile -t words <<< \"$out\" &&
    qemu-system-x86_64 … -qmp unix:/run/web.qmp,server=on,wait=off \"${words[@]}\"
  mezame volume open web-root -p tenant-a --secrets-dir /run/web    of an encrypted one

One word a line. To be asked for before each start of a guest, which is not to be started where this
fails: '< <(mezame …)' would not tell. With --qmp the provisioner waits for that QEMU for ten minutes,
sets the volume's limits, and flushes it for as long as it runs; and what is done with the volume later,
such as its backups, asks that QEMU.")]
    Open {
        /// Which volume
        #[command(flatten)]
        volume: VolumeName,
        /// Write the keys of an encrypted volume into files here, of mode 0600: a tmpfs, best
        #[arg(long, value_name = "DIR")]
        secrets_dir: Option<PathBuf>,
        /// The QMP socket that the QEMU will have: its guest is seen to, and the socket is kept
        #[arg(long, value_name = "SOCKET")]
        qmp: Option<PathBuf>,
        /// How long to ask again, where too much is asked for at once, other work has the volume or
        /// nobody answers
        #[arg(long, value_name = "TIME", default_value = "30s", value_parser = text::duration)]
        wait: Duration,
    },
    /// Flush running guests' volumes, as their classes say; show how that is kept
    #[command(after_help = FLUSH_HELP)]
    Flush(FlushArguments),
    /// Set what a volume's guest may do; a limit that is not named stays
    #[command(after_help = "Examples:
  mezame volume limits web-root -p tenant-a --limit-iops 500 --limit-bytes 50MiB
  mezame volume limits web-root -p tenant-a --none    no limits

A running guest has them at once. A QEMU that is started has none, unless 'volume open --qmp' has named
it.")]
    Limits {
        /// Which volume
        #[command(flatten)]
        volume: VolumeName,
        /// The limits
        #[command(flatten)]
        limits: LimitArguments,
        /// Have no limits
        #[arg(long, required_unless_present_any = ["limit_iops", "limit_bytes"])]
        #[arg(conflicts_with_all = ["limit_iops", "limit_bytes"])]
        none: bool,
        /// The QMP socket of the QEMU that has it open [default: as 'volume open' was told]
        #[arg(long, value_name = "SOCKET")]
        qmp: Option<PathBuf>,
    },
    /// Make a volume longer, while no guest runs on it
    #[command(after_help = "Examples:
  mezame volume resize web-root 40GiB -p tenant-a

The guest's partitions and file systems are its own to make longer: cloud-init and the agent do so at
a start where the last partition is the root. No volume is made shorter.")]
    Resize {
        /// Which volume
        #[command(flatten)]
        volume: VolumeName,
        /// How long it is to be, in whole MiB, such as 40GiB
        #[arg(value_name = "SIZE", value_parser = size::parse)]
        size: u64,
        /// Whether it is waited for
        #[command(flatten)]
        detach: Detach,
    },
    /// Have another key open an encrypted volume, and no other
    #[command(after_help = "Examples:
  mezame volume rotate-key web-root -p tenant-a

Its guest may run or be off.")]
    RotateKey {
        /// Which volume
        #[command(flatten)]
        volume: VolumeName,
        /// The QMP socket of the QEMU that has it open [default: as 'volume open' was told]; where nobody
        /// listens, no guest may run on it
        #[arg(long, value_name = "SOCKET")]
        qmp: Option<PathBuf>,
        /// Whether it is waited for
        #[command(flatten)]
        detach: Detach,
    },
    /// Copy a running guest's volume into a plain one, and have the guest go over to it
    #[command(after_help = "Examples:
  mezame volume hydrate web-root -p tenant-a --speed 100MiB
  mezame volume hydrate web-root -p tenant-a --detach

Asked for again after the provisioner has ended it goes on with what QEMU does.")]
    Hydrate {
        /// Which volume
        #[command(flatten)]
        volume: VolumeName,
        /// The QMP socket of the QEMU that has it open [default: as 'volume open' was told]
        #[arg(long, value_name = "SOCKET")]
        qmp: Option<PathBuf>,
        /// Bytes a second at most, such as 100MiB
        #[arg(long, value_name = "SIZE", value_parser = size::parse)]
        speed: Option<u64>,
        /// Whether it is waited for
        #[command(flatten)]
        detach: Detach,
    },
    /// Replace what a stopped guest's volume holds by an image or a backup
    #[command(after_help = RESTORE_HELP)]
    Restore(RestoreVolumeArguments),
    /// Make an image of what a volume holds
    #[command(after_help = CAPTURE_HELP)]
    Capture(CaptureArguments),
    /// Have a hydration rest
    #[command(after_help = "Examples:
  mezame volume pause web-root -p tenant-a")]
    Pause(Hydrating),
    /// Have it go on
    #[command(after_help = "Examples:
  mezame volume resume web-root -p tenant-a")]
    Resume(Hydrating),
    /// The directories, devices and LUNs that volumes lie on
    #[command(after_help = "Examples:
  mezame volume pool list
  mezame volume pool create fast    once")]
    #[command(subcommand)]
    Pool(PoolCommand),
    /// What volumes are clones of: one for each image and size
    #[command(after_help = "Examples:
  mezame volume master list
  mezame volume master delete --unused")]
    #[command(subcommand)]
    Master(MasterCommand),
    /// Old contents of volumes, which restores in place have kept
    #[command(after_help = "Examples:
  mezame volume leftover list
  mezame volume leftover delete default/web-root.restored-0.raw")]
    #[command(subcommand)]
    Leftover(LeftoverCommand),
}

/// What names a volume.
#[derive(Debug, Args)]
pub struct VolumeName {
    /// Its id
    #[arg(value_name = "ID")]
    pub volume: VolumeIdArgument,
}

/// Of `volume create`.
#[derive(Debug, Args)]
pub struct CreateVolumeArguments {
    /// Which volume
    #[command(flatten)]
    pub volume: VolumeName,
    /// The image that it begins as, by its id or name; without one it is zeros, of the --size named
    #[arg(long, required_unless_present = "size")]
    pub image: Option<String>,
    /// Which pool it lies in [default: the site's]
    #[arg(long, value_name = "NAME")]
    pub pool: Option<String>,
    /// What a hard stop takes
    #[arg(long, value_name = "CLASS", default_value = "recovered")]
    pub class: ClassArgument,
    /// How long a write waits at most for the host's flush, 100ms to 60s [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = flush_ms)]
    pub flush_interval: Option<u32>,
    /// Its size, such as 20GiB [default: the image's]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub size: Option<u64>,
    /// Encrypt what its guest writes
    #[arg(long)]
    pub encrypted: bool,
    /// What its guest may do
    #[command(flatten)]
    pub limits: LimitArguments,
    /// Whether it is waited for
    #[command(flatten)]
    pub detach: Detach,
}

/// What a guest may do.
#[derive(Debug, Args)]
pub struct LimitArguments {
    /// Operations a second at most
    #[arg(long, value_name = "NUMBER")]
    pub limit_iops: Option<u32>,
    /// Bytes a second at most, such as 50MiB
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub limit_bytes: Option<u64>,
}

/// Of `volume pause` and `volume resume`.
#[derive(Debug, Args)]
pub struct Hydrating {
    /// Which volume
    #[command(flatten)]
    pub volume: VolumeName,
    /// The QMP socket of the QEMU that hydrates it [default: as 'volume open' was told]
    #[arg(long, value_name = "SOCKET")]
    pub qmp: Option<PathBuf>,
}

/// A class on the command line.
#[derive(Debug, Clone, Copy)]
pub struct ClassArgument(pub VolumeClass);

impl ValueEnum for ClassArgument {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [ClassArgument; 4] = [
            ClassArgument(VolumeClass::Recovered),
            ClassArgument(VolumeClass::Bounded),
            ClassArgument(VolumeClass::Synchronous),
            ClassArgument(VolumeClass::FlushHonouring),
        ];
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.as_str()))
    }
}

/// A time in milliseconds; which ones are good is the provisioner's to say.
pub(super) fn flush_ms(text: &str) -> Result<u32, text::DurationError> {
    let time = text::duration(text)?;
    Ok(u32::try_from(time.as_millis()).unwrap_or(u32::MAX))
}

/// A volume's id.
#[derive(Debug, Clone)]
pub struct VolumeIdArgument(pub String);

impl std::str::FromStr for VolumeIdArgument {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let begins = text.bytes().next().is_some_and(|first| first.is_ascii_lowercase());
        let is_good = begins && text.len() <= 19 && text.bytes().all(fits);
        let rule = "a volume's id is 1 to 19 of a-z, 0-9 and -, a letter first";
        if is_good { Ok(Self(text.into())) } else { Err(rule) }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::command::CommandLine;

    #[test]
    fn limits_are_lifted_by_a_word_of_its_own_and_not_by_forgetting_them() {
        let limits = |words: &[&str]| {
            let words = ["mezame", "volume", "limits", "web"].iter().chain(words);
            CommandLine::try_parse_from(words).map(drop)
        };
        assert!(limits(&[]).is_err() && limits(&["--qmp", "/run/x"]).is_err());
        assert!(limits(&["--none"]).is_ok() && limits(&["--limit-iops", "5"]).is_ok());
        assert!(limits(&["--none", "--limit-bytes", "5MiB"]).is_err());
    }
}
