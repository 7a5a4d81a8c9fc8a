//! The whole way, on real devices: taps, the veth, a listener in a namespace of its own, and
//! guests that are a kernel's own network stack.

use std::{
    fs::File,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::MetadataExt,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use mezame_ebpf_loader::{DataPath, Identity, PortRules, PortSlot, Uplink, Verdict};

use super::{
    frames::ArpFrame,
    lab::{Lab, SERVICE, enter_new_namespace, rules, services},
    wire::{Cable, Namespace, ifindex, ip, mac, open_tap, receive, send},
};

/// A hypervisor's network: this thread's namespace, and one for the service.
pub(crate) struct Site {
    pub(crate) lab: Lab,
    uplink: Uplink,
    _metadata: Namespace,
}

/// How many bytes the service answers.
const ANSWER: usize = 300_000;

impl Site {
    /// With a service that reads a length and as many bytes, and answers its peer's address, their
    /// sum, and bytes that any shift of would show.
    pub(crate) fn new() -> Self {
        enter_new_namespace();
        let metadata = Namespace::new();
        ip("link add mz-host type veth peer name mz-meta");
        ip(&format!("link set mz-meta netns {}", metadata.thread()));
        ip("link set mz-host up");
        let peer_mac = metadata.run(|| {
            ip("link set mz-meta arp off");
            ip("link set mz-meta up");
            ip("address add 169.254.169.254/32 dev mz-meta");
            ip("route add 32.0.0.0/4 dev mz-meta");
            let listener = TcpListener::bind((SERVICE, 80)).unwrap();
            std::thread::spawn(move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    std::thread::spawn(move || serve(stream));
                }
            });
            mac("mz-meta")
        });
        let uplink =
            Uplink { host_ifindex: ifindex("mz-host"), host_mac: mac("mz-host"), peer_mac };
        Self { lab: Lab::with_uplink(&uplink), uplink, _metadata: metadata }
    }
}

impl Site {
    /// Opens the data path anew with another object of the same source: nothing but its digest
    /// differs.
    fn upgrade(&mut self, number: usize) {
        let mut object =
            std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/program.bpf.o")).unwrap();
        object.resize(object.len() + number, 0);
        let name = format!("mezame-test-{}-{number}.o", self.uplink.host_ifindex);
        let newer = std::env::temp_dir().join(format!("{}-{name}", std::process::id()));
        std::fs::write(&newer, object).unwrap();
        let opened = DataPath::open_object(&self.lab.root, &self.uplink, &services(), &newer);
        std::fs::remove_file(&newer).unwrap();
        self.lab.path = opened.unwrap();
    }
}

fn serve(mut stream: TcpStream) -> Option<()> {
    let peer = stream.peer_addr().ok()?;
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut body = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut body).ok()?;
    let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
    let IpAddr::V4(address) = peer.ip() else { return None };
    let mut answer = address.octets().to_vec();
    answer.extend(sum.to_be_bytes());
    answer.extend(pattern(ANSWER));
    stream.write_all(&answer).ok()
}

fn pattern(length: usize) -> impl Iterator<Item = u8> {
    (0..length).map(|n| (n % 251) as u8)
}

/// A guest: a stack of its own behind a tap.
struct Guest {
    stack: Namespace,
    tap: u32,
    cable: Cable,
    _ends: [File; 2],
}

impl Guest {
    /// With the tap in this thread's namespace, and the same address and MAC as every other.
    fn new(tap: &str) -> Self {
        let host_end = open_tap(tap);
        ip(&format!("link set {tap} up"));
        let stack = Namespace::new();
        let guest_end = stack.run(|| {
            let end = open_tap("eth0");
            ip("link set eth0 address 52:54:00:00:00:01");
            ip("address add 192.168.0.10/24 dev eth0");
            ip("link set eth0 up");
            ip("route add 169.254.169.254 dev eth0");
            end
        });
        let cable = Cable::new(&guest_end, &host_end);
        Self { stack, tap: ifindex(tap), cable, _ends: [guest_end, host_end] }
    }

    /// Asks the service, and gives the address that it saw.
    fn ask(&self, length: usize) -> Ipv4Addr {
        self.stack.run(|| exchange(connect(), length))
    }
}

