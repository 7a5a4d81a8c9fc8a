//! A place to try the data path in: a network namespace that only this thread is in, a BPF file
//! system that only it sees, and the ports that most tests use.
//!
//! The pins are taken away afterwards. Those of a test that was killed go with its BPF file system
//! (mount_namespaces(7)).

use std::{
    cell::Cell,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::atomic::{AtomicU32, Ordering},
};

use ipnetwork::Ipv6Network;
use mezame_ebpf_loader::{
    Answers, DataPath, DropEvent, PinRoot, PortRules, PortSlot, Protocol, Rate, Service, Trial,
    Uplink, Verdict,
};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

/// The loopback device, which every network namespace has.
pub(crate) const LOOPBACK: u32 = 1;
pub(crate) const SERVICE: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// A service whose target has another address and another port.
pub(crate) const OTHER_SERVICE: Ipv4Addr = Ipv4Addr::new(169, 254, 170, 2);
pub(crate) const GUEST: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 10);
pub(crate) const GUEST_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
pub(crate) const HOST_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0xa];
pub(crate) const PEER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0xb];
pub(crate) const SERVICE6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
/// A service's link-local address; its target has another.
pub(crate) const LINK_SERVICE: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe);
/// What the link-local address leads to.
pub(crate) const LINK_TARGET: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0xa9fe, 0xa9fe);
pub(crate) const GUEST6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 0x10);
/// Of the guest's own choice.
pub(crate) const LINK_GUEST: Ipv6Addr =
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0x1234, 0x5678, 0x9abc, 0xdef0);
pub(crate) const SLOT: u32 = 0x00ab_cdef;

pub(crate) struct Lab {
    pub(crate) path: DataPath,
    pub(crate) root: PinRoot,
}

static LABS: AtomicU32 = AtomicU32::new(0);

impl Lab {
    /// A data path whose uplink is the loopback device, for frames that go nowhere.
    pub(crate) fn new() -> Self {
        Self::with_uplink(&unlike_any_device())
    }

    pub(crate) fn with_uplink(uplink: &Uplink) -> Self {
        Self::with_services(uplink, &services())
    }

    /// With the services of both families, and a port that all of them answer.
    pub(crate) fn dual() -> Self {
        let mut lab = Self::with_services(&unlike_any_device(), &all_services());
        lab.path.attach(LOOPBACK, &dual_rules()).unwrap();
        lab
    }

    fn with_services(uplink: &Uplink, services: &[Service]) -> Self {
        enter_sandbox();
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let name = format!("/sys/fs/bpf/mezame-test-{}-{number}", std::process::id());
        let root = PinRoot::new(name);
        let path = DataPath::open(&root, uplink, services).expect("the data path is loaded");
        Self { path, root }
    }

    /// As [`Lab::new`], with the usual port at the loopback device.
    pub(crate) fn with_port() -> Self {
        let mut lab = Self::new();
        lab.path.attach(LOOPBACK, &rules()).unwrap();
        lab
    }

    /// What the program does with a frame out of a guest, once.
    pub(crate) fn guest(&self, frame: &[u8]) -> Trial {
        self.path.try_guest_frame(LOOPBACK, frame, 1).unwrap()
    }

    /// What the program does with a frame out of the metadata namespace, once.
    pub(crate) fn reply(&self, frame: &[u8]) -> Trial {
        self.path.try_reply_frame(LOOPBACK, frame, 1).unwrap()
    }

    pub(crate) fn counted(&self, verdict: Verdict) -> u64 {
        self.path.counters(LOOPBACK).unwrap().of(verdict)
    }

    /// Runs a frame that must be dropped: unchanged, counted once, and in the event stream.
    pub(crate) fn dropped(&mut self, frame: &[u8], verdict: Verdict) -> DropEvent {
        let mut events = self.path.drops().unwrap();
        while events.next().is_some() {}
        let before = self.counted(verdict);
        let trial = self.guest(frame);
        assert_eq!(trial.action, Trial::DROP, "{verdict:?}");
        assert_eq!(trial.frame, frame, "{verdict:?}");
        assert_eq!(self.counted(verdict), before + 1, "{verdict:?}: {:?}", self.nonzero());
        let event = events.next().expect("an event");
        assert_eq!(event.verdict, verdict);
        assert_eq!(event.length as usize, frame.len());
        assert_eq!(events.next(), None);
        event
    }

