//! What `mezame image` takes.

use std::{path::PathBuf, str::FromStr};

use clap::{Args, Subcommand, ValueEnum, builder::PossibleValue};
use mezame_model::{ProjectName, api::images::ImageFormat};

use super::files::{CAT_HELP, FileArguments, FolderArguments, LS_HELP, PARTITIONS_HELP, TAR_HELP};
use crate::size;

/// Of `image`.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Send a disk image to the archive
    #[command(after_help = "Examples:
  mezame image import debian.qcow2 -p tenant-a --name debian-12
  mezame image import disk.img -p tenant-a --name web --format raw --label os=linux
  mezame image import debian.qcow2 -p tenant-a --name debian-12 --sha256 \"$(cut -d' ' -f1 SUMS)\"
  mezame image import fw.vmdk -p tenant-a --name fw --signature fw.vmdk.sig --trust vendor.pub

The file is sent, checked, converted and archived. Once it is sent the archive goes on by itself,
whether this command waits or not: 'mezame job list' shows how far it is.")]
    Import(ImportArguments),
    /// Show the images that a project sees: its own, and those shared with it
    #[command(after_help = "Examples:
  mezame image list -p tenant-a
  mezame image list -p tenant-a -o wide    with digests, signers and labels")]
    List,
    /// Show all about one image
    #[command(after_help = "Examples:
  mezame image show debian-12 -p tenant-a
  mezame image show img-0123456789abcdef0123456789abcdef -p tenant-a -o json

IMAGE is an image's id, or its name where only one has it. An image of the project's own goes before
those that are shared with it.")]
    Show(ImageName),
    /// Write an image into a file, as a raw disk
    #[command(after_help = "Examples:
  mezame image export debian-12 disk.raw -p tenant-a
  mezame image export debian-12 disk.raw -p tenant-a --force          write it anew
  mezame image export debian-12 - -p tenant-a | sha256sum             without a file
  qemu-img convert -f raw -O qcow2 disk.raw disk.qcow2                another form of the file

The file is sparse, and there whole or not at all. It holds what the disk held, secrets included.")]
    Export {
        /// Which image
        #[command(flatten)]
        image: ImageName,
        /// Where to, or - for standard output
        file: PathBuf,
        /// Replace a file that is there
        #[arg(long)]
        force: bool,
    },
    /// Show how an image's disk is divided
    #[command(after_help = PARTITIONS_HELP)]
    Partitions(ImageName),
    /// Show what is in a folder of an image's disk
    #[command(after_help = LS_HELP)]
    Ls(FolderArguments),
    /// Print a file of an image's disk
    #[command(after_help = CAT_HELP)]
    Cat(FileArguments),
    /// Print a file or a folder of an image's disk as a tar stream
    #[command(after_help = TAR_HELP)]
    Tar(FileArguments),
    /// Have the archive read all of an image, and tell what of it is damaged
    #[command(after_help = "Examples:
  mezame image verify debian-12 -p tenant-a
  mezame image verify debian-12 -p tenant-a --detach    don't wait for it

Exits with 1 where something is damaged.")]
    Verify {
        /// Which image
        #[command(flatten)]
        image: ImageName,
        /// Don't wait until it is done
        #[arg(long)]
        detach: bool,
    },
    /// Let another project see an image, or all of them
    #[command(after_help = "Examples:
  mezame image share debian-12 -p tenant-a --with tenant-b
  mezame image share debian-12 -p tenant-a --all")]
    Share(ShareArguments),
    /// Take that back
    #[command(after_help = "Examples:
  mezame image unshare debian-12 -p tenant-a --with tenant-b
  mezame image unshare debian-12 -p tenant-a --all    by name it stays shared")]
    Unshare(ShareArguments),
    /// Delete one of a project's own images
    #[command(after_help = "Examples:
  mezame image delete debian-12 -p tenant-a

What no other image needs is freed by the next 'mezame image archive collect'.")]
    Delete(ImageName),
    /// The archive as a whole, for who cares for it
    #[command(after_help = "Examples:
  mezame image archive create     once
  mezame image archive collect    once a day, say
  mezame image archive status")]
    #[command(subcommand)]
    Archive(ArchiveCommand),
}