fn connect() -> TcpStream {
    let address = SocketAddr::from((SERVICE, 80));
    let stream = TcpStream::connect_timeout(&address, Duration::from_secs(20)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn exchange(mut stream: TcpStream, length: usize) -> Ipv4Addr {
    let body: Vec<u8> = pattern(length).collect();
    let sum: u64 = body.iter().map(|byte| u64::from(*byte)).sum();
    stream.write_all(&(length as u32).to_be_bytes()).unwrap();
    stream.write_all(&body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer.len(), 12 + ANSWER);
    assert_eq!(answer[4..12], sum.to_be_bytes());
    assert!(answer[12..].iter().copied().eq(pattern(ANSWER)));
    <[u8; 4]>::try_from(&answer[..4]).unwrap().into()
}

pub(crate) fn rules_of(slot: u32) -> PortRules {
    PortRules { slot: PortSlot::new(slot).unwrap(), ..rules() }
}

fn slot_of(address: Ipv4Addr) -> u32 {
    Identity::parse(address).expect("an identity").0.number()
}

#[test]
fn two_guests_with_the_same_address_and_mac_are_told_apart() {
    let mut site = Site::new();
    let (one, other) = (Guest::new("tap-one"), Guest::new("tap-other"));
    site.lab.path.attach(one.tap, &rules_of(11)).unwrap();
    site.lab.path.attach(other.tap, &rules_of(22)).unwrap();
    for _ in 0..3 {
        assert_eq!(slot_of(one.ask(10)), 11);
        assert_eq!(slot_of(other.ask(10)), 22);
    }
    let answered = site.lab.path.counters(one.tap).unwrap().of(Verdict::ArpAnswered);
    assert!(answered >= 1, "the guest asked by ARP");
}

#[test]
fn offloaded_checksums_and_segments_come_out_right_both_ways() {
    let mut site = Site::new();
    let guest = Guest::new("tap-one");
    site.lab.path.attach(guest.tap, &rules_of(11)).unwrap();
    assert_eq!(slot_of(guest.ask(500_000)), 11);
    let traffic = &guest.cable.traffic;
    assert!(traffic.partial.load(Ordering::Relaxed) > 0, "checksums were left to be made");
    assert!(traffic.segmented.load(Ordering::Relaxed) > 0, "segmentation was left to be done");
}

#[test]
fn programs_are_replaced_under_an_open_connection_and_pins_outlive_the_process() {
    let mut site = Site::new();
    let guest = Guest::new("tap-one");
    site.lab.path.attach(guest.tap, &rules_of(11)).unwrap();
    let stream = guest.stack.run(connect);
    let link = site.lab.root.path().join("v2/links").join(format!("port-{}", guest.tap));
    let before = std::fs::metadata(&link).unwrap();
    let ids = |site: &Site| site.lab.path.programs().unwrap();
    let old = ids(&site);
    site.upgrade(1);
    assert_ne!(ids(&site), old, "new programs");
    let link_program = site.lab.path.linked_program(guest.tap).unwrap();
    assert_eq!(link_program, Some(ids(&site).0), "the link has the new program");
    assert_eq!(std::fs::metadata(&link).unwrap().ino(), before.ino(), "the same pin");
    assert_eq!(slot_of(guest.stack.run(|| exchange(stream, 5000))), 11);
    assert_eq!(slot_of(guest.ask(10)), 11);
    assert_eq!(site.lab.path.attached().unwrap(), [(guest.tap, PortSlot::new(11).unwrap())]);
}

#[test]
fn no_frame_is_missed_while_programs_are_replaced() {
    let mut site = Site::new();
    let mut tap = open_tap("tap-one");
    ip("link set tap-one up");
    let index = ifindex("tap-one");
    site.lab.path.attach(index, &rules_of(11)).unwrap();
    let stop = AtomicBool::new(false);
    let asked = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut asked = 0;
            while !stop.load(Ordering::Relaxed) {
                send(&mut tap, &ArpFrame::request(SERVICE).bytes());
                // A request that is not answered fails the test.
                receive(&mut tap, |frame| frame[12..14] == [8, 6] && frame[21] == 2);
                asked += 1;
            }
            asked
        });
        for number in 1..=8 {
            let before = site.lab.path.programs().unwrap();
            site.upgrade(number);
            assert_ne!(site.lab.path.programs().unwrap(), before);
        }
        stop.store(true, Ordering::Relaxed);
        asking.join().unwrap()
    });
    assert_eq!(site.lab.path.counters(index).unwrap().of(Verdict::ArpAnswered), asked);
    assert!(asked > 8, "{asked}");
}

#[test]
fn a_restart_with_the_same_object_replaces_nothing_and_keeps_rules_and_counters() {
    let mut site = Site::new();
    let guest = Guest::new("tap-one");
    site.lab.path.attach(guest.tap, &rules_of(11)).unwrap();
    guest.ask(10);
    let programs = site.lab.path.programs().unwrap();
    site.lab.path = DataPath::open(&site.lab.root, &site.uplink, &services()).unwrap();
    assert_eq!(site.lab.path.programs().unwrap(), programs);
    assert!(site.lab.path.counters(guest.tap).unwrap().of(Verdict::Returned) > 0);
    assert_eq!(slot_of(guest.ask(10)), 11);
}