    /// Runs a frame that must pass untouched and uncounted.
    pub(crate) fn passed(&self, frame: &[u8]) {
        let before = self.path.counters(LOOPBACK).unwrap();
        let trial = self.guest(frame);
        assert_eq!(trial.action, Trial::NEXT);
        assert_eq!(trial.frame, frame);
        assert_eq!(self.path.counters(LOOPBACK).unwrap(), before);
    }

    pub(crate) fn nonzero(&self) -> Vec<(Verdict, u64)> {
        self.path.counters(LOOPBACK).unwrap().iter().filter(|pair| pair.1 != 0).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        DataPath::remove(&self.root).expect("the pins can be removed");
    }
}

thread_local! {
    static IS_IN_SANDBOX: Cell<bool> = const { Cell::new(false) };
}

/// Hides `/sys/fs/bpf` from this thread behind one of its own. Once: the pins of a second lab are
/// to be in the same.
fn enter_sandbox() {
    if IS_IN_SANDBOX.replace(true) {
        return;
    }
    unshare(CloneFlags::CLONE_NEWNS).expect(NEEDS_ROOT);
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), none).unwrap();
}

/// What a test says that can't run.
const NEEDS_ROOT: &str = "root is needed for network namespaces and eBPF; run this test as root";

/// Takes this thread into a new network namespace, which goes with the thread.
pub(crate) fn enter_new_namespace() {
    unshare(CloneFlags::CLONE_NEWNET).expect(NEEDS_ROOT);
}

fn unlike_any_device() -> Uplink {
    enter_new_namespace();
    Uplink { host_ifindex: LOOPBACK, host_mac: HOST_MAC, peer_mac: PEER_MAC }
}

pub(crate) fn services() -> Vec<Service> {
    let service = |address: Ipv4Addr, protocol, port, target: &str| Service {
        address: address.into(),
        group: None,
        protocol,
        port,
        target: target.parse().unwrap(),
    };
    vec![
        service(SERVICE, Protocol::Tcp, 80, "169.254.169.254:80"),
        service(SERVICE, Protocol::Udp, 123, "169.254.169.254:1123"),
        service(OTHER_SERVICE, Protocol::Tcp, 443, "169.254.169.253:8443"),
    ]
}

pub(crate) fn slot() -> PortSlot {
    PortSlot::new(SLOT).unwrap()
}

/// The usual port: one address, a floating range, and no limit that a test meets by chance.
pub(crate) fn rules() -> PortRules {
    PortRules {
        slot: slot(),
        generation: 7,
        mac: GUEST_MAC,
        addresses: vec![GUEST],
        allowed: vec!["10.9.0.0/24".parse().unwrap()],
        allowed6: Vec::new(),
        dhcp_server: false,
        answers: Answers::default(),
        rate: Rate { frames_per_second: 1_000_000, burst: 1_000_000 },
    }
}

/// Those of both families.
pub(crate) fn all_services() -> Vec<Service> {
    [services(), link_services()].concat()
}

/// IPv6's, and those that guests ask by broadcast and multicast.
fn link_services() -> Vec<Service> {
    let service = |address: IpAddr, group: &str, protocol, port, target| Service {
        address,
        group: group.parse().ok(),
        protocol,
        port,
        target,
    };
    let at = |port| SocketAddr::from((LINK_TARGET, port));
    vec![
        service(SERVICE6.into(), "", Protocol::Tcp, 80, (SERVICE6, 80).into()),
        service(LINK_SERVICE.into(), "", Protocol::Tcp, 80, at(8080)),
        service(SERVICE6.into(), "", Protocol::Udp, 123, at(1123)),
        service(LINK_SERVICE.into(), "ff02::1:2", Protocol::Udp, 547, at(547)),
        service(LINK_SERVICE.into(), "ff02::2", Protocol::Icmp6, 0, at(0)),
        service(SERVICE.into(), "255.255.255.255", Protocol::Udp, 67, (SERVICE, 67).into()),
    ]
}

/// The usual port with IPv6 addresses, whose requests to its link are answered.
pub(crate) fn dual_rules() -> PortRules {
    PortRules {
        allowed6: vec![Ipv6Network::from(GUEST6), "2001:db8:7::/48".parse().unwrap()],
        answers: Answers { dhcp4: true, dhcp6: true, router: true },
        ..rules()
    }
}
