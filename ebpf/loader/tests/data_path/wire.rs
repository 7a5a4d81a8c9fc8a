//! Namespaces, taps, and a guest made of them: a kernel's own network stack behind a tap whose
//! frames are carried, with their offload headers, to the tap on the hypervisor, as QEMU does.

use std::{
    ffi::CString,
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, setns},
    unistd::gettid,
};

use super::lab::enter_new_namespace;

/// A network namespace, which a thread keeps.
pub(crate) struct Namespace {
    fd: OwnedFd,
    thread: i32,
    _keeper: mpsc::Sender<()>,
}

impl Namespace {
    pub(crate) fn new() -> Self {
        let (keeper, ended) = mpsc::channel::<()>();
        let (send, receive) = mpsc::channel();
        thread::spawn(move || {
            enter_new_namespace();
            ip("link set lo up");
            send.send((namespace_of_this_thread(), gettid().as_raw())).unwrap();
            // Until the namespace is dropped.
            let _ = ended.recv();
        });
        let (fd, thread) = receive.recv().unwrap();
        Self { fd, thread, _keeper: keeper }
    }

    /// As `ip link set … netns` takes it.
    pub(crate) fn thread(&self) -> i32 {
        self.thread
    }

    /// Runs something in a thread that is in the namespace.
    pub(crate) fn run<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = || {
                setns(self.fd.as_fd(), CloneFlags::CLONE_NEWNET).unwrap();
                action()
            };
            match scope.spawn(inside).join() {
                Ok(value) => value,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

fn namespace_of_this_thread() -> OwnedFd {
    File::open("/proc/thread-self/ns/net").unwrap().into()
}

/// Runs `ip` in this thread's namespace.
pub(crate) fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {error}");
}

pub(crate) fn ifindex(name: &str) -> u32 {
    let name = CString::new(name).unwrap();
    // SAFETY: a C string that lives through the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    assert_ne!(index, 0, "{name:?}");
    index
}

pub(crate) fn mac(name: &str) -> [u8; 6] {
    let text = std::fs::read_to_string(format!("/sys/class/net/{name}/address"));
    let text = text.unwrap_or_else(|_| mac_by_ip(name));
    let mut mac = [0; 6];
    for (byte, digits) in mac.iter_mut().zip(text.trim().split(':')) {
        *byte = u8::from_str_radix(digits, 16).unwrap();
    }
    mac
}

/// `/sys` shows the namespace that it was mounted in: elsewhere, `ip` must be asked.
fn mac_by_ip(name: &str) -> String {
    let output = Command::new("ip").args(["-o", "link", "show", name]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split("link/ether ").nth(1).unwrap()[..17].into()
}

const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const TUNSETOFFLOAD: libc::c_ulong = 0x4004_54d0;
const IFF_TAP: i16 = 0x0002;
const IFF_NO_PI: i16 = 0x1000;
const IFF_VNET_HDR: i16 = 0x4000;
/// Checksums and TCP segmentation are left to the other side.
const OFFLOADS: libc::c_ulong = 0x01 | 0x02 | 0x04;
/// `struct virtio_net_hdr`.
pub(crate) const OFFLOAD_HEADER: usize = 10;

/// Makes a tap in this thread's namespace, and gives the end that a guest has.
pub(crate) fn open_tap(name: &str) -> File {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun").unwrap();
    let mut request = [0_u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    request[16..18].copy_from_slice(&(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR).to_ne_bytes());
    // SAFETY: `struct ifreq` is 40 bytes and lives through the call.
    let made = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETIFF as _, request.as_mut_ptr()) };
    assert_eq!(made, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the argument is a number.
    let set = unsafe { libc::ioctl(file.as_raw_fd(), TUNSETOFFLOAD as _, OFFLOADS) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    file
}

/// Sends a frame out of a guest, its checksums made.
pub(crate) fn send(tap: &mut File, frame: &[u8]) {
    let sent = tap.write(&[&[0; OFFLOAD_HEADER], frame].concat()).unwrap();
    assert_eq!(sent, OFFLOAD_HEADER + frame.len());
}

/// The next frame to a guest that `wanted` takes, without its offload header.
pub(crate) fn receive(tap: &mut File, wanted: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut buffer = vec![0; 70_000];
    loop {
        let mut ready = [PollFd::new(tap.as_fd(), PollFlags::POLLIN)];
        let count = poll(&mut ready, PollTimeout::from(20_000_u16)).unwrap();
        assert_eq!(count, 1, "no such frame came");
        let length = tap.read(&mut buffer).unwrap();
        let frame = &buffer[OFFLOAD_HEADER..length];
        if wanted(frame) {
            return frame.to_vec();
        }
    }
}

/// What a cable saw going out of its guest.
#[derive(Default)]
pub(crate) struct Traffic {
    /// Frames whose checksum was left to be made.
    pub(crate) partial: AtomicU64,
    /// Frames that segmentation was left to.
    pub(crate) segmented: AtomicU64,
}

/// Carries frames between a guest's stack and its tap until it is dropped.
pub(crate) struct Cable {
    stop: Arc<AtomicBool>,
    carriers: Vec<JoinHandle<()>>,
    pub(crate) traffic: Arc<Traffic>,
}

impl Cable {
    pub(crate) fn new(guest: &File, tap: &File) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let traffic = Arc::new(Traffic::default());
        let carry = |from: &File, to: &File, traffic: Option<Arc<Traffic>>| {
            let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let stop = stop.clone();
            thread::spawn(move || {
                let mut buffer = vec![0; 70_000];
                while !stop.load(Ordering::Relaxed) {
                    let mut ready = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
                    if poll(&mut ready, PollTimeout::from(50_u16)).unwrap() == 0 {
                        continue;
                    }
                    // A device that is down or gone reads and writes nothing.
                    let Ok(length) = from.read(&mut buffer) else { return };
                    if let Some(traffic) = &traffic {
                        traffic.partial.fetch_add(u64::from(buffer[0] & 1), Ordering::Relaxed);
                        let segmented = u64::from(buffer[1] != 0);
                        traffic.segmented.fetch_add(segmented, Ordering::Relaxed);
                    }
                    let _ = to.write(&buffer[..length]);
                }
            })
        };
        let carriers = vec![carry(guest, tap, Some(traffic.clone())), carry(tap, guest, None)];
        Self { stop, carriers, traffic }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for carrier in self.carriers.drain(..) {
            let _ = carrier.join();
        }
    }
}