#[test]
fn a_port_that_is_detached_is_served_no_more_and_its_frames_pass_again() {
    let mut site = Site::new();
    let guest = Guest::new("tap-one");
    site.lab.path.attach(guest.tap, &rules_of(11)).unwrap();
    guest.ask(10);
    site.lab.path.detach(guest.tap).unwrap();
    assert!(site.lab.path.counters(guest.tap).is_err());
    assert_eq!(site.lab.path.linked_program(guest.tap).unwrap(), None);
    assert_eq!(site.lab.path.entries().unwrap(), 0);
    site.lab.path.detach(guest.tap).expect("again");
    site.lab.path.attach(guest.tap, &rules_of(12)).unwrap();
    assert_eq!(slot_of(guest.ask(10)), 12);
}

#[test]
fn a_device_that_is_gone_is_detached_and_cleaned_up_at_the_next_start() {
    let mut site = Site::new();
    let taps = [open_tap("tap-one"), open_tap("tap-two")];
    let (one, two) = (ifindex("tap-one"), ifindex("tap-two"));
    site.lab.path.attach(one, &rules_of(1)).unwrap();
    site.lab.path.attach(two, &rules_of(2)).unwrap();
    drop(taps);
    site.lab.path.detach(one).unwrap();
    assert_eq!(site.lab.path.attached().unwrap(), [(two, PortSlot::new(2).unwrap())]);
    site.lab.path = DataPath::open(&site.lab.root, &site.uplink, &services()).unwrap();
    assert_eq!(site.lab.path.attached().unwrap(), []);
    assert_eq!(site.lab.path.entries().unwrap(), 0);
    let error = site.lab.path.attach(two, &rules_of(2)).unwrap_err();
    assert_eq!(error.to_string(), format!("there is no device with index {two}"));
}

#[test]
fn a_port_moves_to_another_tap_and_the_old_one_is_refused() {
    let mut site = Site::new();
    let (old, new) = (Guest::new("tap-old"), Guest::new("tap-new"));
    site.lab.path.attach(old.tap, &rules_of(11)).unwrap();
    old.ask(10);
    site.lab.path.attach(new.tap, &rules_of(11)).unwrap();
    assert_eq!(slot_of(new.ask(10)), 11);
    let refused = site.lab.path.counters(old.tap).unwrap().of(Verdict::UnknownPort);
    old.stack.run(|| {
        let address = SocketAddr::from((SERVICE, 80));
        TcpStream::connect_timeout(&address, Duration::from_millis(300)).unwrap_err();
    });
    assert!(site.lab.path.counters(old.tap).unwrap().of(Verdict::UnknownPort) > refused);
    // What is left of the old place goes without harm to the new one.
    site.lab.path.detach(old.tap).unwrap();
    assert_eq!(slot_of(new.ask(10)), 11);
    site.lab.path.detach(new.tap).unwrap();
    assert_eq!(site.lab.path.entries().unwrap(), 0);
}

#[test]
fn many_attachments_leave_no_entry_descriptor_or_pin_behind() {
    let mut site = Site::new();
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    for round in 0..3 {
        let taps: Vec<File> = (0..100).map(|n| open_tap(&format!("tap{n}"))).collect();
        let indexes: Vec<u32> = (0..100).map(|n| ifindex(&format!("tap{n}"))).collect();
        for (n, index) in (1..).zip(&indexes) {
            let allowed = vec!["10.0.0.0/8".parse().unwrap(), "0.0.0.0/0".parse().unwrap()];
            let rules = PortRules { allowed, generation: round, ..rules_of(n) };
            site.lab.path.attach(*index, &rules).unwrap();
            site.lab.path.attach(*index, &rules).unwrap();
        }
        assert_eq!(site.lab.path.attached().unwrap().len(), 100);
        let gone = if round == 1 {
            drop(taps);
            None
        } else {
            Some(taps)
        };
        for index in indexes {
            site.lab.path.detach(index).unwrap();
        }
        drop(gone);
        assert_eq!(site.lab.path.entries().unwrap(), 0);
    }
    assert_eq!(descriptors(), before);
    let links = site.lab.root.path().join("v2/links");
    let left: Vec<_> =
        std::fs::read_dir(links).unwrap().map(|link| link.unwrap().file_name()).collect();
    assert_eq!(left, ["uplink"]);
}
