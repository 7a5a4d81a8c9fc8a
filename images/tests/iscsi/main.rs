//! Masters, clones, hydration and the archive on LUNs of a real target (`tgtd`), reached by QEMU's own
//! initiator. All traffic is on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "everything here is a test")]

mod masters;
mod mistaken;
mod outage;
mod overlays;
mod target;
mod transfer;

use std::path::Path;

use mezame_images::{
    iscsi::{ChapSecret, ChapUser, InitiatorName, IscsiName, Lun, LunAccess},
    storage_daemon::StorageDaemon,
    volume::Volume,
};
use target::{SECRET, TARGET, Target, USER};
use zeroize::Zeroizing;

const MIB: usize = 1 << 20;

/// What a test has.
struct Desk {
    directory: tempfile::TempDir,
    target: Target,
}

impl Desk {
    fn lay() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let target = Target::start(directory.path());
        Self { directory, target }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// How a hypervisor of this number reaches the target.
    fn access(&self, host: u8) -> LunAccess {
        access(self.path(), host, SECRET)
    }

    fn lun(&self, number: u8) -> Lun {
        Lun::parse(&self.target.url(number)).unwrap()
    }

    /// A daemon that has a volume open, as the first hypervisor.
    fn open(&self, volume: &Volume) -> StorageDaemon {
        let secrets = volume.secrets(self.access(1).keys()).unwrap();
        StorageDaemon::start_with(&volume.blockdev(), &secrets, self.path()).unwrap()
    }

    /// All that a volume has, through QEMU.
    fn contents(&self, volume: &Volume) -> Vec<u8> {
        let daemon = self.open(volume);
        let mut blocks = daemon.open().unwrap();
        let mut bytes = vec![0; usize::try_from(blocks.size()).unwrap()];
        for (at, chunk) in bytes.chunks_mut(4 * MIB).enumerate() {
            blocks.read((at * 4 * MIB) as u64, chunk).unwrap();
        }
        drop(blocks);
        daemon.end().unwrap();
        bytes
    }
}

fn access(run: &Path, host: u8, secret: &str) -> LunAccess {
    let initiator = InitiatorName::of_machine(&format!("host {host}"));
    let target = IscsiName::parse(TARGET).unwrap();
    let user = ChapUser::parse(USER).unwrap();
    let secret = ChapSecret::parse(Zeroizing::new(secret.into())).ok().unwrap();
    LunAccess::new(initiator, run).with(target, user, secret)
}

/// Bytes that are nowhere zero, and another time others.
fn bytes(length: usize, seed: u8) -> Vec<u8> {
    let byte = |at: usize| (at.wrapping_mul(2_654_435_761) >> 13) as u8 ^ seed | 1;
    (0..length).map(byte).collect()
}
