//! What `mezame volume flush` takes.

use std::path::PathBuf;

use clap::Args;

use super::VolumeIdArgument;

pub(super) const FLUSH_HELP: &str = "Examples:
  mezame volume flush web-root web-data -p tenant-a --begin               of a guest that runs
  mezame volume flush web-root -p tenant-a                                show how it is kept
  mezame volume flush web-root -p tenant-a --end

'volume open --qmp' has it begun with the guest. It ends with the guest's QEMU.";

/// Of `volume flush`.
#[derive(Debug, Args)]
pub struct FlushArguments {
    /// Their ids
    #[arg(value_name = "ID", required = true)]
    pub volumes: Vec<VolumeIdArgument>,
    /// Begin, in the QEMU that 'volume open' was told of
    #[arg(long, conflicts_with = "end")]
    pub begin: bool,
    /// Begin: the QMP socket of the QEMU that has them open
    #[arg(long, value_name = "SOCKET", conflicts_with = "end")]
    pub qmp: Option<PathBuf>,
    /// Flush them no more
    #[arg(long)]
    pub end: bool,
}
