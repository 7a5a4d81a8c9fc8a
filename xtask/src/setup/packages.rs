//! The Debian packages that the project's chores use: the one list, each with its reason.
//!
//! Everything that is installed on somebody's machine stands here and nowhere else. Whether a
//! package is there already is asked in `apt.rs`; nothing here runs anything.

use clap::ValueEnum;

/// What somebody wants to do, and so what must be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Purpose {
    /// `cargo xtask demo`.
    Demo,
    /// `cargo xtask test`, which also rebuilds the eBPF object.
    Test,
    /// `cargo xtask ebpf`.
    Ebpf,
    /// `cargo xtask agent`.
    Agent,
    /// `cargo xtask bench`.
    Bench,
    /// `cargo xtask fuzz`.
    Fuzz,
}

/// A package and why it is wanted.
#[derive(Debug)]
pub(crate) struct Package {
    /// Debian's name for it.
    pub(crate) name: &'static str,
    /// For the person whose machine it is: ends the sentence "is installed ...".
    pub(crate) why: &'static str,
    /// Which chores need it.
    pub(crate) purposes: &'static [Purpose],
    /// Packages of the same source that must have the same version. Where one of them came from
    /// a source that the machine no longer has (a backport, say), it follows.
    pub(crate) siblings: &'static [&'static str],
}

use Purpose::{Agent, Bench, Demo, Ebpf, Fuzz, Test};

const fn package(name: &'static str, purposes: &'static [Purpose], why: &'static str) -> Package {
    Package { name, why, purposes, siblings: &[] }
}

/// All of them.
pub(crate) const PACKAGES: &[Package] = &[
    package(
        "gcc",
        &[Demo, Test, Ebpf, Agent, Bench, Fuzz],
        "to link, and to compile SQLite and ring",
    ),
    package(
        "libc6-dev",
        &[Demo, Test, Ebpf, Agent, Bench, Fuzz],
        "to link, also the agent's static binary",
    ),
    package(
        "ca-certificates",
        &[Demo, Test, Ebpf, Agent, Bench, Fuzz],
        "to reach registries over TLS",
    ),
    package("iproute2", &[Demo, Test, Bench], "to make bridges, veth pairs and addresses"),
    package("cpio", &[Demo, Test], "to pack the guest's initramfs"),
    package("kmod", &[Demo, Test], "to find which modules of the guest kernel depend on which"),
    package("busybox-static", &[Demo, Test], "as the small guest's user space"),
    package("dropbear-bin", &[Demo, Test], "as the small guest's SSH server"),
    package("openssh-client", &[Demo, Test], "to make keys and to log in to the guests"),
    Package {
        name: "qemu-system-x86",
        why: "to run real guests (software emulation, no KVM needed)",
        purposes: &[Demo, Test],
        siblings: &["qemu-utils", "qemu-system-common", "qemu-system-data", "qemu-block-extra"],
    },
    Package {
        name: "qemu-system-common",
        why: "to open volumes without a guest (qemu-storage-daemon)",
        purposes: &[Test, Bench],
        siblings: &["qemu-system-x86", "qemu-utils", "qemu-system-data", "qemu-block-extra"],
    },
    Package {
        name: "qemu-utils",
        why: "to make guests' disks, encrypted ones too, and clones",
        purposes: &[Test, Bench],
        siblings: &[
            "qemu-system-x86",
            "qemu-system-common",
            "qemu-system-data",
            "qemu-block-extra",
        ],
    },
    package("tgt", &[Test], "as the iSCSI target whose LUNs volumes are on"),
    Package {
        name: "qemu-block-extra",
        why: "for QEMU's iSCSI initiator",
        purposes: &[Test],
        siblings: &["qemu-system-x86", "qemu-utils", "qemu-system-common", "qemu-system-data"],
    },
    package("libiscsi-bin", &[Test], "to ask a target for a LUN's serial number (iscsi-inq)"),
    package("ipxe-qemu", &[Demo, Test], "as the option ROM that QEMU's network card names"),
    package(
        "mmdebstrap",
        &[Test, Bench],
        "to build the full Debian guest, and the clients' Debians",
    ),
    package("fdisk", &[Test], "to partition the firewall's disk without a loop device"),
    package("mtools", &[Test], "to fill that disk"),
    package("binutils", &[Test], "to make one program of what UEFI boots"),
    package("ovmf", &[Test], "as the firmware that boots that disk"),
    package("shellcheck", &[Test], "to look through the scripts for what is not of every shell"),
    package("devscripts", &[Test], "for checkbashisms, which does the same by other rules"),
    package("python3-venv", &[Test], "to fetch the clients that come from PyPI"),
    package("cryptsetup-bin", &[Test], "to make a LUKS2 volume, without a device mapper"),
    package(
        "e2fsprogs",
        &[Test, Bench],
        "to make Debian guests' disks, and to change them, without a loop device",
    ),
    package(
        "dnsmasq-base",
        &[Test, Bench],
        "as a tenant's own DHCP server, as a resolver, and as a peer",
    ),
    package("bind9-dnsutils", &[Test], "for dig, to ask as a guest's resolver does"),
    package("nftables", &[Test], "to be in a guest's way, as its own firewall can be"),
    package("ntpsec-ntpdig", &[Test], "to ask a guest's time as its NTP client does"),
    package("age", &[Test], "to open what the agent sealed with an independent program"),
    package(
        "tang-common",
        &[Test],
        "as a network's tang server, which helps guests to open volumes",
    ),
    package("openssl", &[Test], "to verify identity documents with an independent program"),
    package("libelf1", &[Test, Ebpf], "for the LLVM tools that link the eBPF object"),
    package("g++", &[Test, Ebpf, Fuzz], "to build libFuzzer, and to link bpf-linker with LLVM"),
    package("llvm-22-dev", &[Test, Ebpf], "to build bpf-linker"),
    package("libpolly-22-dev", &[Test, Ebpf], "to build bpf-linker"),
    package("libzstd-dev", &[Test, Ebpf], "to build bpf-linker"),
    package("zlib1g-dev", &[Test, Ebpf], "to build bpf-linker"),
    package("libxml2-dev", &[Test, Ebpf], "to build bpf-linker"),
    package(
        "rustc-web",
        &[Test, Ebpf, Agent],
        "to compile the eBPF program and the agent for Windows (it builds its own core and std)",
    ),
    package("cargo-web", &[Test, Ebpf, Agent], "to compile the eBPF program and that agent"),
    package(
        "rust-web-src",
        &[Test, Ebpf, Agent],
        "the standard library that the eBPF program and that agent are built with",
    ),
    package(
        "gcc-mingw-w64-x86-64-win32",
        &[Test, Agent],
        "to link the agent for Windows (230 MB with what it needs)",
    ),
    package("wine64", &[Test], "to run the agent for Windows (800 MB with what it needs)"),
    package("nginx-light", &[Bench], "as a peer: a file over a plain veth"),
    package("rsyslog", &[Bench], "as the system log of the peer that logs each request"),
    package("restic", &[Bench], "as a peer of the image archive"),
    package("borgbackup", &[Bench], "as a peer of the image archive"),
    package("haproxy", &[Bench], "as a peer: the proxy for each network that others use"),
];

/// Those that a purpose needs.
pub(crate) fn needed_for(purpose: Purpose) -> impl Iterator<Item = &'static Package> {
    PACKAGES.iter().filter(move |package| package.purposes.contains(&purpose))
}
