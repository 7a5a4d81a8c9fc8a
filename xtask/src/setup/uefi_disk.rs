//! A disk that any UEFI machine boots: kernel, initramfs and command line as one program, on a FAT
//! file system in a GPT. Made of plain files: no loop device, nothing mounted.
//!
//! The program is systemd's stub with the three as sections (UAPI group, *Unified Kernel Image*); it
//! lies where firmware looks that was told nothing (UEFI specification, 3.5.1.1). All numbers that
//! are otherwise drawn are given, so that the same input makes the same disk.

use std::{
    fs::File,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::progress::Step;

/// The disk, and where its one partition begins, in bytes.
const SIZE: u64 = 64 << 20;
const START: u64 = 1 << 20;
const SECTOR: u64 = 512;
/// Left for the second copy of the partition table, and what is round.
const END: u64 = 1 << 20;

/// What is booted.
pub(crate) struct Bootable<'a> {
    /// `linuxx64.efi.stub`.
    pub(crate) stub: &'a Path,
    pub(crate) kernel: &'a Path,
    pub(crate) initramfs: &'a Path,
    /// os-release(5), by which boot menus name it.
    pub(crate) os_release: &'a Path,
    pub(crate) command_line: &'a str,
}

/// Makes the disk of it; `scratch` is a directory for what is in between.
pub(crate) fn make(
    bootable: &Bootable<'_>,
    disk: &Path,
    scratch: &Path,
    step: &Step,
) -> Result<()> {
    step.note("making the disk");
    let program = scratch.join("program.efi");
    link(bootable, &program, scratch, step)?;
    let file = File::create(disk).context("making the disk")?;
    file.set_len(SIZE).context("sizing the disk")?;
    let sectors = (SIZE - START - END) / SECTOR;
    partition(disk, sectors)?;
    let partition = format!("{}@@{START}", disk.display());
    let count = sectors.to_string();
    let mut commands = [
        // Clusters of one sector: fewer would be too few for FAT32.
        mtool("mformat", &partition, &["-F", "-c", "1", "-T", &count, "-N", "6d657a61", "::"]),
        mtool("mmd", &partition, &["::/EFI", "::/EFI/BOOT"]),
        mtool("mcopy", &partition, &[]),
    ];
    commands[2].arg(&program).arg("::/EFI/BOOT/BOOTX64.EFI");
    commands.iter_mut().try_for_each(|command| step.run(command, |line| step.note(line)))
}

/// Puts the parts into the stub, where they don't overlap once they are loaded.
fn link(bootable: &Bootable<'_>, program: &Path, scratch: &Path, step: &Step) -> Result<()> {
    let (packed, command_line) = (scratch.join("initramfs.gz"), scratch.join("command-line"));
    let into = File::create(&packed).context("packing the initramfs")?;
    let status = Command::new("gzip")
        .args(["--no-name", "--best", "--stdout"])
        .arg(bootable.initramfs)
        .stdout(into)
        .status()
        .context("running gzip")?;
    ensure!(status.success(), "gzip ended with {status}");
    std::fs::write(&command_line, bootable.command_line).context("writing the command line")?;
    let mut objcopy = Command::new("objcopy");
    for (section, file, address) in [
        (".osrel", bootable.os_release, "0x20000"),
        (".cmdline", &command_line, "0x30000"),
        (".linux", bootable.kernel, "0x2000000"),
        (".initrd", &packed, "0x4000000"),
    ] {
        objcopy
            .arg(format!("--add-section={section}={}", file.display()))
            .arg(format!("--change-section-vma={section}={address}"));
    }
    step.run(objcopy.arg(bootable.stub).arg(program), |line| step.note(line))
}

/// One partition, an EFI system one.
fn partition(disk: &Path, sectors: u64) -> Result<()> {
    let table = format!(
        "label: gpt\nlabel-id: 6d657a61-6d65-0000-0000-000000000001\nstart={}, size={sectors}, type=U, \
         uuid=6d657a61-6d65-0000-0000-000000000002\n",
        START / SECTOR
    );
    let mut sfdisk = Command::new("sfdisk")
        .args(["--quiet", "--no-reread"])
        .arg(disk)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("starting sfdisk")?;
    let mut stdin = sfdisk.stdin.take().context("a pipe to sfdisk")?;
    // If it ends early, its status says more than a broken pipe.
    let sent = std::io::Write::write_all(&mut stdin, table.as_bytes());
    drop(stdin);
    let status = sfdisk.wait().context("waiting for sfdisk")?;
    ensure!(status.success(), "sfdisk ended with {status}");
    sent.context("writing to sfdisk")
}

fn mtool(name: &str, partition: &str, words: &[&str]) -> Command {
    let mut command = Command::new(name);
    // It would want the geometry of a disk of 1984.
    command.env("MTOOLS_SKIP_CHECK", "1").args(["-i", partition]).args(words);
    command
}
