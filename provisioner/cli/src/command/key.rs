//! What `mezame key` takes.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum, builder::PossibleValue};
use mezame_model::{VolumeName, volume_key::Once};

use crate::text;

/// Of `key`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Give an instance the key of an encrypted volume
    #[command(after_help = "Examples:
  mezame key create web root -p tenant-a --to root.key     a random key, which cryptsetup takes
  mezame key create web root -p tenant-a --to - | cryptsetup luksFormat disk.img --key-file -
  mezame key create web data -p tenant-a --key-file data.key --window 10m

The key is told once, here, and never again: what the file or the pipe gets is all there is.
A random key is 32 bytes as 64 hexadecimal digits, so that it can be typed at a console, too.")]
    Create(CreateArguments),
    /// Add the next version of a key; the guest is given both until the old one is revoked
    #[command(after_help = "Examples:
  mezame key rotate web root -p tenant-a --to new.key
  # in the guest: cryptsetup luksAddKey /dev/vda3 new.key, then luksRemoveKey with the old one
  mezame key revoke web root -p tenant-a --version 1")]
    Rotate(RotateArguments),
    /// Give a key out no more, or forget one of its versions
    #[command(after_help = "Examples:
  mezame key revoke web root -p tenant-a                the guest stays locked at its next boot
  mezame key revoke web root -p tenant-a --version 1    after a rotation; it can't be restored")]
    Revoke {
        /// Which key
        #[command(flatten)]
        key: KeyName,
        /// Only this version, for good
        #[arg(long, value_name = "NUMBER")]
        version: Option<u32>,
    },
    /// Give a revoked key out again
    #[command(after_help = "Examples:
  mezame key restore web root -p tenant-a")]
    Restore(KeyName),
    /// Forget a key for good: a volume that nothing else opens is lost
    #[command(after_help = "Examples:
  mezame key destroy web root -p tenant-a --yes")]
    Destroy {
        /// Which key
        #[command(flatten)]
        key: KeyName,
        /// It is meant
        #[arg(long, required = true)]
        yes: bool,
    },
    /// Show an instance's keys, without what is secret
    #[command(after_help = "Examples:
  mezame key list web -p tenant-a")]
    List {
        /// Which instance
        instance: String,
    },
    /// Show who asked for a key, when, and what came of it
    #[command(after_help = "Examples:
  mezame key audit web -p tenant-a
  mezame key audit web root -p tenant-a -o json

START differs for each start of the machine, as the hypervisor tells; BOOT for each boot, as the
guest says. Two keys in one start are two boots that the guest claims, or a guest that lies.")]
    Audit {
        /// Which instance
        instance: String,
        /// Only this key
        key: Option<VolumeName>,
    },
}

/// A key of an instance.
#[derive(Debug, Args)]
pub struct KeyName {
    /// Which instance
    pub instance: String,
    /// Which of its keys
    pub key: VolumeName,
}

/// Where a key comes from.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct KeySource {
    /// Make a random key, and write it into this file (mode 0600); - for standard output
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// Take the bytes of this file, all of them; - for standard input
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
}

/// Of `key create`.
#[derive(Debug, Args)]
pub struct CreateArguments {
    /// Which key
    #[command(flatten)]
    pub key: KeyName,
    /// Where it comes from
    #[command(flatten)]
    pub source: KeySource,
    /// How often it is given out
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    pub once: OnceArgument,
    /// Only for so long after a start of the machine
    #[arg(long, value_name = "TIME", value_parser = text::duration)]
    pub window: Option<Duration>,
    /// Only until then, such as 2026-12-31T00:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = text::moment)]
    pub until: Option<u64>,
}

/// Of `key rotate`.
#[derive(Debug, Args)]
pub struct RotateArguments {
    /// Which key
    #[command(flatten)]
    pub key: KeyName,
    /// Where its next version comes from
    #[command(flatten)]
    pub source: KeySource,
}

/// How often a key is given out, on the command line.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OnceArgument(pub Once);

impl ValueEnum for OnceArgument {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self(Once::PerStart), Self(Once::PerBoot)]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let help = match self.0 {
            Once::PerStart => "once a start of the machine, whatever the guest says",
            Once::PerBoot => "once a boot, and the guest says when it boots",
        };
        Some(PossibleValue::new(self.0.as_str()).help(help))
    }
}
