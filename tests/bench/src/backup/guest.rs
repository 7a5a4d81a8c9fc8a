//! A QEMU with one disk, which QEMU itself writes to by the guest's device, and how long that took.
//!
//! `qemu-io` prints its figures to QEMU's standard output, which reaches the file when QEMU ends: so
//! all writes' times are read at last, in the order in which they were made.

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use mezame_images::{
    backup::disk::Disk,
    qmp::Qmp,
    volume::{Data, Durability, HostCache, Place, Volume, VolumeId},
};
use mezame_tests::{
    process::{self, Background},
    wait::{self, SOON},
};
use serde_json::json;

/// The disk's length.
pub(super) const SIZE: u64 = 256 << 20;
/// The longest that QEMU may take for an answer.
const BOUND: Duration = Duration::from_secs(60);

/// The running machine.
pub(super) struct Guest {
    pub(super) directory: PathBuf,
    pub(super) disk: Disk,
    pub(super) qmp: Qmp,
    /// A monitor of its own for who writes.
    writer: Qmp,
    device: String,
    qemu: Background,
    log: PathBuf,
    written: usize,
}

/// Writes that belong together: which of all they are.
pub(super) struct Phase(Range<usize>);

impl Phase {
    pub(super) fn writes(&self) -> Range<usize> {
        self.0.clone()
    }
}

impl Guest {
    /// Starts it, with a disk full of bytes that can't be compressed.
    pub(super) fn start(directory: &Path) -> Result<Self> {
        let path = directory.join("disk.raw");
        let mut number = 1_u64;
        let bytes: Vec<u8> = (0..SIZE / 8)
            .flat_map(|_| {
                number ^= number << 13;
                number ^= number >> 7;
                number ^= number << 17;
                number.to_le_bytes()
            })
            .collect();
        fs::write(&path, bytes)?;
        let id = VolumeId::parse("measured")?;
        let data = Data::Plain(Place::File(path));
        let volume = Volume::new(id, data, Durability::Plain, HostCache::Direct)?;
        let mut qemu = process::command("qemu-system-x86_64");
        // Its processor stands still: what it would do takes a CPU.
        qemu.args(["-machine", "q35", "-accel", "tcg", "-m", "64", "-nodefaults", "-S"]).args([
            "-no-user-config",
            "-display",
            "none",
        ]);
        let sockets = ["qmp", "qmp-writer"].map(|name| directory.join(name));
        for socket in &sockets {
            qemu.arg("-qmp").arg(format!("unix:{},server=on,wait=off", socket.display()));
        }
        qemu.args(["-blockdev", &volume.blockdev().to_string()]);
        qemu.args(["-device", &volume.device().to_string()]);
        let log = directory.join("times");
        let qemu = Background::start("QEMU", &mut qemu, &log)?;
        let connect = |socket: &Path| {
            wait::until("QEMU's monitor", SOON, || Ok(Qmp::connect(socket, BOUND)?))
        };
        let device = volume.device()["id"].as_str().context("a device without an id")?.to_owned();
        Ok(Self {
            directory: directory.into(),
            disk: Disk::of(&volume),
            qmp: connect(&sockets[0])?,
            writer: connect(&sockets[1])?,
            device: format!("/machine/peripheral/{device}/virtio-backend"),
            qemu,
            log,
            written: 0,
        })
    }

    /// Writes there, and waits for it.
    pub(super) fn write(&mut self, at: u64, length: u64) -> Result<()> {
        let with = self.written % 255 + 1;
        let line = format!("qemu-io -d {} \"write -C -P {with} {at} {length}\"", self.device);
        let said = self.writer.execute("human-monitor-command", json!({ "command-line": line }))?;
        ensure!(said == "", "qemu-io: {said}");
        self.written += 1;
        Ok(())
    }

    /// What is written meanwhile is one phase.
    pub(super) fn phase(&mut self, work: impl FnOnce(&mut Self) -> Result<()>) -> Result<Phase> {
        let begin = self.written;
        work(self)?;
        Ok(Phase(begin..self.written))
    }

    /// Ends QEMU; how long each write took, in microseconds.
    pub(super) fn end(mut self) -> Result<Vec<f64>> {
        // The reply may be lost with the socket.
        let _ = self.qmp.execute("quit", json!({}));
        self.qemu.wait(SOON)?;
        let said = fs::read_to_string(&self.log)?;
        let times: Vec<f64> = said.lines().filter_map(time).collect();
        ensure!(times.len() == self.written, "{} of {} writes", times.len(), self.written);
        Ok(times)
    }
}

/// Microseconds, of `qemu-io`'s line "bytes,operations,seconds,bytes a second,operations a second".
/// The third has hundredths of a second alone.
fn time(line: &str) -> Option<f64> {
    let fields: Vec<&str> = line.split(',').collect();
    let ["1", _, _, rate] = fields.get(1..)? else { return None };
    Some(1e6 / rate.trim().parse::<f64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::time;

    #[test]
    fn a_write_s_time_is_read_of_its_rate() {
        assert_eq!(time("16384,1,0:00:00.00,81920000.000,5000.000"), Some(200.0));
        assert_eq!(time("(qemu) quit"), None);
    }
}
