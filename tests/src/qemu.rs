//! A real guest under QEMU, in software emulation, on a real tap.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Result, ensure};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use crate::{
    guest_image::{GuestImage, Start},
    namespace::Namespace,
    process::{Background, tail},
    tap::Tap,
    wait,
};

/// What a guest's machine is like.
#[derive(Debug, Clone)]
pub struct Machine {
    /// Its name, for logs.
    pub name: String,
    /// Its card's MAC.
    pub mac: String,
    /// In MiB.
    pub memory: u32,
    /// What is added to the kernel's command line.
    pub command_line: String,
    /// QEMU's `-smbios` values, such as `type=1,serial=…`.
    pub smbios: Vec<String>,
    /// Where what it writes to its root disk is kept (a qcow2 overlay); without, it is dropped.
    pub overlay: Option<PathBuf>,
    /// Images of further disks, which it may only read.
    pub disks: Vec<PathBuf>,
    /// Further words of QEMU's command line.
    pub words: Vec<String>,
}

impl Machine {
    /// A small one.
    pub fn new(name: &str, mac: &str) -> Self {
        Self {
            name: name.into(),
            mac: mac.into(),
            memory: 192,
            command_line: String::new(),
            smbios: Vec::new(),
            overlay: None,
            disks: Vec::new(),
            words: Vec::new(),
        }
    }
}

/// What AES and SSH profit from, and nothing wider: what a C library does with AVX where it may is
/// slower in software than what it does without. A boot of Debian takes a fifth less than with `max`.
/// And random numbers: an initramfs that has no driver of the machine's card for them waited for eight
/// minutes without.
pub const PROCESSOR: &str = "qemu64,+aes,+pclmulqdq,+rdrand,+ssse3,+sse4.1,+sse4.2,+popcnt";

/// A running guest; killed when dropped.
#[derive(Debug)]
pub struct QemuGuest {
    process: Background,
    name: String,
}

impl QemuGuest {
    /// Starts a guest on a tap of the hypervisor.
    pub fn boot(
        hypervisor: &Namespace,
        image: &GuestImage,
        machine: &Machine,
        tap: Tap,
        directory: &Path,
    ) -> Result<Self> {
        Self::boot_with(hypervisor, image, machine, tap, Vec::new(), directory)
    }

    /// The same with further cards, each with its MAC.
    pub fn boot_with(
        hypervisor: &Namespace,
        image: &GuestImage,
        machine: &Machine,
        tap: Tap,
        further: Vec<(String, Tap)>,
        directory: &Path,
    ) -> Result<Self> {
        let cards: Vec<(String, OwnedFd)> = std::iter::once((machine.mac.clone(), tap))
            .chain(further)
            .map(|(mac, tap)| (mac, tap.into_descriptor()))
            .collect();
        let numbers: Vec<_> = cards.iter().map(|(_, card)| card.as_raw_fd()).collect();
        let mut qemu = hypervisor.command("qemu-system-x86_64");
        qemu.args(["-machine", "q35", "-accel", "tcg", "-cpu", PROCESSOR, "-smp", "1"])
            .args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"])
            .args(["-serial", "stdio", "-m", &machine.memory.to_string()])
            // The host keys of the guest's SSH server are made at boot.
            .args(["-device", "virtio-rng-pci"])
            // snapshot=on below writes there.
            .env("TMPDIR", directory);
        match &image.start {
            Start::Kernel { kernel, initrd } => qemu
                .arg("-kernel")
                .arg(kernel)
                .arg("-initrd")
                .arg(initrd)
                .arg("-append")
                // On a busy host Linux finds its timer too slow at boot, and panics.
                .arg(format!(
                    "console=ttyS0 quiet panic=-1 no_timer_check {}",
                    machine.command_line
                )),
            Start::Firmware(firmware) => qemu.arg("-bios").arg(firmware),
        };
        for (at, (mac, card)) in cards.iter().enumerate() {
            qemu.args(["-netdev", &format!("tap,id=lan{at},fd={}", card.as_raw_fd())])
                .args(["-device", &format!("virtio-net-pci,netdev=lan{at},mac={mac},romfile=")]);
        }
        if let Some(disk) = &image.disk {
            let disk = match &machine.overlay {
                Some(overlay) => format!("file={},if=virtio,format=qcow2", overlay.display()),
                None => format!("file={},if=virtio,format=raw,snapshot=on", disk.display()),
            };
            qemu.args(["-drive", &disk]);
        }
        for disk in &machine.disks {
            let disk = format!("file={},if=virtio,format=raw,readonly=on", disk.display());
            qemu.args(["-drive", &disk]);
        }
        qemu.args(&machine.words);
        for value in &machine.smbios {
            qemu.args(["-smbios", value]);
        }
        // SAFETY: fcntl(2) is async-signal-safe; the descriptors are open in the parent until the
        // child has been started.
        unsafe {
            qemu.pre_exec(move || {
                for number in &numbers {
                    let card = std::os::fd::BorrowedFd::borrow_raw(*number);
                    fcntl(card, FcntlArg::F_SETFD(FdFlag::empty()))
                        .map_err(std::io::Error::from)?;
                }
                Ok(())
            });
        }
        let log = directory.join(format!("{}.console", machine.name));
        let process = Background::start(&machine.name, &mut qemu, &log)?;
        drop(cards);
        Ok(Self { process, name: machine.name.clone() })
    }

    /// Waits for the machine's end, which is the guest's own to bring about.
    pub fn until_ended(&mut self, bound: Duration) -> Result<()> {
        self.process.wait(bound).map(drop)
    }

    /// What the guest wrote to its console.
    pub fn console(&self) -> String {
        self.process.log()
    }

    /// Fails if the guest's machine has ended.
    pub fn ensure_running(&mut self) -> Result<()> {
        self.process.ensure_running()
    }

    /// Waits for a text on its console.
    pub fn until_says(&mut self, text: &str, bound: Duration) -> Result<()> {
        let what = format!("{text:?} on the console of {}", self.name);
        wait::until(&what, bound, || {
            let console = self.console();
            ensure!(console.contains(text), "it said last:\n{}", tail(&console, 25));
            Ok(())
        })
        .and_then(|()| self.process.ended().map(drop))
    }
}
