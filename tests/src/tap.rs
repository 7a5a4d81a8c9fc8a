//! A real tap, with the descriptor that a hypervisor would hold.
//!
//! Frames carry the 10-byte header of virtio_net_hdr, so that checksum and segmentation offloads
//! can be had as a guest has them (linux/if_tun.h, linux/virtio_net.h).

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::{
    libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use crate::namespace::Namespace;

nix::ioctl_write_ptr_bad!(
    /// Makes a device and ties it to the descriptor.
    tun_set_iff,
    libc::TUNSETIFF,
    libc::ifreq
);
nix::ioctl_write_int_bad!(
    /// Says what the descriptor's holder can do.
    tun_set_offload,
    libc::TUNSETOFFLOAD
);

/// The header in front of each frame.
pub const HEADER: usize = 10;

/// What the device's other side (the guest) can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offload {
    /// Whole checksums, no segment longer than the MTU.
    None,
    /// Checksums may be partial and TCP segments up to 64 KiB long (CHECKSUM_PARTIAL, TSO).
    ChecksumAndSegmentation,
}

/// A tap device and its descriptor; the device goes with it.
#[derive(Debug)]
pub struct Tap {
    file: File,
    name: String,
}

impl Tap {
    /// Makes a tap in a namespace and sets it up.
    pub fn create(namespace: &Namespace, name: &str, offload: Offload) -> Result<Self> {
        let tap = Self::create_down(namespace, name, offload)?;
        namespace.ip(&format!("link set {name} up"))?;
        Ok(tap)
    }

    /// Makes a tap that is not set up yet.
    pub fn create_down(namespace: &Namespace, name: &str, offload: Offload) -> Result<Self> {
        ensure!(name.len() < libc::IFNAMSIZ, "{name} is too long for a device");
        let file = namespace.run(|| open(name))??;
        let offloads = match offload {
            Offload::None => 0,
            Offload::ChecksumAndSegmentation => {
                libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6
            }
        };
        // SAFETY: the descriptor is a tap's, and the argument is a plain number.
        unsafe { tun_set_offload(file.as_raw_fd(), offloads.cast_signed()) }
            .context("setting offloads")?;
        Ok(Self { file, name: name.into() })
    }

    /// The device's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends a frame as the guest.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let mut bytes = vec![0; HEADER];
        bytes.extend_from_slice(frame);
        self.send_raw(&bytes)
    }

    /// Sends a frame with its virtio header in front.
    pub fn send_raw(&self, bytes: &[u8]) -> Result<()> {
        let written = (&self.file).write(bytes).context("sending a frame")?;
        ensure!(written == bytes.len(), "only {written} of {} bytes were sent", bytes.len());
        Ok(())
    }

    /// The next frame for the guest, with its virtio header, if one comes in time.
    pub fn receive_raw(&self, bound: Duration) -> Result<Option<Vec<u8>>> {
        let mut wanted = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(bound).unwrap_or(PollTimeout::MAX);
        if poll(&mut wanted, timeout).context("waiting for a frame")? == 0 {
            return Ok(None);
        }
        let mut bytes = vec![0; HEADER + (1 << 16)];
        let length = (&self.file).read(&mut bytes).context("receiving a frame")?;
        bytes.truncate(length);
        Ok(Some(bytes))
    }

    /// The first frame for the guest, within the bound, that `wanted` finds something in.
    pub fn receive_first<T>(
        &self,
        bound: Duration,
        mut wanted: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<Option<T>> {
        let end = std::time::Instant::now() + bound;
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            let Some(bytes) = self.receive_raw(left)? else { return Ok(None) };
            if let Some(found) = bytes.get(HEADER..).and_then(&mut wanted) {
                return Ok(Some(found));
            }
        }
    }

    /// The descriptor, for a process that is the guest (QEMU's `fd=`).
    pub fn into_descriptor(self) -> OwnedFd {
        self.file.into()
    }
}

impl AsFd for Tap {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Opens a tap in the namespace of the calling thread.
fn open(name: &str) -> Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .context("opening /dev/net/tun")?;
    // SAFETY: all zeroes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from.cast_signed();
    }
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).context("flags fit a short")?;
    // SAFETY: the descriptor is open and the request outlives the call.
    unsafe { tun_set_iff(file.as_raw_fd(), &raw const request) }
        .with_context(|| format!("making the tap {name}"))?;
    Ok(file)
}