/// Of `image archive`.
#[derive(Debug, Subcommand)]
pub enum ArchiveCommand {
    /// Show where the archive is and how much is in it
    #[command(after_help = "Examples:
  mezame image archive status")]
    Status,
    /// Make the archive at the place that the provisioner's settings name
    #[command(after_help = "Examples:
  mezame image archive create

Done once. An archive whose file system is not mounted is not made anew by anything else.")]
    Create,
    /// Delete what no image needs any more
    #[command(after_help = "Examples:
  mezame image archive collect    once a day, say

What is still waited for is left to the next time.")]
    Collect(Detach),
    /// Have all packs of the archive read
    #[command(after_help = "Examples:
  mezame image archive verify

Exits with 1 where something is damaged.")]
    Verify(Detach),
    /// Show all projects' images
    #[command(after_help = "Examples:
  mezame image archive images")]
    Images,
    /// Delete an image without opening it: a damaged one, or one whose key is gone
    #[command(after_help = "Examples:
  mezame image archive forget img-0123456789abcdef0123456789abcdef --yes")]
    Forget {
        /// Its id
        image: String,
        /// It is meant
        #[arg(long, required = true)]
        yes: bool,
    },
    /// Show the packs that no new image counts on, or add or release one
    #[command(after_help = "Examples:
  mezame image archive quarantine
  mezame image archive quarantine --add 0123456789abcdef0123456789abcdef-00000000
  mezame image archive quarantine --release 0123456789abcdef0123456789abcdef-00000000")]
    Quarantine {
        /// Add this pack
        #[arg(long, value_name = "PACK", conflicts_with = "release")]
        add: Option<PackName>,
        /// Release this pack
        #[arg(long, value_name = "PACK")]
        release: Option<PackName>,
    },
}

/// Whether it is waited for.
#[derive(Debug, Args)]
pub struct Detach {
    /// Don't wait until it is done
    #[arg(long)]
    pub detach: bool,
}

/// What names an image.
#[derive(Debug, Args)]
pub struct ImageName {
    /// Its id, or its name where only one has it
    pub image: String,
}

/// Of `image import`.
#[derive(Debug, Args)]
pub struct ImportArguments {
    /// The disk image
    pub file: PathBuf,
    /// What it is called in the archive
    #[arg(long, value_name = "TEXT")]
    pub name: String,
    /// The file's form [default: by its name's end: .raw, .img, .qcow2, .vmdk, .vhdx]
    #[arg(long, value_name = "FORM")]
    pub format: Option<FormatArgument>,
    /// A label of your own; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<Label>,
    /// The SHA-256 that the file must have
    #[arg(long, value_name = "HEX")]
    pub sha256: Option<String>,
    /// The SHA-512 that the file must have
    #[arg(long, value_name = "HEX")]
    pub sha512: Option<String>,
    /// A file with the signature that 'ssh-keygen -Y sign -n mezame-image' wrote
    #[arg(long, value_name = "FILE", requires = "trust")]
    pub signature: Option<PathBuf>,
    /// A file with public keys of which one must have made the signature
    #[arg(long, value_name = "FILE", requires = "signature")]
    pub trust: Vec<PathBuf>,
    /// How large the disk may be, such as 20GiB [default: what the site allows]
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub largest: Option<u64>,
    /// Where it comes from, for people [default: the file's name]
    #[arg(long, value_name = "TEXT")]
    pub source: Option<String>,
    /// Don't wait for what follows once the file is sent
    #[arg(long)]
    pub detach: bool,
}

/// Of `image share` and `image unshare`.
#[derive(Debug, Args)]
pub struct ShareArguments {
    /// Which image
    #[command(flatten)]
    pub image: ImageName,
    /// This project
    #[arg(long, value_name = "PROJECT", required_unless_present = "all")]
    pub with: Option<ProjectName>,
    /// All projects
    #[arg(long, conflicts_with = "with")]
    pub all: bool,
}

/// A form on the command line.
#[derive(Debug, Clone, Copy)]
pub struct FormatArgument(pub ImageFormat);

impl ValueEnum for FormatArgument {
    fn value_variants<'a>() -> &'a [Self] {
        const ALL: [FormatArgument; 4] = [
            FormatArgument(ImageFormat::Raw),
            FormatArgument(ImageFormat::Qcow2),
            FormatArgument(ImageFormat::Vmdk),
            FormatArgument(ImageFormat::Vhdx),
        ];
        &ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.as_str()))
    }
}

/// A label.
#[derive(Debug, Clone)]
pub struct Label(pub String, pub String);

impl FromStr for Label {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self(key.into(), value.into())),
            _ => Err("a label is KEY=VALUE"),
        }
    }
}

/// A text that may stand in a path of the API: digits, small letters and `-`.
fn plain(text: &str) -> bool {
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(is_plain)
}

/// A pack's name.
#[derive(Debug, Clone)]
pub struct PackName(pub String);

impl FromStr for PackName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let short = text.strip_prefix("packs/").unwrap_or(text);
        if plain(short) { Ok(Self(short.into())) } else { Err("a pack's name is digits and a '-'") }
    }
}
