//! What `mezame volume pool` takes.

use clap::Subcommand;

/// Of `volume pool`.
#[derive(Debug, Subcommand)]
pub enum PoolCommand {
    /// Show the pools: how large they are, what of it is free, and each disk
    #[command(after_help = "Examples:
  mezame volume pool list")]
    List,
    /// Make a pool at the place that the settings name, or take its new disks in
    #[command(after_help = "Examples:
  mezame volume pool create fast
  mezame volume pool create disks --take-over /dev/disk/by-id/wwn-0x5000c500a1b2c3d4

A disk that is not blank is refused, and so are all others then, unless --take-over names it: WHAT IS
ON IT IS LOST. One that is mounted, part of another device, or open in a QEMU is never taken.")]
    Create {
        /// What the settings call it
        pool: VolumePool,
        /// Write over what is on this device or LUN of the pool; to be given once for each
        #[arg(long, value_name = "DISK")]
        take_over: Vec<String>,
    },
}

/// A pool's name.
#[derive(Debug, Clone)]
pub struct VolumePool(pub String);

impl std::str::FromStr for VolumePool {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let is_good = (1..=63).contains(&text.len()) && text.bytes().all(fits);
        if is_good { Ok(Self(text.into())) } else { Err("a pool's name is of a-z, 0-9 and -") }
    }
}
