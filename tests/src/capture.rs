//! What went through a guest's card, as the card saw it.

use std::sync::{Arc, Mutex};

/// The heads of the frames that a guest was sent, the newest last and bounded; and which offloads
/// its own frames asked for.
#[derive(Debug, Clone, Default)]
pub struct Capture {
    received: Arc<Mutex<Vec<Vec<u8>>>>,
    sent: Arc<Mutex<Offloads>>,
}

/// How many frames asked for which offload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offloads {
    /// Their checksum was for the device to be completed (VIRTIO_NET_HDR_F_NEEDS_CSUM).
    pub partial_checksums: u64,
    /// They were for the device to be cut into segments (VIRTIO_NET_HDR_GSO_*).
    pub long_segments: u64,
}

impl Capture {
    /// How much of each frame is kept.
    const HEAD: usize = 96;
    /// How many frames are kept.
    const FRAMES: usize = 4096;

    /// Keeps a frame's head.
    pub fn add(&self, frame: &[u8]) {
        let mut frames = self.frames();
        if frames.len() == Self::FRAMES {
            frames.remove(0);
        }
        frames.push(frame[..frame.len().min(Self::HEAD)].to_vec());
    }

    /// Notes what a frame of the guest asked for in its virtio header.
    pub fn note_sent(&self, header: &[u8]) {
        let mut sent = self.sent.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        sent.partial_checksums += u64::from(header.first().is_some_and(|flags| flags & 1 != 0));
        sent.long_segments += u64::from(header.get(1).is_some_and(|kind| *kind != 0));
    }

    /// What the guest's frames asked for so far.
    pub fn sent_offloads(&self) -> Offloads {
        *self.sent.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Forgets what was received.
    pub fn clear(&self) {
        self.frames().clear();
    }

    /// How long the longest IPv4 packet was that the guest received.
    pub fn longest_received(&self) -> u16 {
        self.frames()
            .iter()
            .filter(|frame| frame.get(12..14) == Some(&[8, 0]))
            .filter_map(|frame| Some(u16::from_be_bytes([*frame.get(16)?, *frame.get(17)?])))
            .max()
            .unwrap_or_default()
    }

    /// The TTLs of IPv4 TCP segments from this source port that carry data.
    pub fn data_ttls(&self, port: u16) -> Vec<u8> {
        self.frames()
            .iter()
            .filter_map(|frame| {
                let ip = frame.get(14..).filter(|_| frame.get(12..14) == Some(&[8, 0]))?;
                let header = usize::from(ip.first()? & 15) * 4;
                let tcp = ip.get(header..)?;
                let total = usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]));
                let data = total > header + usize::from(tcp.get(12)? >> 4) * 4;
                (ip.get(9) == Some(&6) && tcp.get(..2) == Some(&port.to_be_bytes()) && data)
                    .then(|| ip.get(8).copied())?
            })
            .collect()
    }

    fn frames(&self) -> std::sync::MutexGuard<'_, Vec<Vec<u8>>> {
        self.received.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
