//! QEMU's programs as the tests start them: killed when dropped, awaited by their sockets.

pub(crate) mod loop_device;
pub(crate) mod vault;

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{
    clone::{Master, Pool},
    encryption::{KeyNumber, VolumeKey, VolumeKeys},
    environment::fixed::FixedEnvironment,
    storage_daemon::StorageDaemon,
    volume::{Format, Volume, VolumeId},
};

/// A process of a test's own.
#[derive(Debug)]
pub(crate) struct Daemon(Child);

impl Daemon {
    /// Starts it, and waits until all of its sockets are there.
    pub(crate) fn start(command: &mut Command, sockets: &[&Path]) -> Self {
        let child = command.stdin(Stdio::null()).spawn().unwrap();
        let mut daemon = Self(child);
        let begin = Instant::now();
        while !sockets.iter().all(|socket| is_listening(socket)) {
            assert_eq!(daemon.0.try_wait().unwrap(), None, "{command:?} ended");
            assert!(begin.elapsed() < Duration::from_secs(60), "{command:?} made no socket");
            thread::sleep(Duration::from_millis(5));
        }
        daemon
    }

    /// QEMU's storage daemon, with a monitor at this socket, and further ones that its words name.
    pub(crate) fn storage(socket: &Path, others: &[&Path], further: &[String]) -> Self {
        let mut command = Command::new("qemu-storage-daemon");
        command
            .arg("--chardev")
            .arg(format!("socket,id=qmp,path={},server=on,wait=off", socket.display()))
            .args(["--monitor", "chardev=qmp"])
            .args(further);
        Self::start(&mut command, &[&[socket], others].concat())
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(mut self) {
        let begin = Instant::now();
        while self.0.try_wait().unwrap().is_none() {
            assert!(begin.elapsed() < Duration::from_secs(60), "it does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The TCP ports that it listens on.
    pub(crate) fn ports(&self) -> Vec<u16> {
        let links = std::fs::read_dir(format!("/proc/{}/fd", self.0.id())).unwrap();
        let links = links.filter_map(|link| std::fs::read_link(link.ok()?.path()).ok());
        let own: Vec<String> = links.map(|link| link.display().to_string()).collect();
        let sockets = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let port = |line: &str| {
            // sl local_address rem_address st … inode, where 0A is TCP_LISTEN.
            let fields: Vec<&str> = line.split_whitespace().collect();
            let is_own = own.contains(&format!("socket:[{}]", fields.get(9)?));
            let port = fields[1].rsplit_once(':')?.1;
            (is_own && fields[3] == "0A").then(|| u16::from_str_radix(port, 16).unwrap())
        };
        sockets.lines().filter_map(port).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Ended already, or about to.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether somebody accepts connections there: a socket has its name before it does.
fn is_listening(socket: &Path) -> bool {
    // Num RefCount Protocol Flags Type St Inode Path, where __SO_ACCEPTCON is 0x10000.
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
    sockets.lines().any(|line| {
        let mut fields = line.split_whitespace();
        fields.nth(3) == Some("00010000") && fields.last() == socket.to_str()
    })
}

/// Numbers that look random and are the same each time (xorshift64).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A master of 12 MiB and a bit in `directory/master`, with 4 MiB of data, 4 MiB of which every
/// other 8 KiB is data, and zeroes; and its bytes.
pub(crate) fn master(directory: &Path) -> (Master, Vec<u8>) {
    let mut numbers = Numbers(7);
    let mut bytes = vec![0; (12 << 20) + (12 << 10)];
    for (at, block) in bytes.chunks_mut(8 << 10).enumerate().take(1024) {
        if at < 512 || at % 2 == 0 {
            block.fill_with(|| u8::try_from(numbers.below(255)).unwrap() + 1);
        }
    }
    let image = directory.join("image.raw");
    std::fs::write(&image, &bytes).unwrap();
    (Master::seal(&image, Format::Raw, &directory.join("master")).unwrap(), bytes)
}

/// A pool, made unless it was before.
pub(crate) fn pool(directory: &Path) -> Pool {
    Pool::open(directory).or_else(|_| Pool::create(directory)).unwrap()
}

/// Ids of clones.
pub(crate) fn ids(count: usize) -> Vec<VolumeId> {
    (0..count).map(|at| VolumeId::parse(&format!("clone-{at}")).unwrap()).collect()
}

/// Three keys of a volume, numbered from 1 on, and one of its master.
pub(crate) fn keys(seed: u64) -> VolumeKeys {
    let environment = FixedEnvironment::new(seed);
    let make = || VolumeKey::make(&environment).unwrap();
    (1..=3)
        .fold(VolumeKeys::none(), |keys, number| keys.with(KeyNumber(number), make()))
        .with_master(make())
}

/// All that a volume has, through QEMU.
pub(crate) fn contents(volume: &Volume, run: &Path) -> Vec<u8> {
    contents_with(volume, &VolumeKeys::none(), run)
}

/// The same with its keys.
pub(crate) fn contents_with(volume: &Volume, keys: &VolumeKeys, run: &Path) -> Vec<u8> {
    let daemon = open(volume, keys, run);
    let mut blocks = daemon.open().unwrap();
    let mut bytes = vec![0; usize::try_from(blocks.size()).unwrap()];
    for (at, chunk) in bytes.chunks_mut(4 << 20).enumerate() {
        blocks.read(at as u64 * (4 << 20), chunk).unwrap();
    }
    drop(blocks);
    daemon.end().unwrap();
    bytes
}

/// A daemon that has a volume open.
pub(crate) fn open(volume: &Volume, keys: &VolumeKeys, run: &Path) -> StorageDaemon {
    StorageDaemon::start_with(&volume.blockdev(), &volume.secrets(keys).unwrap(), run).unwrap()
}

/// The first byte in which two volumes differ.
pub(crate) fn first_difference(one: &[u8], other: &[u8]) -> Option<usize> {
    assert_eq!(one.len(), other.len());
    // The first is fast in a build without optimisation.
    if one == other { None } else { one.iter().zip(other).position(|(one, other)| one != other) }
}

/// The programs that run now with all of these words in their command lines.
pub(crate) fn running(words: &[&str]) -> Vec<nix::unistd::Pid> {
    let entries = std::fs::read_dir("/proc").unwrap();
    let pid = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    let is_it = |pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        words.iter().all(|word| line.contains(word))
    };
    let pids = entries.flatten().filter_map(pid).filter(is_it);
    pids.map(nix::unistd::Pid::from_raw).collect()
}
