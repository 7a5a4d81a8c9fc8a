//! What went to a guest, as its card saw it.

use std::sync::{Arc, Mutex};

/// The heads of the frames that a guest was sent, the newest last; bounded.
#[derive(Debug, Clone, Default)]
pub struct Capture(Arc<Mutex<Vec<Vec<u8>>>>);

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

    /// Forgets all.
    pub fn clear(&self) {
        self.frames().clear();
    }

    /// The TTLs of IPv4 TCP segments with data or with SYN, from this source port.
    pub fn reply_ttls(&self, port: u16) -> Vec<u8> {
        self.frames()
            .iter()
            .filter_map(|frame| {
                let ip = frame.get(14..).filter(|_| frame.get(12..14) == Some(&[8, 0]))?;
                let tcp = ip.get(usize::from(ip.first()? & 15) * 4..)?;
                (ip.get(9) == Some(&6) && tcp.get(..2) == Some(&port.to_be_bytes()))
                    .then(|| ip.get(8).copied())?
            })
            .collect()
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
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
